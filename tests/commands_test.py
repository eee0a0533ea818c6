"""Whole runs of a small model: what they leave, and what becomes of them."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small
from safetensors.numpy import load_file

from prompt_tuning import evaluate, train

ROOT = Path(__file__).resolve().parents[1]
compiled_once = small.compiled_once


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return small.save_frozen(tmp_path_factory.mktemp("model") / "frozen.safetensors")


def trained(folder, frozen, **settings):
    """Trains in `folder`, and returns it."""
    settings = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": folder} | settings
    assert small.main("train", **settings) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, frozen):
    """A run of 8 steps with evaluations at 0, 4 and 8, for all to read."""
    return trained(tmp_path_factory.mktemp("run"), frozen)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(path):
    return [line["step"] for line in lines(path)]


def prompt(folder):
    return np.load(folder / "prompt.npy")


# What a run leaves


def test_a_run_leaves_all_its_files(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.gin", "checkpoints", "train.jsonl", "eval.jsonl", "metrics.json"),
        *("prompt.npy", "prompt.json", "predictions.jsonl", "learning_curve.png"),
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
    assert "71,152 parameters" in out and "4 x 16 = 64 parameters" in out
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
    # The progress bar: loss, development score, steps.
    assert "loss=" in err and "validation=" in err and "1/1" in err
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
    assert f"going on from step 4 in {tmp_path}" in capsys.readouterr().out
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
    report, count = train._report, itertools.count(1)

    def interrupted(*args):
        if next(count) == 6:
            raise KeyboardInterrupt
        report(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "_report", interrupted)
        flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
        assert small.main("train", **flags) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert steps(tmp_path / "train.jsonl") == [1, 2, 3, 4, 5]
    assert not (tmp_path / "prompt.npy").exists()
    trained(tmp_path, frozen)
    assert "going on from step 4" in capsys.readouterr().out
    assert everything(tmp_path) == everything(run)


# Dies at once after a save has begun, as if power had failed.
KILLED = """
import os, signal, sys
from prompt_tuning import checkpoints, cli
save = checkpoints.save_state
def save_and_die(states, state, step, score):
    save(states, state, step, score)
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save_state = save_and_die
cli.main(sys.argv[1:])
"""


def environment():
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": path}


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
        patch.setattr(evaluate, "development_score", lambda *_: next(scores))
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


# Kinds of runs


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


# Evaluating and predicting


def test_evaluate_repeats_the_runs_own_numbers(run, capsys):
    # The settings are those of MODEL_DIR/config.gin; no flag repeats them.
    assert small.cli.main(["evaluate", f"--gin.MODEL_DIR={run}"]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = json.loads((run / "metrics.json").read_text())
    assert result["metrics"] == expected["trained"]["metrics"]
    assert result["illegal"] == expected["trained"]["illegal"]
    assert (result["split"], result["examples"]) == ("validation", 10)
    written = Path(result["predictions"])
    assert written.read_bytes() == (run / "predictions.jsonl").read_bytes()
    written.unlink()


def test_evaluate_another_prompt_on_another_split(run, frozen, tmp_path, capsys):
    np.save(tmp_path / "p.npy", np.zeros((7, 16)))
    settings = {"INITIAL_CHECKPOINT_PATH": frozen, "EVAL_SPLIT": "train"}
    arguments = ["evaluate", "--prompt", tmp_path / "p.npy"]
    assert small.main(*arguments, **settings) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["split"], result["examples"]) == ("train", 24)
    assert "predictions" not in result


def predict(text, monkeypatch, capsys, *arguments, **settings):
    """What `predict` writes for `text` on standard input."""
    stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8")))
    monkeypatch.setattr(sys, "stdin", stdin)
    capsys.readouterr()
    assert small.main("predict", *arguments, **settings) == 0
    return capsys.readouterr().out


def test_predict_agrees_with_evaluate_and_keeps_other_fields(run, tmp_path):
    records = lines(run / "predictions.jsonl")
    for record in records:
        record["was"] = record.pop("prediction")
    text = "".join(json.dumps(record) + "\n" for record in reversed(records))
    (tmp_path / "in.jsonl").write_text(text)
    arguments = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    assert small.main("predict", *arguments, MODEL_DIR=run, DECODING="greedy") == 0
    out = lines(tmp_path / "out.jsonl")
    assert [{**record, "prediction": record["was"]} for record in records[::-1]] == out


def test_predict_reads_text_lines(run, monkeypatch, capsys):
    labels = {"MODEL_DIR": run, "DECODING": "labels"}
    # A line end is \n or \r\n, and nothing else that Unicode would break a line at.
    text = 'bird 1\nä\u2028{"b"}\r\n\n{"inputs": "tool\\n2", "id": 7}'
    out = predict(text, monkeypatch, capsys, **labels)
    records = [json.loads(line) for line in out.split("\n")[:-1]]
    inputs = [record["inputs"] for record in records]
    assert inputs == ["bird 1", 'ä\u2028{"b"}', "", "tool\n2"]
    assert records[3]["id"] == 7 and "ä" in out
    assert all(record["prediction"] in small.LABELS for record in records)
    assert predict("", monkeypatch, capsys, **labels) == ""


def test_predict_cuts_inputs_and_says_so(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b c d e f g\na")))
    lengths = {"TASK_FEATURE_LENGTHS": {"inputs": 4}}
    assert small.main("predict", MODEL_DIR=run, **lengths) == 0
    out, err = capsys.readouterr()
    assert "1 inputs were cut to 4" in err and len(out.splitlines()) == 2


def test_predict_writes_to_a_device_without_replacing_it(run, tmp_path):
    (tmp_path / "in.txt").write_text("bird\n")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    arguments = ["--input", tmp_path / "in.txt", "--output", tmp_path / "pipe"]
    assert small.main("predict", *arguments, MODEL_DIR=run) == 0
    assert json.loads(os.read(reader, 10_000))["inputs"] == "bird"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


# Exporting


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_export_writes_the_prompt_and_what_made_it(run, tmp_path, ending, capsys):
    output = tmp_path / "new folder" / f"exported{ending}"
    flags = [f"--output={output}", f"--gin.MODEL_DIR={run}"]  # no other setting
    assert small.cli.main(["export", *flags]) == 0
    assert f"prompt of step 8: {output}" in capsys.readouterr().out
    array = np.load(output) if ending == ".npy" else load_file(output)["prompt"]
    np.testing.assert_array_equal(array, prompt(run))
    made = json.loads(output.with_suffix(".json").read_text())
    expected = json.loads((run / "prompt.json").read_text())
    assert made == {key: expected[key] for key in made} and made["score"] == 0.0
    assert small.main("evaluate", "--prompt", output, MODEL_DIR=run) == 0
