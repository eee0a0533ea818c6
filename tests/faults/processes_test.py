"""One of two processes is stopped, killed or given something else than the other."""

import signal
import time

import pytest
import several
import small
from small import outcome, steps

from prompt_tuning import last_word
from prompt_tuning.training import checkpoints

# Sends itself a signal when it has reported a step (a line of train.jsonl, on one).
SIGNALLED = """
import os, signal, sys
from prompt_tuning import cli
from prompt_tuning.training.progress import Progress
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
report, number, calls = Progress.step, int(sys.argv.pop(1)), []
def signalled(*args):
    report(*args)
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), number)
Progress.step = signalled
cli.console()
"""


@pytest.fixture(scope="module")
def settings(frozen):
    return {
        "INITIAL_CHECKPOINT_PATH": frozen,
        **{"TRAIN_STEPS": 100, "EVAL_PERIOD": 50},
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("unbroken")
    several.finished(several.two(1, **settings, MODEL_DIR=folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("number", "codes", "told"),
    [
        (signal.SIGTERM, (143, 143), ("by SIGTERM; run the same", "by SIGTERM")),
        (signal.SIGINT, (130, 143), ("interrupted; run the same", "by SIGTERM")),
        (signal.SIGKILL, (-9, None), ("", last_word.LOST)),
    ],
)
def test_what_ends_one_of_two_ends_both_and_they_resume(
    unbroken, settings, tmp_path, number, codes, told, which
):
    programs = [several.PROGRAM, several.PROGRAM]
    programs[which] = "-c", SIGNALLED, str(int(number))
    processes = several.two(1, programs=programs, **settings, MODEL_DIR=tmp_path)
    processes[which].wait(timeout=200)
    since = time.monotonic()
    ended = several.ends(processes)
    assert time.monotonic() - since < 45  # seconds
    one, other = ended[which], ended[1 - which]
    assert one[0] == codes[0] and other[0] in (codes[1] or other[0], 2)
    for (_, _, errors), words in zip((one, other), told, strict=True):
        assert "Traceback" not in errors and "***" not in errors
        assert words in errors.strip().splitlines()[-1:][0] if words else True
    saved = [*checkpoints.scores(tmp_path / "checkpoints")]
    if number != signal.SIGKILL:
        assert 6 < saved[-1] < 100 and steps(tmp_path / "train.jsonl")[-1] == saved[-1]
    several.finished(several.two(1, **settings, MODEL_DIR=tmp_path))
    assert outcome(tmp_path) == outcome(unbroken)


def test_what_differs_between_processes_is_named_before_they_train(settings, tmp_path):
    each = {"SEED": 0}, {"SEED": 1}
    settings = settings | {"MODEL_DIR": tmp_path, "METHOD": "whole"}
    ended = several.ends(several.two(1, each=each, **settings))
    for number, (code, out, errors) in enumerate(ended):
        # Gloo tells on stdout that it is connected, if that took it a while.
        told = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
        assert code == 2 and len(told) == (number == 0), "the first one's greeting"
        assert errors.count("\n") == 1 and "have different settings; start" in errors
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.slow
def test_other_data_is_named(settings, tmp_path):
    """Two files of one name, as on two hosts without a shared disk."""
    for number, words in enumerate((["a", "b"], ["a", "c"])):
        (tmp_path / str(number)).mkdir()
        rows = [f'{{"inputs": "{w}", "targets": "{w}"}}\n' for w in words * 20]
        (tmp_path / str(number) / "own.jsonl").write_text("".join(rows))
    each = [
        {"MIXTURE_OR_TASK_NAME": tmp_path / str(number) / "own.jsonl"}
        for number in range(2)
    ]
    settings = settings | {"MODEL_DIR": tmp_path / "run", "PROMPT_INIT": "normal"}
    for code, _, errors in several.ends(several.two(1, each=each, **settings)):
        assert code == 2 and "label words and training data and valid" in errors


def test_a_number_of_processes_that_the_others_do_not_have(monkeypatch, capsys):
    from prompt_tuning import partitioning

    monkeypatch.setattr(partitioning, "start_hosts", lambda *told: None)
    flags = "--coordinator_address=localhost:1", "--num_processes=3", "--process_id=1"
    assert small.main("train", *flags, MODEL_DIR="/dev/null/x") == 2
    assert "--num_processes is 3, but process 0 was started with 1" in (
        capsys.readouterr().err
    )
