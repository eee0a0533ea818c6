"""Which settings a sweep makes of one run's."""

import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.runs.sweep import check_read, sweep, together


def base(more, *given):
    given = ["MODEL_DIR=runs/x", "PROMPT_LENGTH=7", "PROMPT_STRING=a", *given]
    return config.load([], [*given, *more])


def test_every_combination_has_its_settings_and_a_folder_of_its_own():
    found = sweep(base, ["SEED=0, 1", "schedule.learning_rate=0.3,0.1"])
    told = [(s.run.seed, s.schedule.learning_rate, s.run.model_dir) for s in found]
    assert told == [
        (seed, rate, f"runs/x/seed_{seed}-learning_rate_{rate}")
        for seed in (0, 1)
        for rate in (0.3, 0.1)
    ]
    assert all(s.run.prompt_length == 7 for s in found)


def test_what_is_no_word_in_a_value_is_none_in_the_folder():
    (found,) = sweep(base, ["PROMPT_FILE=a b/c:d.npy"])
    assert found.run.prompt_file == "a b/c:d.npy"
    assert found.run.model_dir == "runs/x/prompt_file_a_b_c_d.npy"


@pytest.mark.parametrize(
    "text", ["SEED", "SEED=", "=1", "MODEL_DIR=a,b", "pretrain.prefix_lm_steps=1,2"]
)
def test_what_cannot_be_swept_is_an_error(text):
    with pytest.raises(UserError, match=r"--sweep is .* SEED=0,1,2, say"):
        sweep(base, [text])


@pytest.mark.parametrize("text", ["SEDE=1,2", "schedule=1,2", "Run.sede=1,2"])
def test_what_is_no_setting_is_told_as_elsewhere(text):
    with pytest.raises(UserError, match=r"(?i)sede|schedule"):
        sweep(base, [text])


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("TRAIN_STEPS=1, 2", "train_steps", [1, 2]),
        ("Run.batch_size=4,8", "batch_size", [4, 8]),
        ("CLASS_LABELS=['a','b'],['c']", "class_labels", [["a", "b"], ["c"]]),
        ("PROMPT_STRING='a, b',c", "prompt_string", ["a, b", "c"]),
        ("PROMPT_STRING=don't,do", "prompt_string", ["don't", "do"]),
        (
            'TASK_FEATURE_LENGTHS={"inputs": 8, "targets": 2},{"inputs": 9}',
            "task_feature_lengths",
            [{"inputs": 8, "targets": 2}, {"inputs": 9}],
        ),
    ],
)
def test_any_setting_is_swept(text, name, values):
    found = sweep(base, [text])
    assert [getattr(settings.run, name) for settings in found] == values


def test_the_models_settings_are_swept_too():
    found = sweep(base, ["T5Config.dropout_rate=0.0,0.1"])
    assert [one.model["dropout_rate"] for one in found] == [0.0, 0.1]


def test_runs_go_together_that_one_step_can_train():
    sweeps = ["PROMPT_LENGTH=5,20", "SEED=0,1", "schedule.learning_rate=0.1,0.3"]
    groups = together(sweep(base, sweeps))
    assert [len(group) for group in groups] == [4, 4]
    assert [{one.run.prompt_length for one in group} for group in groups] == [{5}, {20}]
    mixed = together(sweep(base, ["SEED=0,1", "TRAIN_STEPS=5,9"]))
    assert [[one.run.seed for one in group] for group in mixed] == [[0, 1], [0, 1]]


def test_models_that_are_trained_are_alone():
    groups = together(sweep(base, ["METHOD=prompt,whole", "SEED=0,1"]))
    assert [[one.run.method for one in group] for group in groups] == [
        ["prompt", "prompt"],
        ["whole"],
        ["whole"],
    ]


def test_a_setting_may_need_what_is_swept():
    found = sweep(lambda more: base(more, "PROMPT_INIT=file"), ["PROMPT_FILE=a,b"])
    assert [settings.run.prompt_file for settings in found] == ["a", "b"]


def test_without_a_model_dir_there_is_none():
    found = sweep(lambda more: config.load([], more), ["SEED=0,1"])
    assert [settings.run.model_dir for settings in found] == ["", ""]


def test_a_swept_value_is_checked_like_any_other():
    with pytest.raises(UserError, match="SEED is -1"):
        sweep(base, ["SEED=0,-1"])


@pytest.mark.parametrize(
    ("sweeps", "problem"),
    [
        (["SEED=0,1", "SEED=2,3"], "names SEED twice; .*in one"),
        (["SEED=0,1", "Run.seed=2,3"], "twice"),
        (["SEED=0,1,0"], "one run twice, 'runs/x/seed_0' and"),
        (["SEED=1,1"], "one run twice, 'runs/x/seed_1' and"),
        (
            ["METHOD=lora", "PROMPT_LENGTH=1,5"],
            "one run twice.* that this METHOD reads",
        ),
        (["METHOD=prefix_tuning", "PROMPT_PLACE=prefix,suffix"], "one run twice"),
        (["schedule.learning_rate=0.3,0.30,3e-1"], "_0.3' and '.*_0.30': give each"),
        (["PROMPT_FILE=a/b.npy,a_b.npy"], "one folder, 'runs/x/prompt_file_a_b.npy'"),
        (["PROMPT_FILE=a.npy,A.npy"], "one folder"),
        (["PROMPT_FILE=a.npy,./a.npy"], "one run twice"),
        (["PROMPT_FILE=x/../a.npy,a.npy"], "one run twice"),
        (["PROMPT_FILE=a/b,a/b/"], "one run twice"),
        (["SEED=1,+1"], "SEED"),
        (["SEED=1,0x1"], "one run twice"),
        (["schedule.warmup_steps=0,-0"], "one run twice"),
        (["schedule.learning_rate=1,1.0"], "one run twice"),
        (["PROMPT_INIT=string,'string'"], "one run twice"),
        (["SEED=0,1", "seed=2"], "twice; .*in one"),
        (["SEED=0,"], "SEED has no value"),
        ([f"PROMPT_FILE=a,{'b' * 250}"], "MODEL_DIR is .* at most 255 bytes"),
        ([f"PROMPT_FILE=a,{'é' * 130}"], "PROMPT_FILE is .* at most 255 bytes"),
        (["PROMPT_FILE=a", f"SEED={','.join(map(str, range(3)))},2"], "twice"),
    ],
)
def test_no_run_is_trained_twice_and_no_folder_shared(sweeps, problem):
    with pytest.raises(UserError, match=problem):
        sweep(base, sweeps)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("PROMPT_FILE='p.npy'", "PROMPT_FILE is 'p.npy', but PROMPT_INIT is 'class_la"),
        ("PROMPT_STRING='a b'", "does nothing: give --gin.PROMPT_INIT=string, say, or"),
        ("schedule.decay_factor=0.5", "but schedule.steps_per_decay is 0, with which"),
        ("schedule.steps_per_decay=9", "schedule.decay_factor is 1.0"),
    ],
)
def test_what_does_nothing_in_any_run_is_refused(given, problem):
    def load(*bindings):
        return config.load([], [*bindings])

    with pytest.raises(UserError, match=problem):
        check_read([load(), load(given)])
    needed = ["PROMPT_INIT=file", "PROMPT_FILE='p.npy'"]
    needed += ["schedule.decay_factor=0.5", "schedule.steps_per_decay=9"]
    needed += ["PROMPT_STRING='a b'"]
    check_read([load(given), load(*needed), load(*needed, "PROMPT_INIT=string")])
