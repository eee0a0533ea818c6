"""A method's options are the section of its name."""

from prompt_tuning import methods
from prompt_tuning.method_settings import SECTIONS


def test_each_section_is_called_as_its_method():
    assert {section.SECTION for section in SECTIONS} <= set(methods.NAMES)
