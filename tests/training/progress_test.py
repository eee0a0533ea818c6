"""What each step's line says, and who is told how far training is."""

import io
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.training import progress

BATCH = {"encoder_input_tokens": np.zeros((8, 2, 16))}
WORK = progress.Work(
    [lambda step: 0.5**step, lambda step: 1.0], lambda batch: 6e9, 1e11
)


def metrics(loss, ok=True):
    return {
        "loss": jnp.float32(loss),
        "grad_norm": jnp.float32(np.inf),
        "ok": jnp.bool_(ok),
    }


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed, as far as progress knows."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_what_the_step_gave_and_how_fast(tmp_path, clock):
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with progress.told(logs, 2, 4, "tuning", WORK) as told:
        clock[0] += 0.5
        told.step(3, [metrics(1.5), metrics(2.5)], BATCH)
        clock[0] += 30
        told.show(validation="50.0")  # evaluating is nobody's time
        clock[0] += 0.25
        told.step(4, [metrics(1.25), metrics(2.25)], BATCH)
    first, second = lines(logs[0])
    peak = first.pop("peak_memory")
    assert 1e6 < peak < 1e12, "bytes"
    assert first == {
        "step": 3,
        "loss": 1.5,
        "grad_norm": None,  # JSON has no infinity
        "learning_rate": 0.25,  # of the third update
        "seconds": 0.5,
        "examples_per_second": 32.0,  # 8 examples of two prompts
        "flops_per_second": 12e9,
        "device_share": pytest.approx(0.12),
    }
    assert second["seconds"] == 0.25 and second["learning_rate"] == 0.125
    other = lines(logs[1])
    assert [one["loss"] for one in other] == [2.5, 2.25]
    assert [one["learning_rate"] for one in other] == [1.0, 1.0]


def test_a_rate_that_is_not_known_is_not_told(tmp_path):
    work = WORK._replace(rate=None)
    work = work._replace(learning_rates=WORK.learning_rates[:1])
    with progress.told([tmp_path / "b"], 0, 1, "tuning", work) as told:
        told.step(1, [metrics(1.0)], BATCH)
    assert "device_share" not in lines(tmp_path / "b")[0]
    assert progress.device_rate("float32") is None
    assert progress.device_rate("bfloat16") is None, "of a CPU"


def test_the_devices_rates_are_added(monkeypatch):
    class Device:
        device_kind = "TPU v4"

    monkeypatch.setattr(jax, "devices", lambda: [Device()] * 8)
    assert progress.device_rate("bfloat16") == 8 * 275e12


def test_a_file_gets_a_line_every_ten_seconds(tmp_path, clock, capsys):
    with progress.told([tmp_path / "a"], 0, 100, "tuning", ONE) as told:
        for number in range(1, 9):
            clock[0] += 4
            told.step(number, [metrics(number)], BATCH)
        told.show(validation="50.0")
    assert capsys.readouterr().err.splitlines() == [
        "tuning: step 3 of 100, loss 3.000, 388 s left",
        "tuning: step 6 of 100, loss 6.000, 376 s left",
        "tuning: step 8 of 100, loss 8.000, validation 50.0, 368 s left",
    ]


ONE = WORK._replace(learning_rates=WORK.learning_rates[:1])


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.told([tmp_path / "a"], 0, 2, "tuning", ONE) as told:
        told.step(1, [metrics(1.0)], BATCH)
        told.show(validation="50.0")
    assert "tuning:  50%" in terminal.getvalue()
    assert "validation=50.0" in terminal.getvalue()


def test_what_diverged_is_named_and_not_logged(tmp_path):
    logs = [tmp_path / name / "train.jsonl" for name in "ab"]
    for path in logs:
        path.parent.mkdir()
    diverged = pytest.raises(UserError, match=f"at step 1 in {logs[1].parent}")
    with progress.told(logs, 0, 2, "tuning", WORK) as told, diverged:
        told.step(1, [metrics(1.0), metrics(np.nan, ok=False)], BATCH)
    assert not logs[0].read_text()


def test_events_get_the_values_of_the_line(tmp_path):
    got = []
    events = [lambda *each: got.append(each)]
    with progress.told([tmp_path / "a"], 0, 1, "tuning", ONE, events) as told:
        told.step(1, [metrics(1.0)], BATCH)
    ((step, values),) = got
    assert {"step": step} | values == lines(tmp_path / "a")[0]
