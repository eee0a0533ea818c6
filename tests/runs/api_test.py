"""Training from Python is the command line's, and gives its results as a value."""

import pytest
import small

import prompt_tuning
from prompt_tuning.errors import UserError
from prompt_tuning.runs import figures, results


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(figures, "learning_curve", lambda *_: None)
    monkeypatch.setattr(figures, "overlay", lambda *_: [figures.__file__])
    monkeypatch.setattr(figures, "bars", lambda *_: [figures.__file__])


@pytest.fixture
def settings(frozen):
    return {"INITIAL_CHECKPOINT_PATH": frozen} | small.RUN


def test_a_run_is_the_command_lines_and_is_not_trained_twice(run, settings, tmp_path):
    made = prompt_tuning.train(MODEL_DIR=tmp_path / "run", **settings)
    assert made.folder == tmp_path / "run" and made.state == results.DONE
    assert list(made.scores) == [0, 4, 8] and list(made.losses) == [*range(1, 9)]
    assert (small.prompt(made.folder) == small.prompt(run)).all()
    assert prompt_tuning.train(MODEL_DIR=tmp_path / "run", **settings) == made


def test_a_sweep_is_a_run_for_each_combination(settings, tmp_path):
    values = {"SEED": range(2), "PROMPT_INIT": ["sampled_vocab"]}
    made = prompt_tuning.sweep(values, MODEL_DIR=tmp_path, **settings)
    assert [one.settings.run.seed for one in made] == [0, 1]
    assert {one.settings.run.prompt_init for one in made} == {"sampled_vocab"}
    expected = [f"seed_{seed}-prompt_init_sampled_vocab" for seed in (0, 1)]
    assert [one.folder.relative_to(tmp_path).as_posix() for one in made] == expected


def test_gin_files_are_read_and_mistakes_are_told(tmp_path):
    files = "gin/runs/prompt_tune.gin"
    with pytest.raises(UserError, match="did you mean PROMPT_LENGTH"):
        prompt_tuning.train(files, PROMT_LENGTH=4)
    with pytest.raises(UserError, match="MODEL_DIR is not set"):
        prompt_tuning.train(files, EVAL_PERIOD=5)
