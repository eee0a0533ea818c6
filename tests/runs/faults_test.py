"""Runs that are stopped, damaged or denied the disk go on, or say why not."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import small
from safetensors.numpy import load_file
from small import environment, outcome, prompt, steps, trained

from prompt_tuning.training import checkpoints, loop, progress


@pytest.fixture
def half(tmp_path, frozen):
    """A copy of a run of 8 steps, to be damaged; states 4 and 8 are kept."""
    return trained(tmp_path / "half", frozen)


@contextlib.contextmanager
def stopped_at(monkeypatch, step):
    """SIGTERM comes when that step is reported; the one after it is then under way."""
    report = progress.Progress.step

    def stopped(told, number, *rest):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        report(told, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "step", stopped)
        yield


def test_sigterm_saves_the_step_it_comes_in(run, tmp_path, frozen, monkeypatch, capsys):
    with stopped_at(monkeypatch, 5):
        flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
        assert small.main("train", **flags) == 143
    assert "SIGTERM; run the same command to resume" in capsys.readouterr().err
    saved = checkpoints.scores(tmp_path / "checkpoints")
    assert list(saved) == [4, 6] and saved[6] is None
    assert steps(tmp_path / "train.jsonl") == [*range(1, 7)]
    trained(tmp_path, frozen)
    assert "resuming from step 6" in capsys.readouterr().out
    assert outcome(tmp_path) == outcome(run)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "LENGTH_WINDOW": 3
        },  # 24 examples: an epoch is 3 steps, the stop is in the 2nd
        {"MIXTURE_OR_TASK_NAME": "small_both", "NUM_MICROBATCHES": 2},
    ],
)
def test_each_example_is_seen_as_often_as_in_an_unbroken_run(
    tmp_path, frozen, monkeypatch, settings
):
    seen = collections.Counter()
    compile_step = loop.compile_step

    def counting(*arguments):
        compiled = compile_step(*arguments)

        def step(states, frozen, batch, rngs):
            seen.update(map(bytes, np.asarray(batch["encoder_input_tokens"])))
            return compiled(states, frozen, batch, rngs)

        return step

    monkeypatch.setattr(loop, "compile_step", counting)
    settings |= {"INITIAL_CHECKPOINT_PATH": frozen, "BATCH_SIZE": 16}
    assert small.main("train", MODEL_DIR=tmp_path / "unbroken", **settings) == 0
    unbroken = seen.copy()
    assert unbroken.total() == 8 * 16
    seen.clear()
    with stopped_at(monkeypatch, 5):
        assert small.main("train", MODEL_DIR=tmp_path / "stopped", **settings) == 143
    assert 0 < seen.total() < 8 * 16
    assert small.main("train", MODEL_DIR=tmp_path / "stopped", **settings) == 0
    assert seen == unbroken


@pytest.mark.parametrize("kind", ["score", "array"])
def test_damaged_states_and_logs_are_made_again(run, half, frozen, kind, capsys):
    state = half / "checkpoints" / "8"
    (array,) = (state / "default" / "d").iterdir()
    path = {"score": state / "metrics" / "metrics", "array": array}[kind]
    path.write_bytes(bytes(14))
    whole = (half / "eval.jsonl").read_bytes().splitlines(keepends=True)
    (half / "eval.jsonl").write_bytes(b"\x00" * 40 + b"\n" + b"".join(whole[1:]))
    (half / ".prompt.npy.abcd1234").touch()
    trained(half, frozen)
    out, err = capsys.readouterr()
    goes_on = {"score": "finished at step 8; nothing left", "array": "from step 4 in"}
    assert goes_on[kind] in out
    assert "the state of step 8" in err and "1 damaged lines" in err
    assert outcome(half)[:-1] == outcome(run)[:-1]  # with the untrained prompt's score
    assert steps(half / "eval.jsonl") == [4, 8]
    assert not list(half.glob(".*"))


def test_scores_that_were_lost_are_made_again(tmp_path, frozen, capsys):
    """The best state is an older one, and stays the best."""
    flags = {"DECODING": "labels", "TRAIN_STEPS": 8, "EVAL_PERIOD": 1}
    flags |= {"schedule.learning_rate": 3.0}
    folder = trained(tmp_path, frozen, **flags)
    before, states = outcome(folder), folder / "checkpoints"
    scores = checkpoints.scores(states)
    best = checkpoints.best_step(states)
    assert best not in (7, 8), "choose another rate"
    for number in scores:
        (states / str(number) / "metrics" / "metrics").unlink()
    trained(folder, frozen, **flags)
    assert capsys.readouterr().err.count("is evaluated again") == 3
    assert checkpoints.scores(states) == scores
    assert outcome(folder) == before


def test_data_that_changed_is_named(half, frozen, capsys):
    said = json.loads((half / "description.json").read_text())
    changed = said | {"data_fingerprint": "another", "frozen_checksum": "another"}
    (half / "description.json").write_text(json.dumps(changed))
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": half}
    assert small.main("train", TRAIN_STEPS=9, **flags) == 2
    error = capsys.readouterr().err
    assert "the frozen model and the training data changed" in error
    assert steps(half / "train.jsonl") == [*range(1, 9)]


# Cannot save step 4: a file is where checkpoints/ was.
DENIED = """
import os, sys
from prompt_tuning.training import checkpoints
from prompt_tuning import cli
save = checkpoints.save_state
def denied(states, state, step, score):
    if step == 4:
        checkpoints.finish(states)
        os.rename(states.directory, str(states.directory) + ".moved")
        open(states.directory, "w").close()
    save(states, state, step, score)
checkpoints.save_state = denied
cli.console()
"""


def test_a_run_goes_on_once_it_can_write_again(run, tmp_path, frozen):
    """In a process of its own, which Orbax's threads would keep from ending."""
    flags = small.flags(INITIAL_CHECKPOINT_PATH=frozen, MODEL_DIR=tmp_path)
    command = [sys.executable, "-c", DENIED, "train", *flags]
    ended = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 2
    told = ended.stderr.splitlines()[-1]
    assert "a state cannot be saved in" in told and "the same command goes on" in told
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "checkpoints.moved").rename(tmp_path / "checkpoints")
    trained(tmp_path, frozen)
    assert outcome(tmp_path) == outcome(run)


def test_weights_are_tuned_in_float32_whatever_jax_may(tmp_path, frozen):
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "METHOD": "whole", "TRAIN_STEPS": 1}
    flags = small.flags(**flags, MODEL_DIR=tmp_path)
    program = [sys.executable, "-m", "prompt_tuning", "train", *flags]
    env = environment() | {"JAX_ENABLE_X64": "1"}
    ended = subprocess.run(program, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert {x.dtype for x in load_file(tmp_path / "model.safetensors").values()} == {
        np.dtype("float32")
    }


def test_training_goes_on_without_a_reader(tmp_path, frozen):
    flags = small.flags(INITIAL_CHECKPOINT_PATH=frozen, MODEL_DIR=tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "-m", "prompt_tuning", "train", *flags]
    code = subprocess.call(program, env=environment(), stdout=writer, stderr=writer)
    assert code == 0 and prompt(tmp_path).shape == (4, 16)
