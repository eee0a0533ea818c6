"""Files and flags become one value; every mistake in them is one plain message."""

import dataclasses
import os
import re

import gin
import hypothesis
import pytest
from hypothesis import strategies as st

from prompt_tuning import config, method_settings
from prompt_tuning.errors import UserError
from prompt_tuning.settings import (
    SECTIONS,
    Adafactor,
    MeshShape,
    Run,
    Schedule,
    Settings,
    T5Config,
)

GIN_FILES = sorted(
    path.relative_to(config.GIN_ROOT).as_posix()
    for path in config.GIN_ROOT.glob("gin/**/*.gin")
    if "gin/t5x" not in path.as_posix()  # T5X parses those: engines/t5x_test.py
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs each test in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path.name


def run_settings(*args, **kwargs):
    """What files and flags bind of the run: the fields that are not as by default."""
    run = config.load(*args, **kwargs).run
    return {k: v for k, v in vars(run).items() if v != getattr(Run(), k)}


def message(*args, **kwargs):
    with pytest.raises(UserError) as raised:
        config.load(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Files, by name from any working directory.


@pytest.mark.parametrize("name", GIN_FILES)
def test_every_gin_file_parses_alone(name):
    assert config.load([name]) != Settings()


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
    write(elsewhere / "folder" / "my_tunings.gin", "")
    error = message(["gin/runs/my_tuningss.gin"], search_paths=["folder"])
    assert error.startswith("--gin_file: no gin file 'gin/runs/my_tuningss.gin'")
    assert "did you mean folder/my_tunings.gin" in error
    assert GIN_FILES[0] in message(["gin/" + GIN_FILES[0].rsplit("/", 1)[1]])


def test_a_folder_or_bytes_instead_of_a_gin_file_is_an_error(elsewhere):
    assert "no gin file" in message(["."])
    (elsewhere / "bytes.gin").write_bytes(b"SEED = \xff")
    assert message(["bytes.gin"]).startswith("--gin_file: bytes.gin is not UTF-8")


def test_an_included_file_counts_once_and_errors_in_it_say_where(elsewhere):
    write(elsewhere / "shared.gin", "SEED = 3\n")
    write(elsewhere / "a.gin", "include 'shared.gin'\nBATCH_SIZE = 8\n")
    write(elsewhere / "b.gin", "include 'shared.gin'\nTRAIN_STEPS = 4\n")
    found = run_settings(["a.gin", "b.gin"])
    assert found == {"seed": 3, "batch_size": 8, "train_steps": 4}
    write(elsewhere / "c.gin", "\ninclude 'absent.gin'\n")
    assert message(["c.gin"]).startswith("c.gin:2: no gin file 'absent.gin'")
    write(elsewhere / "shared.gin", "SEED = 3\nSEEED = 4\n")
    assert message(["a.gin"]).startswith("shared.gin:2 binds SEEED")


def test_an_import_runs_the_module_or_says_that_it_cannot(elsewhere, monkeypatch):
    monkeypatch.syspath_prepend(elsewhere)
    write(elsewhere / "imported_by_gin.py", "import os\nos.environ['IMPORTED'] = 'x'\n")
    write(elsewhere / "a.gin", "import imported_by_gin\nSEED = 3\n")
    monkeypatch.setenv("IMPORTED", "")
    assert run_settings(["a.gin"]) == {"seed": 3}
    assert os.environ["IMPORTED"] == "x"
    write(elsewhere / "b.gin", "import no_such_module\n")
    error = message(["b.gin"])
    assert error.startswith("b.gin:1: cannot import no_such_module: No module named")


def test_a_file_for_t5x_is_not_for_this_tool():
    error = message(["gin/t5x/prompt_tune.gin"])
    assert "a file that imports __main__ is for T5X" in error


# Macros and settings.


def test_a_macro_sets_the_field_of_the_run_and_can_be_used(elsewhere):
    write(elsewhere / "a.gin", "TRAIN_STEPS = 400\nEVAL_PERIOD = %TRAIN_STEPS\n")
    assert run_settings(["a.gin"]) == {"train_steps": 400, "eval_period": 400}


def test_the_macros_of_a_t5x_user_set_fields_of_the_run():
    macros = """MODEL_DIR MIXTURE_OR_TASK_NAME MIXTURE_OR_TASK_MODULE TRAIN_STEPS
        TASK_FEATURE_LENGTHS BATCH_SIZE INITIAL_CHECKPOINT_PATH PROMPT_LENGTH
        CLASS_LABELS EVAL_PERIOD SEED VOCABULARY""".split()
    values = {
        macro: {int: 7, list: ["7"], dict: {"inputs": 7}}.get(kind, "7")
        for macro in macros
        for kind in [next(k for k in KINDS if k in annotated(macro))]
    }
    found = run_settings([], [f"{macro}={value!r}" for macro, value in values.items()])
    assert found == {macro.lower(): value for macro, value in values.items()}


KINDS = (int, list, dict, str)


def annotated(macro):
    """The types that the field of a macro may have, without what is in them."""
    (kind,) = (f.type for f in dataclasses.fields(Run) if f.name == macro.lower())
    kinds = getattr(kind, "__args__", (kind,))
    return {getattr(k, "__origin__", k) for k in kinds}


@pytest.mark.parametrize("text", ["Run.seed = 3", "Run:\n    seed = 3"])
def test_field_and_macro_are_two_names_of_one_setting(elsewhere, text):
    write(elsewhere / "field.gin", text)
    write(elsewhere / "uses.gin", "BATCH_SIZE = %SEED")
    assert run_settings(["field.gin", "uses.gin"]) == {"seed": 3, "batch_size": 3}
    assert run_settings(["field.gin"], ["SEED=4"]) == {"seed": 4}


def test_a_macro_bound_in_sight_is_that_macro(elsewhere):
    write(elsewhere / "a.gin", "SEED = 3\nRun.seed = %SEED\n")
    assert run_settings(["a.gin"]) == {"seed": 3}
    assert run_settings(["a.gin"], ["SEED=4"]) == {"seed": 4}
    # Not a value that has the macro's name in it.
    assert run_settings([], ["CLASS_LABELS=('CLASS_LABELS',)"]) == {
        "class_labels": ("CLASS_LABELS",)
    }


def test_macros_are_replaced_wherever_they_stand(elsewhere):
    write(elsewhere / "a.gin", "LONG = 64\nWORDS = ['x', %WORD]\nWORD = 'y'\n")
    typed = ["TASK_FEATURE_LENGTHS={'inputs': %LONG}", "CLASS_LABELS=%WORDS"]
    assert run_settings(["a.gin"], typed) == {
        "task_feature_lengths": {"inputs": 64},
        "class_labels": ["x", "y"],
    }


@pytest.mark.parametrize(
    "text",
    [
        "SEED = %SEED",
        "A = %B\nB = %A\nSEED = %A",
        "SEED = %BATCH_SIZE\nBATCH_SIZE = %SEED",
        "CLASS_LABELS = ['x', %CLASS_LABELS]",
        "A = {'inputs': %A}\nTASK_FEATURE_LENGTHS = %A",
    ],
)
def test_macros_in_a_circle_are_an_error(elsewhere, text):
    write(elsewhere / "a.gin", text)
    assert re.match(r"a\.gin:\d: %[A-Z_]+ is bound to itself$", message(["a.gin"]))


def test_two_files_that_bind_one_name_are_an_error_and_both_are_named(elsewhere):
    write(elsewhere / "a.gin", "SEED = 1\n")
    write(elsewhere / "b.gin", "\nSEED = 1\n")
    write(elsewhere / "c.gin", "prompt_tuning.settings.Run.seed = 1\n")
    assert message(["a.gin", "b.gin"]).startswith(
        "b.gin:2 binds SEED, which a.gin:1 binds too"
    )
    assert "a.gin:1" in message(["a.gin", "c.gin"])
    write(elsewhere / "twice.gin", "SEED = 1\nSEED = 2\n")
    assert "twice.gin:1" in message(["twice.gin"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TUNING = 'model'", "METHOD = 'whole'"),
        ("Run.tuning = 'model'", "METHOD = 'whole'"),
        ("TUNING = 'model'\nRun.tuning = %TUNING", "METHOD = 'whole'"),
        ("TUNING = 'prompt'", "METHOD = 'prompt'"),
    ],
)
def test_method_was_called_tuning(elsewhere, old, new):
    write(elsewhere / "old.gin", old)
    write(elsewhere / "new.gin", new)
    assert config.load(["old.gin"]) == config.load(["new.gin"])
    assert config.load(["old.gin"]).run.method == new[10:-1]
    assert "new.gin:1 binds METHOD, which old.gin:1" in message(["old.gin", "new.gin"])
    assert config.load([], ["TUNING=model"]).run.method == "whole"


def test_each_section_goes_where_it_belongs():
    found = config.load(
        [], ["T5Config.emb_dim=64", "schedule.learning_rate=0.1", "mesh.model=2"]
    )
    assert found == Settings(
        model={"emb_dim": 64},  # the rest is the frozen model's to say
        schedule=Schedule(learning_rate=0.1),
        mesh=MeshShape(model=2),
    )
    assert set(SECTIONS) == {
        *("Run", "T5Config", "schedule", "adafactor", "inverse_square_root", "mesh"),
        *("param_shardings", "wayward", "transfer", "pretrain"),
        *(section.SECTION for section in method_settings.SECTIONS),
    }


def test_loading_knows_nothing_of_an_earlier_load_or_of_gin():
    assert run_settings([], ["SEED=1"]) == {"seed": 1}
    assert run_settings([], ["BATCH_SIZE=2"]) == {"batch_size": 2}
    gin.finalize()  # a locked gin would take no binding
    try:
        assert run_settings([], ["SEED=5"]) == {"seed": 5} and not gin.config_str()
    finally:
        gin.clear_config()


def test_a_base_holds_where_nothing_else_is_said():
    base = config.load([], ["SEED=1", "T5Config.emb_dim=64", "mesh.model=2"])
    found = config.load([], ["SEED=3", "T5Config.mlp_dim=8"], base=base)
    assert found.run == dataclasses.replace(base.run, seed=3)
    assert found.model == {"emb_dim": 64, "mlp_dim": 8} and found.mesh == base.mesh
    assert config.changed(base, ["SEED=3", "T5Config.mlp_dim=8"]) == found
    assert base.run.seed == 1 and base.model == {"emb_dim": 64}, "a value stays"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRAIN_STEP = 3", "a.gin:1 binds TRAIN_STEP, .*did you mean TRAIN_STEPS"),
        ("train_steps = 3", "did you mean TRAIN_STEPS"),
        ("learning_rate = 3", "did you mean schedule.learning_rate"),
        ("SEED = %SEEED", "a.gin:1 uses %SEEED, .* binds; did you mean SEED"),
        ("OWN = 3", "binds OWN, which is no setting .*there are BATCH_SIZE, "),
        ("\nRnu.seed = 3", "a.gin:2: 'Rnu' names no configurables; did you mean Run?"),
        ("p.P.num_partitions = 2", "p.P' names no .*; T5X's num_.* is mesh.model"),
        ("a/Run.seed = 3", "a.gin:1: 'a/Run' names no configurables"),
        ("MeshShape.data = 1", "'MeshShape' names no .*; did you mean mesh?"),
        ("Run.sed = 3", "a.gin:1: Run has no parameter 'sed'; did you mean SEED?"),
        ("T5Config.emb = 3", "no parameter 'emb'; did you mean T5Config.emb_dim"),
        ("SEED = @Rnu()", "a.gin:1: @Rnu is a function; settings are values"),
        ("SEED = 1\nBATCH_SIZE = @Run", "a.gin:2: @Run is a function"),
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
        config.load(["a.gin"])
    assert message(["a.gin"])


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
        ("@home", "@home"),
        ("100%", "100%"),
        ("%NAME", "five"),
        ("{label}", "{label}"),
        ("[a]b", "[a]b"),
        ("'tis", "'tis"),
    ],
)
def test_a_typed_value_is_a_literal_a_reference_or_a_bare_string(typed, value):
    found = config.load([], ["NAME=five", "VOCABULARY=%NAME", f"MODEL_DIR={typed}"])
    assert found.run.model_dir == value


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("SEED", "400", 400),
        ("schedule.learning_rate", " 1e-5 ", 1e-5),
        ("mesh.data", " -1 ", -1),
        ("VOCABULARY", "None", None),
        ("CLASS_LABELS", "['a', \"b\"]", ["a", "b"]),
        ("TASK_FEATURE_LENGTHS", "{'inputs': 64}", {"inputs": 64}),
        ("param_shardings.fully_sharded", "True", True),
    ],
)
def test_a_typed_literal_has_its_type(name, typed, value):
    section, _, field = name.rpartition(".")
    found = config.load([], [f"{name}={typed}"])
    got = getattr(getattr(found, section or "run"), field.lower())
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("PROMPT_STRING", "2024", "2024"),
        ("PROMPT_STRING", "007", "007"),
        ("PROMPT_STRING", "1e5", "1e5"),
        ("PROMPT_STRING", "None", "None"),
        ("PROMPT_STRING", "true", "true"),
        ("PROMPT_STRING", "[1, 2]", "[1, 2]"),
        ("PROMPT_STRING", "@home", "@home"),
        ("PROMPT_STRING", "%50 off", "%50 off"),
        ("PROMPT_STRING", "'2024'", "2024"),
        ("INPUTS", "{1}", "{1}"),
        ("MODEL_DIR", "1", "1"),
        ("EVAL_SPLIT", "0", "0"),
        ("pretrain.skill_task", "5", "5"),
    ],
)
def test_a_text_may_look_like_something_else(name, typed, value):
    section, _, field = name.rpartition(".")
    found = config.load([], [f"{name}={typed}"])
    assert getattr(getattr(found, section or "run"), field.lower()) == value


def test_the_home_may_be_a_tilde_wherever_a_path_is(elsewhere, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    names = [f.name for f in dataclasses.fields(Run) if "path" in f.metadata]
    assert len(names) == 7
    found = config.load([], [f"{name.upper()}=~/a" for name in names]).run
    assert {getattr(found, name) for name in names} == {"/home/me/a"}
    write(elsewhere / "a.gin", "NAME = '~/b'\nMODEL_DIR = %NAME\nPROMPT_STRING = '~'")
    found = config.load(["a.gin"]).run
    assert (found.model_dir, found.prompt_string) == ("/home/me/b", "~")


def test_typed_bindings_override_files_and_one_another(elsewhere):
    write(elsewhere / "a.gin", "SEED = 1\nRun.batch_size = 1\n")
    typed = ["Run.seed=2", "BATCH_SIZE=2", "BATCH_SIZE=3"]
    assert run_settings(["a.gin"], typed) == {"seed": 2, "batch_size": 3}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("TRAIN_STEP=3", "^--gin.TRAIN_STEP binds .*did you mean TRAIN_STEPS"),
        ("learning_rate=1", "^--gin.learning_rate .*did you mean schedule.learning_ra"),
        ("LR=1", "did you mean schedule.learning_rate"),
        ("schedule.lr=1", "no parameter 'lr'; did you mean schedule.learning_rate"),
        ("adafactor.learning_rate=1", "did you mean schedule.learning_rate"),
        ("optimizer.learning_rate=1", "did you mean schedule.learning_rate"),
        ("Run.learning_rate=1", "did you mean schedule.learning_rate"),
        ("dropout=1", "did you mean T5Config.dropout_rate"),
        ("max_steps=1", "did you mean TRAIN_STEPS"),
        ("Run.sed=3", "^--gin.Run.sed: Run has no parameter 'sed'; did you mean SEED"),
        ("PROMT_LENGTH=3", r"did you mean PROMPT_LENGTH\?"),
        ("lora.rnk=3", r"lora has no parameter 'rnk'; did you mean lora.rank\?"),
        ("loar.rank=3", r"did you mean lora\?"),
        ("PROMPT_INIT=class_labels", r"did you mean class_label\?"),
        ("SEED", "^--gin.SEED has no value"),
        ("SEED= ", "^--gin.SEED has no value"),
        ("SEED=false", "write False"),
        ("TRAIN_STEPS=1,000", "^--gin.TRAIN_STEPS: cannot read 'TRAIN_STEPS = 1,000'"),
        ("CLASS_LABELS=['a'", "^--gin.CLASS_LABELS: .*bracket"),
        ("CLASS_LABELS=[@a]", "^--gin.CLASS_LABELS: @a is a function"),
        ("SEED=@Rnu", "SEED is '@Rnu'; it must be of type int"),
        ("SE ED=3", "^--gin.SE ED: cannot read"),
        ("=3", "^--gin.: cannot read"),
        ("TUNING=['model']", r"METHOD is \['model'\]; it must be of type str"),
    ],
)
def test_a_typed_mistake_is_one_plain_message(typed, expected):
    with pytest.raises(UserError, match=expected):
        config.load([], [typed])
    assert message([], [typed])


# The settings as text, and what two of them differ in.


def test_the_text_of_settings_reads_back_as_they_were(elsewhere):
    bindings = ["SEED=5", "Run.batch_size=%SEED", "CLASS_LABELS=['a b', \"it's\"]"]
    settings = config.load([], bindings)
    write(elsewhere / "config.gin", config.text(settings))
    again = config.load(["config.gin"])
    assert again == settings and again.run.seed == again.run.batch_size == 5
    assert again.run.class_labels == ["a b", "it's"]
    assert "Run.prompt_length = 100\n" in config.text(settings), "all of them"


COUNTS = st.integers(min_value=1, max_value=10**6)
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.integers(
    min_value=0, max_value=10**300
)
WORDS = st.lists(st.text()) | st.lists(st.text()).map(tuple)
SETTINGS = st.builds(
    Settings,
    run=st.builds(
        Run,
        model_dir=st.text(
            st.characters(codec="utf-8", exclude_characters="\0"), max_size=60
        ),
        mixture_or_task_module=st.text() | WORDS,
        inputs=st.none() | st.text(),
        task_feature_lengths=st.none()
        | st.dictionaries(st.sampled_from(["inputs", "targets"]), COUNTS),
        method=st.text(),
        prompt_string=st.text(),
        class_labels=st.none() | WORDS,
        train_steps=COUNTS,
        seed=st.integers(min_value=0, max_value=2**32 - 1),
    ),
    model=st.fixed_dictionaries(
        {}, optional={"emb_dim": COUNTS, "dtype": st.just("bfloat16")}
    ),
    schedule=st.builds(Schedule, learning_rate=NUMBERS),
    adafactor=st.builds(Adafactor, decay_rate=NUMBERS, parameter_scaling=st.booleans()),
    mesh=st.builds(MeshShape, data=st.integers(-1, 10**6)),
)


@hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(settings=SETTINGS)
def test_the_text_of_any_settings_reads_back_as_they_were(elsewhere, settings):
    path = elsewhere / "any.gin"
    path.write_text(config.text(settings), encoding="utf-8")
    again = config.load([str(path)])
    assert again == settings and not config.differences(settings, again)
    assert config.text(again) == config.text(settings)  # 1 and 1.0 are equal


def test_differences_are_named_as_the_user_types_them():
    old = config.load([], ["SEED=1", "schedule.learning_rate=0.1"])
    new = config.load([], ["BATCH_SIZE=16", "mesh.model=2"])
    assert config.differences(old, old) == {}
    assert config.differences(old, new) == {
        "SEED": (1, 0),
        "BATCH_SIZE": (32, 16),
        "schedule.learning_rate": (0.1, 0.3),
        "mesh.model": (1, 2),
    }


def test_a_size_that_one_leaves_open_is_no_difference():
    size = T5Config(emb_dim=64)
    whole = Settings(model=dataclasses.asdict(size))
    some = Settings(model={"emb_dim": 64, "mlp_dim": 8})
    assert config.differences(Settings(), whole) == {}
    assert config.differences(whole, Settings()) == {}
    assert config.differences(whole, some) == {"T5Config.mlp_dim": (192, 8)}
