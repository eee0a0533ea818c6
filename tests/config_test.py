import re

import gin
import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError

GIN_FILES = sorted(
    path.relative_to(config.GIN_ROOT).as_posix()
    for path in config.GIN_ROOT.glob("gin/**/*.gin")
    if "gin/t5x" not in path.as_posix()  # T5X parses those: t5x_engine_test.py
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs each test in an empty working directory and leaves gin as it was."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gin.clear_config()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path.name


def run_settings():
    return gin.get_bindings("prompt_tuning.run.Run")


def message(*args, **kwargs):
    with pytest.raises(UserError) as raised:
        config.parse(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Files, by name from any working directory.


@pytest.mark.parametrize("name", GIN_FILES)
def test_every_gin_file_parses_alone(name):
    config.parse([name])
    assert gin.config_str()


@pytest.mark.parametrize("name", GIN_FILES)
def test_a_gin_file_includes_one_level_at_most(name):
    def includes(name):
        text = config.find_file(name).read_text()
        return re.findall(r"^include ['\"](.*)['\"]", text, re.MULTILINE)

    assert not [deeper for inner in includes(name) for deeper in includes(inner)]


@pytest.mark.parametrize("name", [n for n in GIN_FILES if n.startswith("gin/runs/")])
def test_a_run_file_opens_with_its_command(name):
    opening = config.find_file(name).read_text().split("\n\n")[0]
    assert opening.startswith("#")
    assert f"--gin_file={name}" in opening.replace("\\\n#", "")


def test_a_file_is_looked_for_here_then_in_search_paths_then_in_the_package(elsewhere):
    known = GIN_FILES[0]
    package = config.GIN_ROOT / known
    assert config.find_file(known) == package
    search = elsewhere / "search"
    write(search / known, "")
    assert config.find_file(known, [str(search)]) == search / known
    write(elsewhere / known, "")
    assert config.find_file(known, [str(search)]) == elsewhere / known
    assert config.find_file(str(package)) == package


def test_an_unknown_file_names_those_like_it(elsewhere):
    write(elsewhere / "folder" / "my_tuning.gin", "")
    error = message(["gin/runs/my_tunning.gin"], search_paths=["folder"])
    assert error.startswith("--gin_file: no gin file 'gin/runs/my_tunning.gin'")
    assert "did you mean folder/my_tuning.gin?" in error
    assert GIN_FILES[0] in message(["gin/" + GIN_FILES[0].rsplit("/", 1)[1]])


def test_a_folder_or_bytes_instead_of_a_gin_file_is_an_error(elsewhere):
    assert "no gin file" in message(["."])
    (elsewhere / "bytes.gin").write_bytes(b"SEED = \xff")
    assert message(["bytes.gin"]).startswith("--gin_file: 'utf-8' codec can't decode")


def test_an_included_file_counts_once_and_errors_in_it_say_where(elsewhere):
    write(elsewhere / "shared.gin", "SEED = 3\n")
    write(elsewhere / "a.gin", "include 'shared.gin'\nBATCH_SIZE = 8\n")
    write(elsewhere / "b.gin", "include 'shared.gin'\nTRAIN_STEPS = 4\n")
    config.parse(["a.gin", "b.gin"])
    assert run_settings() == {"seed": 3, "batch_size": 8, "train_steps": 4}
    write(elsewhere / "c.gin", "\ninclude 'absent.gin'\n")
    assert message(["c.gin"]).startswith("c.gin:2: no gin file 'absent.gin'")
    write(elsewhere / "shared.gin", "SEED = 3\nSEEED = 4\n")
    assert message(["a.gin"]).startswith("shared.gin:2 binds SEEED")


def test_an_import_runs_the_module_or_says_that_it_cannot(elsewhere, monkeypatch):
    monkeypatch.syspath_prepend(elsewhere)
    write(elsewhere / "imported_by_gin.py", "import gin\ngin.configurable('f')(abs)\n")
    write(elsewhere / "a.gin", "import imported_by_gin\nSEED = 3\n")
    config.parse(["a.gin"])
    assert gin.get_configurable("f")(-2) == 2
    write(elsewhere / "b.gin", "import no_such_module\n")
    error = message(["b.gin"])
    assert error.startswith("b.gin:1: cannot import no_such_module: No module named")


def test_a_file_for_t5x_is_not_for_this_tool():
    error = message(["gin/t5x/prompt_tune.gin"])
    assert "a file that imports __main__ is for T5X" in error


# Macros and settings.


def test_a_macro_sets_the_field_of_the_run_and_can_be_used(elsewhere):
    write(elsewhere / "a.gin", "TRAIN_STEPS = 400\nEVAL_PERIOD = %TRAIN_STEPS\n")
    config.parse(["a.gin"])
    assert run_settings() == {"train_steps": 400, "eval_period": 400}


def test_the_macros_of_a_t5x_user_set_fields_of_the_run():
    macros = """MODEL_DIR MIXTURE_OR_TASK_NAME MIXTURE_OR_TASK_MODULE TRAIN_STEPS
        TASK_FEATURE_LENGTHS BATCH_SIZE INITIAL_CHECKPOINT_PATH PROMPT_LENGTH
        CLASS_LABELS EVAL_PERIOD SEED VOCABULARY""".split()
    config.parse([], [f"{macro}=7" for macro in macros])
    assert run_settings() == {macro.lower(): 7 for macro in macros}


@pytest.mark.parametrize("text", ["Run.seed = 3", "Run:\n    seed = 3"])
def test_field_and_macro_are_two_names_of_one_setting(elsewhere, text):
    write(elsewhere / "field.gin", text)
    write(elsewhere / "uses.gin", "BATCH_SIZE = %SEED")
    config.parse(["field.gin", "uses.gin"])
    assert run_settings() == {"seed": 3, "batch_size": 3}
    config.parse(["field.gin"], ["SEED=4"])
    assert run_settings() == {"seed": 4}


def test_two_files_that_bind_one_name_are_an_error_and_both_are_named(elsewhere):
    write(elsewhere / "a.gin", "SEED = 1\n")
    write(elsewhere / "b.gin", "\nSEED = 1\n")
    write(elsewhere / "c.gin", "prompt_tuning.run.Run.seed = 1\n")
    assert message(["a.gin", "b.gin"]).startswith(
        "b.gin:2 binds SEED, which a.gin:1 binds too"
    )
    assert "a.gin:1" in message(["a.gin", "c.gin"])
    write(elsewhere / "twice.gin", "SEED = 1\nSEED = 2\n")
    assert "twice.gin:1" in message(["twice.gin"])


def test_parse_starts_anew_and_locks():
    config.parse([], ["SEED=1"])
    config.parse([], ["BATCH_SIZE=2"])
    assert run_settings() == {"batch_size": 2}
    with pytest.raises(RuntimeError, match="locked"):
        gin.bind_parameter("Run.seed", 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRAIN_STEP = 3", "a.gin:1 binds TRAIN_STEP, .*did you mean TRAIN_STEPS"),
        ("train_steps = 3", "did you mean TRAIN_STEPS"),
        ("SEED = %SEEED", "a.gin:1 uses %SEEED, .* binds; did you mean SEED"),
        ("OWN = 3", "binds OWN, which is no setting .*there are BATCH_SIZE, "),
        ("\nRnu.seed = 3", "a.gin:2: 'Rnu' names no configurables; did you mean Run?"),
        ("Run.sed = 3", "a.gin:1: Run has no parameter 'sed'; did you mean seed?"),
        ("SEED = @Rnu()", r"a.gin:1: No .* '@Rnu\(\)'.* did you mean Run?"),
        ("SEED = 3\nMODEL_DIR = a/b", "a.gin:2: cannot read 'MODEL_DIR = a/b'"),
        ("SEED 3", "a.gin:1: cannot read 'SEED 3'"),
        ("SEED = 'a", "a.gin:1: "),
        ("Run:\n    seed = 3\n  a = 2", "a.gin:3: cannot read 'a = 2'"),
        ("SEED = 3\nCLASS_LABELS = ['a',\n", "a.gin:.: .*bracket"),
    ],
)
def test_a_mistake_in_a_file_is_one_plain_message(elsewhere, text, expected):
    write(elsewhere / "a.gin", text)
    with pytest.raises(UserError, match=expected):
        config.parse(["a.gin"])


# The command line.


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("runs/x", "runs/x"),
        ("gs://bucket/a-b/checkpoint_1", "gs://bucket/a-b/checkpoint_1"),
        ("it's = 5", "it's = 5"),
        ("2026-11-23", "2026-11-23"),
        ("'quoted'", "quoted"),
        ("''", ""),
        ("400", 400),
        (" -1e-5 ", -1e-5),
        ("None", None),
        ("['a', \"b\"]", ["a", "b"]),
        ("{'inputs': 64, 'targets': 8}", {"inputs": 64, "targets": 8}),
        ("%SEED", 5),
        ("@config_test.five()", 5),
    ],
)
def test_a_typed_value_is_a_literal_a_reference_or_a_bare_string(typed, value):
    config.parse([], ["SEED=5", f"MODEL_DIR={typed}"])
    assert run_settings()["model_dir"] == value


@gin.configurable(module="config_test")
def five():
    return 5


def test_typed_bindings_override_files_and_one_another(elsewhere):
    write(elsewhere / "a.gin", "SEED = 1\nRun.batch_size = 1\n")
    config.parse(["a.gin"], ["Run.seed=2", "BATCH_SIZE=2", "BATCH_SIZE=3"])
    assert run_settings() == {"seed": 2, "batch_size": 3}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("TRAIN_STEP=3", "^--gin.TRAIN_STEP binds .*did you mean TRAIN_STEPS"),
        ("Run.sed=3", "^--gin.Run.sed: Run has no parameter 'sed'; did you mean seed"),
        ("SEED", "^--gin.SEED has no value"),
        ("SEED= ", "^--gin.SEED has no value"),
        ("SEED=false", "write False"),
        ("TRAIN_STEPS=1,000", "^--gin.TRAIN_STEPS: cannot read 'TRAIN_STEPS = 1,000'"),
        ("CLASS_LABELS=['a'", "^--gin.CLASS_LABELS: .*bracket"),
        ("SEED=@Rnu", "^--gin.SEED: No .* did you mean Run"),
        ("SE ED=3", "^--gin.SE ED: cannot read"),
        ("=3", "^--gin.: cannot read"),
    ],
)
def test_a_typed_mistake_is_one_plain_message(typed, expected):
    with pytest.raises(UserError, match=expected):
        config.parse([], [typed])


# The operative config.


def test_the_operative_config_reads_back_as_it_was(elsewhere):
    bindings = ["SEED=5", "Run.batch_size=%SEED", "CLASS_LABELS=['a b', \"it's\"]"]
    config.parse([], bindings)
    gin.get_configurable("prompt_tuning.run.Run")()
    path = elsewhere / "operative.gin"
    path.write_text("the last run's")
    config.write_operative_config(path)
    assert [entry.name for entry in elsewhere.iterdir()] == ["operative.gin"]
    config.parse(["operative.gin"])
    again = run_settings()
    assert again["seed"] == again["batch_size"] == 5
    assert again["class_labels"] == ["a b", "it's"]
