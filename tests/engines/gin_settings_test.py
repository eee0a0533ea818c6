"""gin-config itself reads our files, and makes the same settings of them."""

import gin
import pytest

from prompt_tuning import config
from prompt_tuning.engines import gin_settings
from prompt_tuning.errors import UserError
from prompt_tuning.settings import SECTIONS, Settings

GIN_FILES = sorted(
    path.relative_to(config.GIN_ROOT).as_posix()
    for folder in ("runs", "models")
    for path in config.GIN_ROOT.glob(f"gin/{folder}/*.gin")
)


@pytest.fixture(autouse=True)
def registered():
    """Our sections are gin's for good; what a test binds ends with it."""
    gin_settings.register_with_gin()
    gin_settings.register_with_gin()  # and again, without an error
    yield
    gin.clear_config()


@pytest.mark.parametrize("name", GIN_FILES)
def test_gin_alone_reads_each_file_as_we_do(name):
    gin.parse_config_file(str(config.GIN_ROOT / name))
    gin.finalize()  # which checks that each macro is bound
    assert gin_settings.from_gin() == config.load([name]) != Settings()


def test_gin_reads_settings_back_that_we_write():
    typed = ["SEED=3", "CLASS_LABELS=['a', \"it's\"]", "T5Config.emb_dim=64"]
    settings = config.load([], [*typed, "TRAIN_STEPS=9", "mesh.model=2"])
    gin.parse_config(config.text(settings))
    assert gin_settings.from_gin() == settings


def test_every_section_is_known_by_the_name_that_users_call_it():
    for section, (kind, _) in SECTIONS.items():
        assert gin.get_configurable(f"prompt_tuning.settings.{section}")() == kind()
    assert gin_settings.from_gin() == Settings()


def test_macros_that_name_a_field_of_the_run_count_too():
    gin.parse_config("SEED = 3\nOWN = ['a', %WORD]\nWORD = 'b'\nCLASS_LABELS = %OWN")
    with gin.config_scope("train"):  # as T5X builds its data sets
        run = gin_settings.from_gin().run
    assert run.seed == 3 and run.class_labels == ["a", "b"]


def test_t5x_may_have_no_steps():
    gin.parse_config("TRAIN_STEPS = 0")  # its way to evaluate
    assert gin_settings.from_gin() == Settings()


def test_a_field_and_its_macro_must_agree():
    gin.parse_config("Run.seed = %SEED\nSEED = 3")
    assert gin_settings.from_gin().run.seed == 3
    gin.parse_config("Run.seed = 4")
    with pytest.raises(UserError, match=r"SEED is 3 and Run\.seed is 4"):
        gin_settings.from_gin()


def test_what_gin_has_bound_is_checked_as_always():
    gin.parse_config("T5Config.emb_dim = 0")
    with pytest.raises(UserError, match=r"T5Config\.emb_dim is 0"):
        gin_settings.from_gin()
    with pytest.raises(ValueError, match="doesn't have a parameter named 'seeed'"):
        gin.parse_config("Run.seeed = 3")


def test_a_class_imported_by_a_file_is_the_same_section():
    gin.parse_config(
        "from __gin__ import dynamic_registration\n"
        "from prompt_tuning import settings\n"
        "settings.MeshShape.model = 2\n"
    )
    assert gin_settings.from_gin().mesh.model == 2
