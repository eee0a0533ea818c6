"""What folders of runs say, whatever state they are in."""

import json

import planted
import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.runs import results
from prompt_tuning.t5 import products


def settings(path, **changes):
    changes = {"TRAIN_STEPS": 8, "MIXTURE_OR_TASK_NAME": "kinds"} | changes
    changes["MODEL_DIR"] = path
    return config.load([], [f"{name}={value}" for name, value in changes.items()])


def test_a_finished_run_says_its_scores_and_curves(tmp_path):
    path = planted.run(tmp_path / "a", 75.0, SEED=3, curve=((0, 5.0), (8, 75.0)))
    found = results.read(path)
    assert (found.state, found.step, found.score) == (results.DONE, 8, 75.0)
    assert found.metrics == {"kinds accuracy": 75.0}
    assert found.scores == {0: 5.0, 8: 75.0} and found.losses[8] == 0.5
    assert found.settings.run.seed == 3
    assert found.made_of == {"data_fingerprint": "d" * 64}


def test_a_run_that_failed_or_was_stopped_has_no_results(tmp_path):
    failed = results.read(planted.run(tmp_path / "a", reason="it diverged"))
    assert (failed.state, failed.reason) == (results.FAILED, "it diverged")
    begun = results.read(planted.run(tmp_path / "b"))
    assert (begun.state, begun.metrics, begun.reason) == (results.BEGUN, {}, "")
    assert begun.scores == {0: 10.0, 4: 50.0}


def test_one_that_goes_on_to_more_steps_is_unfinished(tmp_path):
    path = planted.run(tmp_path / "a", 75.0, TRAIN_STEPS=16)
    assert results.read(path).state == results.BEGUN
    kept = json.loads((path / results.METRICS).read_text())
    del kept["steps"]  # an earlier version's does not say
    (path / results.METRICS).write_text(json.dumps(kept))
    assert results.read(path).state == results.DONE


def test_half_a_line_at_the_end_of_a_log_is_left_where_it_is(tmp_path):
    path = planted.run(tmp_path / "a")
    before = (path / "eval.jsonl").read_text() + '{"step": 8, "sc'
    (path / "eval.jsonl").write_text(before)
    assert results.read(path).scores == {0: 10.0, 4: 50.0}
    assert (path / "eval.jsonl").read_text() == before


def test_runs_are_found_once_below_what_is_given(tmp_path):
    for name in ("b/one", "b/two", "c"):
        planted.run(tmp_path / name, 1.0)
    planted.run(tmp_path / "c/checkpoints/inner", 1.0)
    found = results.find([str(tmp_path / "c"), str(tmp_path), f"{tmp_path}/b/../b"])
    assert [run.folder.name for run in found] == ["c", "one", "two"]


@pytest.mark.parametrize(("name", "told"), [("", "no run in"), ("x", "no folder")])
def test_a_folder_without_runs_is_named(tmp_path, name, told):
    (tmp_path / "config.gin").touch()  # of a pre-training, say
    with pytest.raises(UserError, match=f"there is {told} "):
        results.find([str(tmp_path / name)])


@pytest.mark.parametrize("text", ["{", "{}", '{"trained": 1, "best_step": 2}'])
def test_damaged_metrics_are_named(tmp_path, text):
    path = planted.run(tmp_path / "a", 75.0)
    (path / results.METRICS).write_text(text)
    with pytest.raises(UserError, match=r"metrics.json .* `train` again"):
        results.read(path)


def test_a_run_is_done_at_its_steps_and_not_with_other_settings(tmp_path):
    path = planted.run(tmp_path / "a", 75.0)
    assert results.is_done(settings(path))
    assert results.is_done(settings(path, TRAIN_STEPS=4))
    assert not results.is_done(settings(path, TRAIN_STEPS=9))
    assert not results.is_done(settings(tmp_path / "none"))
    with pytest.raises(UserError, match="seed is 1 and was 0"):
        results.is_done(settings(path, SEED=1))


def test_the_type_that_auto_was_is_no_other_setting(tmp_path):
    auto = {"T5Config.dtype": "auto"}
    kept = {"T5Config.dtype": products.chosen("auto")}
    path = planted.run(tmp_path / "a", 75.0, **kept)
    assert results.is_done(settings(path, **auto))
    results.keep_failure(settings(tmp_path / "b", **auto), "it diverged")
    assert results.read(tmp_path / "b").settings.model["dtype"] in kept.values()


def test_a_failure_is_kept_with_the_settings_and_forgotten(tmp_path):
    path = tmp_path / "new"
    results.keep_failure(settings(path, SEED=7), "no such\ntask")
    found = results.read(path)
    assert (found.state, found.reason) == (results.FAILED, "no such\\ntask")
    assert found.settings.run.seed == 7 and results.is_run(path)
    results.forget_failure(path)
    assert results.failure(path) is None
