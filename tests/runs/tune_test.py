"""Whole runs of a small model: what they leave, and what becomes of them."""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import small
from safetensors.numpy import load_file
from small import environment, lines, prompt, steps, trained
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from prompt_tuning.training import progress
from prompt_tuning.training import task as tasks

# What a run leaves


def test_a_run_leaves_all_its_files(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.gin", "checkpoints", "train.jsonl", "eval.jsonl", "metrics.json"),
        *("prompt.npy", "prompt.json", "predictions.jsonl", "learning_curve.png"),
        *("description.json", "learning_curve.pdf"),
    }
    assert steps(run / "train.jsonl") == [*range(1, 9)]
    assert steps(run / "eval.jsonl") == [0, 4, 8]
    assert (run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert prompt(run).shape == (4, 16) and prompt(run).dtype == np.float32
    made = json.loads((run / "prompt.json").read_text())
    assert made["task"] == "small_kind" and made["init"] == "class_label"
    assert (made["length"], made["width"], made["step"]) == (4, 16, 8)


def test_the_metrics_are_those_of_the_predictions(run):
    results = json.loads((run / "metrics.json").read_text())
    predictions = lines(run / "predictions.jsonl")
    assert [p["inputs"] for p in predictions] == small.examples("validation")["inputs"]
    right = [p["target"] == p["prediction"] for p in predictions]
    accuracy = results["trained"]["metrics"]["small_kind"]["accuracy"]
    assert accuracy == 100 * np.mean(right)
    assert results["majority"]["small_kind"]["accuracy"] == 40.0
    first = lines(run / "eval.jsonl")[0]
    assert results["untrained"] == {key: first[key] for key in ("metrics", "illegal")}


def test_training_tells_what_it_does_and_ends_with_a_table(tmp_path, frozen, capfd):
    lengths = {"TASK_FEATURE_LENGTHS": {"inputs": 3}}
    trained(tmp_path, frozen, TRAIN_STEPS=1, **lengths)
    out, err = capfd.readouterr()
    assert "95,728 parameters" in out and "4 x 16 = 64 parameters" in out
    assert "inputs of 3 tokens (24 cut), targets of 2 (0 cut)" in out
    cut = json.loads((tmp_path / "metrics.json").read_text())["cut"]
    assert cut["validation"] == {"inputs": 10, "targets": 0}
    header = next(line for line in out.splitlines() if line.startswith("task "))
    columns = "majority class", "untrained prompt", "trained prompt"
    assert all(column in header for column in columns)
    row = next(line for line in out.splitlines() if "accuracy" in line).split()
    assert row[:3] == ["small_kind", "accuracy", "40.0"] and len(row) == 5
    for name in ("prompt.npy", "learning_curve.png", "metrics.json"):
        assert str(tmp_path / name) in out
    # How far it is, as a line where there is no terminal.
    assert re.search(r"tuning: step 1 of 1, loss \d.*, validation \d", err)
    assert "Traceback" not in err and "Warning" not in err


def test_the_frozen_model_is_left_as_it_was_and_not_saved(run, frozen, tmp_path):
    again = small.save_frozen(tmp_path / "frozen.safetensors")
    assert frozen.read_bytes() == again.read_bytes()
    saved = [path for path in (run / "checkpoints").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in saved) < frozen.stat().st_size / 4


# Going on


def everything(folder):
    """What must be the same, however a run came to its end."""
    return (
        (folder / "prompt.npy").read_bytes(),
        (folder / "predictions.jsonl").read_bytes(),
        (folder / "metrics.json").read_bytes(),
        lines(folder / "train.jsonl"),
        lines(folder / "eval.jsonl"),
    )


def test_a_longer_run_goes_on_from_a_shorter_one(run, tmp_path, frozen, capsys):
    trained(tmp_path, frozen, TRAIN_STEPS=4)
    assert steps(tmp_path / "train.jsonl") == [1, 2, 3, 4]
    capsys.readouterr()
    trained(tmp_path, frozen, TRAIN_STEPS=8)
    assert f"resuming from step 4 in {tmp_path}" in capsys.readouterr().out
    assert everything(tmp_path) == everything(run)


def test_a_finished_run_tells_its_results_again(run, tmp_path, frozen, capsys):
    trained(tmp_path, frozen)
    assert everything(tmp_path) == everything(run)  # the same settings, the same prompt
    first = capsys.readouterr().out
    trained(tmp_path, frozen, TRAIN_STEPS=2)  # fewer than there are: none is lost
    again = capsys.readouterr().out
    assert again.partition("\n\n")[2] == first.partition("\n\n")[2]
    assert "accuracy" in again.partition("\n\n")[2]
    assert everything(tmp_path) == everything(run)


def test_an_interrupted_run_goes_on(run, tmp_path, frozen, monkeypatch, capsys):
    """Ctrl-C when step 6 is reported."""
    with small.interrupted(monkeypatch, progress.Progress, "step", 6):
        flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
        assert small.main("train", **flags) == 130
    assert "the same command to resume" in capsys.readouterr().err
    assert steps(tmp_path / "train.jsonl") == [1, 2, 3, 4, 5]
    assert not (tmp_path / "prompt.npy").exists()
    trained(tmp_path, frozen)
    assert "resuming from step 4" in capsys.readouterr().out
    assert everything(tmp_path) == everything(run)


# Dies at once after a save has begun, as if power had failed.
KILLED = """
import os, signal, sys
from prompt_tuning.training import checkpoints
from prompt_tuning import cli
save = checkpoints.save_state
def save_and_die(states, state, step, score):
    save(states, state, step, score)
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save_state = save_and_die
cli.main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_as_if_nothing_had_happened(run, tmp_path, frozen):
    flags = small.flags(INITIAL_CHECKPOINT_PATH=frozen, MODEL_DIR=tmp_path)
    command = [sys.executable, "-c", KILLED, "train", *flags]
    killed = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "prompt.npy").exists()
    assert everything(trained(tmp_path, frozen)) == everything(run)
    for folder in (".", "checkpoints"):
        names = [
            {path.name for path in (x / folder).iterdir()} for x in (tmp_path, run)
        ]
        assert names[0] == names[1], "something half made is left"


@pytest.mark.slow
def test_a_run_killed_again_and_again(tmp_path, frozen):
    """Kills from outside at random moments, which may hit any file."""
    settings = {"INITIAL_CHECKPOINT_PATH": frozen, "TRAIN_STEPS": 300, "EVAL_PERIOD": 5}
    flags = small.flags(MODEL_DIR=tmp_path / "killed", **settings)
    command = [sys.executable, "-m", "prompt_tuning", "train", *flags]
    log = tmp_path / "killed" / "train.jsonl"
    rng = np.random.default_rng()
    for _ in range(6):
        before = log.stat().st_mtime if log.exists() else 0
        process = subprocess.Popen(
            command, env=environment(), stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (
            log.exists() and log.stat().st_mtime > before
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 4))
        process.kill()
        process.wait()
    trained(tmp_path / "killed", frozen, **settings)
    trained(tmp_path / "never", frozen, **settings)
    assert everything(tmp_path / "killed") == everything(tmp_path / "never")


def test_the_best_state_is_kept_beside_the_last(run, tmp_path, frozen, monkeypatch):
    scores = itertools.chain([10.0, 30.0, 20.0], itertools.repeat(30.0))
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "development_score", lambda *_: next(scores))
        trained(tmp_path, frozen)
    assert json.loads((tmp_path / "metrics.json").read_text())["best_step"] == 4
    assert json.loads((tmp_path / "prompt.json").read_text())["step"] == 4
    exported = {}
    for step in ("best", "last"):
        output = tmp_path / f"{step}.npy"
        arguments = ["--output", output, "--step", step]
        assert small.main("export", *arguments, MODEL_DIR=tmp_path) == 0
        exported[step] = np.load(output)
    np.testing.assert_array_equal(exported["best"], prompt(tmp_path))
    np.testing.assert_array_equal(exported["last"], prompt(run))
    assert not np.array_equal(exported["last"], exported["best"])
    assert json.loads((tmp_path / "last.json").read_text())["score"] == 20.0


def test_where_less_is_better_the_least_is_best(tmp_path, frozen, monkeypatch, capsys):
    values = itertools.chain([90.0, 30.0, 40.0], itertools.repeat(30.0))
    monkeypatch.setattr(small, "PLANTED", values)
    plain = {"PROMPT_INIT": "sampled_vocab"}
    trained(tmp_path, frozen, MIXTURE_OR_TASK_NAME="small_errors", **plain)
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert results["best_step"] == 4
    assert results["trained"]["metrics"] == {"small_errors": {"errors": 30.0}}
    assert json.loads((tmp_path / "prompt.json").read_text())["score"] == -30.0
    scores = [line["score"] for line in lines(tmp_path / "eval.jsonl")]
    assert scores == [-90.0, -30.0, -40.0]
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if "(less" in line)
    assert row == "small_errors errors (less is better) 30.0 90.0 30.0".split()
    assert "at step 4" in out.replace("\n", " ")


# Kinds of runs


@pytest.mark.parametrize("sweep", [(), ("--sweep=SEED=0,1",)])
def test_a_mixture_is_tuned_and_evaluated_by_labels(tmp_path, frozen, sweep, capsys):
    both = {"MIXTURE_OR_TASK_NAME": "small_both", "DECODING": "labels"}
    trained(tmp_path, frozen, *sweep, **both)
    folder = tmp_path / "seed_1" if sweep else tmp_path
    said = lines(folder / "predictions.jsonl")
    assert {one["task"] for one in said} == {"small_kind", "small_mood"}
    assert all(one["legal"] for one in said)
    for line in lines(folder / "eval.jsonl"):
        assert line["illegal"] == {"small_kind": 0.0, "small_mood": 0.0}
    capsys.readouterr()
    assert small.cli.main(["evaluate", f"--gin.MODEL_DIR={folder}"]) == 0
    result = json.loads(capsys.readouterr().out)
    kept = json.loads((folder / "metrics.json").read_text())["trained"]
    assert {key: result[key] for key in kept} == kept


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"MIXTURE_OR_TASK_NAME": "small_mixed", "DECODING": "labels"},
            "small_free names no label words",
        ),
        (
            {"MIXTURE_OR_TASK_NAME": "small_unlabelled"},
            "the split 'train' has no labels of small_unlabelled to learn",
        ),
        ({"INPUTS": "{a}"}, "INPUTS can only be given for a .csv"),
        ({"MIXTURE_OR_TASK_NAME": "small_counted"}, "{'small_errors': nan, 'small_k"),
        ({"MIXTURE_OR_TASK_NAME": "small_never"}, "and one of them more"),
        ({"MIXTURE_OR_TASK_NAME": "small_negative"}, "'small_kind': -1.0}"),
    ],
)
def test_what_cannot_be_tuned_is_refused_at_the_start(
    tmp_path, frozen, settings, problem, capsys
):
    where = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
    assert small.main("train", **where, **settings) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "eval.jsonl").exists()


def test_model_tuning_learns_the_task_without_a_prompt(tmp_path, frozen, capsys):
    model = {"TUNING": "model", "TRAIN_STEPS": 60, "EVAL_PERIOD": 60}
    trained(tmp_path, frozen, **model, **{"schedule.learning_rate": 0.01})
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert results["trained"]["metrics"]["small_kind"]["accuracy"] > 80
    assert not (tmp_path / "prompt.npy").exists()
    assert (
        f"model           {tmp_path / 'model.safetensors'}" in capsys.readouterr().out
    )
    before, after = load_file(frozen), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    # `evaluate` and `predict` take the tuned model from MODEL_DIR.
    assert small.main("evaluate", MODEL_DIR=tmp_path, TUNING="model") == 0
    assert (
        json.loads(capsys.readouterr().out)["metrics"] == results["trained"]["metrics"]
    )


def test_label_decoding_makes_no_illegal_labels(run, tmp_path, frozen):
    before = json.loads((run / "metrics.json").read_text())["trained"]
    assert before["illegal"] == {"small_kind": 1.0}  # greedy, of a random model
    trained(tmp_path, frozen, DECODING="labels", TRAIN_STEPS=1)
    results = json.loads((tmp_path / "metrics.json").read_text())
    illegal = [results[part]["illegal"] for part in ("untrained", "trained")]
    assert illegal == [{"small_kind": 0.0}] * 2
    assert all(line["legal"] for line in lines(tmp_path / "predictions.jsonl"))


def test_training_starts_from_the_prompt_of_a_file(run, tmp_path, frozen):
    file = {"PROMPT_INIT": "file", "PROMPT_FILE": run / "prompt.npy"}
    folder = trained(tmp_path, frozen, TRAIN_STEPS=1, **file)
    first, *_, last = [line["loss"] for line in lines(run / "train.jsonl")]
    assert abs(lines(folder / "train.jsonl")[0]["loss"] - last) < abs(first - last) / 2


def test_the_prompt_of_a_file_must_fit_what_is_to_be_trained(
    run, tmp_path, frozen, capsys
):
    flags = {"PROMPT_INIT": "file", "PROMPT_FILE": run, "MODEL_DIR": tmp_path / "new"}
    other = small.save_frozen(tmp_path / "other.safetensors", seed=1)
    for wrong, message in (
        ({"INITIAL_CHECKPOINT_PATH": other}, "was trained on"),
        ({"PROMPT_PLACE": "suffix"}, "PROMPT_PLACE is 'suffix', but the prompt to"),
    ):
        wrong = {"INITIAL_CHECKPOINT_PATH": frozen} | wrong
        assert small.main("train", **flags | wrong) == 2
        assert message in capsys.readouterr().err


def test_the_prompt_may_stand_behind_the_input(run, tmp_path, frozen):
    folder = trained(tmp_path, frozen, PROMPT_PLACE="suffix")
    assert json.loads((folder / "prompt.json").read_text())["place"] == "suffix"
    assert not np.allclose(prompt(folder), prompt(run), atol=1e-3)


def test_microbatches_and_a_sharded_model_change_nothing_but_rounding(
    run, tmp_path, frozen
):
    mesh = {"mesh.data": 4, "mesh.model": 2}
    folder = trained(tmp_path, frozen, NUM_MICROBATCHES=2, **mesh)
    losses = [
        [line["loss"] for line in lines(f / "train.jsonl")] for f in (run, folder)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(prompt(folder), prompt(run), atol=1e-3)


# Going wrong


def test_a_run_that_diverges_stops_and_keeps_its_last_good_state(
    tmp_path, frozen, capfd
):
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
    explosion = {"schedule.steps_per_decay": 5, "schedule.decay_factor": 1e30}
    assert small.main("train", **flags, **explosion) == 2
    err = capfd.readouterr().err
    assert "error: training diverged at step 6" in err and "Traceback" not in err
    assert "schedule.learning_rate" in err and "new MODEL_DIR" in err
    assert steps(tmp_path / "train.jsonl") == [1, 2, 3, 4, 5]
    output = tmp_path / "good.npy"
    assert small.main("export", "--output", output, "--step=last", **flags) == 0
    assert "step 4" in capfd.readouterr().out and np.isfinite(np.load(output)).all()


def test_other_settings_in_a_used_folder_are_named_and_nothing_is_lost(
    run, frozen, capsys
):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": run, "TRAIN_STEPS": 20}
    changes = {"PROMPT_LENGTH": 5, "schedule.learning_rate": 0.1}
    assert small.main("train", **flags, **changes) == 2
    err = capsys.readouterr().err
    assert "prompt_length is 5 and was 4; schedule.learning_rate is 0.1 and was" in err
    assert "train_steps" not in err
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path != run}
    assert after == {path: before[path] for path in after} and len(after) == len(before)


def test_where_anothers_results_are_no_run_starts(run, tmp_path, frozen, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "checkpoints")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": folder}
    for changes in ({}, {"PROMPT_LENGTH": 5}):
        assert small.main("train", **flags, **changes) == 2
        told = capsys.readouterr().err
        assert "the results of a run (metrics.json, prompt.npy), but no che" in told
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


def test_event_files_are_written_when_asked_for(tmp_path, frozen):
    folder = trained(tmp_path / "run", frozen, TENSORBOARD=True)
    read = event_accumulator.EventAccumulator(str(folder)).Reload()
    losses = [tensor_util.make_ndarray(x.tensor_proto) for x in read.Tensors("loss")]
    assert losses == pytest.approx([x["loss"] for x in lines(folder / "train.jsonl")])
    scores = [
        (x.step, tensor_util.make_ndarray(x.tensor_proto).item())
        for x in read.Tensors("validation score")
    ]
    logged = lines(folder / "eval.jsonl")
    assert scores == [(x["step"], pytest.approx(x["score"])) for x in logged]
