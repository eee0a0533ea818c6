"""A method's options are the section of its name."""

from pathlib import Path

from prompt_tuning import methods
from prompt_tuning.method_settings import NAMES, SECTIONS


def test_each_section_is_called_as_its_method():
    assert {section.SECTION for section in SECTIONS} <= set(NAMES)


def test_each_method_has_its_file():
    folder = Path(methods.__file__).parent
    assert all((folder / f"{name}.py").is_file() for name in NAMES)
