"""Several runs, one group after another: kept, failed, killed, or in processes."""

import json
import os
import shutil

import numpy as np
import pytest
import small

from prompt_tuning import interrupts
from prompt_tuning.errors import UserError
from prompt_tuning.runs import results, runner, tune
from prompt_tuning.training import folder

LENGTHS = ("--sweep=PROMPT_LENGTH=2,3", "--sweep=SEED=0,1")
NAMES = [f"prompt_length_{length}-seed_{seed}" for length in (2, 3) for seed in (0, 1)]


@pytest.fixture
def calls(monkeypatch):
    """The groups that are trained, by their folders' names; none really is."""
    found = []

    def train(group):
        found.append([one.run.model_dir.rpartition("/")[2] for one in group])
        for one in group:
            name = one.run.model_dir.rpartition("/")[2]
            if name in train.failing:
                raise train.failing[name]
            finish(one)

    train.failing = {}
    monkeypatch.setattr(tune, "train", train)
    found.append(train.failing)
    yield found


def finish(one):
    """Leaves what a finished run leaves."""
    path = folder.make_model_dir(one.run)
    folder.keep_settings(path / "config.gin", one)
    kept = {"best_step": 8, "steps": 8, "trained": {"metrics": {"t": {"m": 50.0}}}}
    (path / "metrics.json").write_text(json.dumps(kept))
    (path / "eval.jsonl").write_text('{"step": 8, "score": 50.0}\n')


def runs(path, frozen):
    return [
        small.settings(
            PROMPT_LENGTH=length,
            SEED=seed,
            MODEL_DIR=path / f"prompt_length_{length}-seed_{seed}",
            INITIAL_CHECKPOINT_PATH=frozen,
        )
        for length in (2, 3)
        for seed in (0, 1)
    ]


def test_groups_are_trained_in_turn_and_finished_runs_kept(tmp_path, frozen, calls):
    all_of_them = runs(tmp_path, frozen)
    finish(all_of_them[0])
    runner.train(all_of_them)
    assert calls[1:] == [[NAMES[1]], NAMES[2:]]
    runner.train(all_of_them)
    assert len(calls) == 3, "nothing is repeated"
    (row, _) = runner.conclude(all_of_them)
    assert len(row.done) == 2 and (tmp_path / "summary.json").is_file()


def test_a_failed_run_leaves_the_others_standing(tmp_path, frozen, calls, capsys):
    calls[0][NAMES[1]] = UserError("it diverged")
    all_of_them = runs(tmp_path, frozen)
    runner.train(all_of_them)
    assert calls[1:] == [NAMES[:2], [NAMES[1]], NAMES[2:]]
    with pytest.raises(UserError, match="1 of 4 runs failed, for the reasons above"):
        runner.conclude(all_of_them)
    out, err = capsys.readouterr()
    assert "it diverged; each of these 2 goes on alone" in err
    assert f"failed      {tmp_path / NAMES[1]}  it diverged" in out
    found = json.loads((tmp_path / "summary.json").read_text())
    states = [one["state"] for one in found["runs"]]
    assert states == ["done", "failed", "done", "done"]
    # The same command tries it again.
    calls[0].clear()
    runner.train(all_of_them)
    assert calls[4:] == [[NAMES[1]]]


def test_what_no_user_did_is_told_whole_and_kept_in_a_line(
    tmp_path, frozen, calls, capsys
):
    one = runs(tmp_path, frozen)[0]
    calls[0][NAMES[0]] = RuntimeError("RESOURCE_EXHAUSTED: 9 GB\nat step")
    runner.train([one])
    reason = "RuntimeError: RESOURCE_EXHAUSTED: 9 GB"
    assert results.failure(tmp_path / NAMES[0]) == reason
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt, interrupts.Terminated])
def test_a_stop_is_no_failure(tmp_path, frozen, calls, stop):
    calls[0][NAMES[1]] = stop()
    with pytest.raises(stop):
        runner.train(runs(tmp_path, frozen))
    assert calls[1:] == [NAMES[:2]]
    assert results.failure(tmp_path / NAMES[1]) is None


def test_what_another_process_is_at_is_left_to_it(tmp_path, frozen, capsys):
    one = runs(tmp_path, frozen)[0]
    path = folder.make_model_dir(one.run)
    with folder.locked(path):
        runner.train([one])
    assert "another run is at work" in capsys.readouterr().err
    assert results.failure(path) is None
    assert runner.conclude([one]) == []
    assert "1 of 1 runs are not finished" in capsys.readouterr().err


def test_a_folder_with_another_run_is_refused_before_any_is_trained(
    tmp_path, frozen, calls
):
    all_of_them = runs(tmp_path, frozen)
    other = small.settings(MODEL_DIR=all_of_them[2].run.model_dir, BATCH_SIZE=4)
    finish(other)
    with pytest.raises(UserError, match="batch_size is 8 and was 4"):
        runner.train(all_of_them)
    assert not calls[1:] and results.failure(tmp_path / NAMES[2]) is None


def test_finished_runs_of_another_frozen_model_are_refused(tmp_path, frozen, calls):
    one = runs(tmp_path, frozen)[0]
    finish(one)
    said = {"frozen_fingerprint": "another"}
    (tmp_path / NAMES[0] / "description.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="the frozen model changed since"):
        runner.train([one])


# Whole, with nothing replaced


def test_a_sweep_of_any_setting_is_trained_evaluated_and_compared(
    tmp_path, frozen, capsys
):
    sweep = tmp_path / "sweep"
    bad = "--sweep=MIXTURE_OR_TASK_NAME=small_kind,small_kin"
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "TRAIN_STEPS": 4, "MODEL_DIR": sweep}
    assert small.main("train", bad, "--sweep=SEED=0,1", **flags) == 2
    out, err = capsys.readouterr()
    assert "[1 of 2]" in out and "2 prompts, in one step" in out
    assert "2 of 4 runs failed" in err and "no task or mixture 'small_kin'" in out
    assert small.cli.main(["evaluate", f"--gin.MODEL_DIR={sweep}"]) == 2
    found = json.loads(capsys.readouterr().out)
    of_both = "mixture_or_task_name_{}-seed_0"
    good, failed = (sweep / of_both.format(n) for n in ("small_kind", "small_kin"))
    assert "it is failed" in found["runs"][str(failed)]["error"]
    kept = json.loads((good / "metrics.json").read_text())["trained"]
    assert found["runs"][str(good)]["metrics"] == kept["metrics"]
    assert (good / "predictions_validation.jsonl").is_file()
    shutil.rmtree(failed)
    shutil.rmtree(sweep / "mixture_or_task_name_small_kin-seed_1")
    assert small.cli.main(["evaluate", f"--prompt={sweep}", "--split=train"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["n"] for row in rows] == [2]
    assert small.cli.main(["compare", str(sweep)]) == 0
    assert f"table           {sweep / 'summary.json'}" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_of_their_own_train_what_one_trains(tmp_path, frozen):
    both = [runs(tmp_path / name, frozen) for name in ("one", "two")]
    runner.train(both[0])
    runner.train(both[1], jobs=2)
    for one, other in zip(*both, strict=True):
        prompts = [small.prompt(folder.make_model_dir(x.run)) for x in (one, other)]
        np.testing.assert_allclose(*prompts, rtol=1e-5, atol=1e-6)
        assert results.is_done(other)
    assert (tmp_path / "two" / NAMES[0] / runner.LOG).read_text().count("together") == 1


def test_a_process_that_is_killed_is_kept_as_failed(tmp_path, frozen):
    all_of_them = runs(tmp_path, frozen)
    runner.train(all_of_them, jobs=2, prepare=os.abort)
    reasons = {results.failure(tmp_path / name) for name in NAMES}
    (reason,) = reasons
    assert "its process ended with SIGABRT" in reason
