"""A signal waits for what must not be cut in two."""

import os
import signal
import subprocess
import sys

import jax
import pytest
from jax.experimental import multihost_utils

from prompt_tuning import interrupts


@pytest.fixture(autouse=True)
def default_signals():
    """A shell starts what it puts in the background deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "error"), interrupts.ENDS.items())
def test_a_held_signal_is_acted_on_at_the_end_of_the_block(number, error):
    before, done = signal.getsignal(number), []
    with pytest.raises(error), interrupts.handled():
        with interrupts.held():
            with interrupts.held():
                send(number)
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"] and signal.getsignal(number) is before
    with pytest.raises(error), interrupts.handled():
        send(number)
    with interrupts.handled(), interrupts.held():
        pass  # none is left over


def test_the_error_of_a_block_tells_more_than_the_signal():
    handled, held = interrupts.handled(), interrupts.held()
    with pytest.raises(OSError, match="full"), handled, held:
        send(signal.SIGINT)
        raise OSError("full")


def test_one_signal_may_be_held_alone():
    with interrupts.handled():
        with pytest.raises(KeyboardInterrupt), interrupts.held(signal.SIGTERM):
            send(signal.SIGINT)
        with pytest.raises(interrupts.Terminated), interrupts.held(signal.SIGTERM):
            assert not interrupts.must_stop(1)
            send(signal.SIGTERM)
            assert interrupts.must_stop(2)


def test_the_loop_ends_with_what_stopped_it():
    for number, error in interrupts.ENDS.items():
        with pytest.raises(error), interrupts.handled(), interrupts.held():
            send(number)
            assert interrupts.must_stop(1)
            interrupts.stop()


def test_ctrl_c_of_one_of_several_is_passed_on_once(monkeypatch):
    """JAX hears the SIGTERM, and makes all processes agree on a step."""
    sent, steps = [], iter([False, False, True])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    agree = "reached_preemption_sync_point"
    monkeypatch.setattr(multihost_utils, agree, lambda step: next(steps))
    with pytest.raises(KeyboardInterrupt), interrupts.handled(), interrupts.held():
        assert not interrupts.must_stop(1)
        send(signal.SIGINT)
        monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
        assert not interrupts.must_stop(2) and interrupts.must_stop(3)
        interrupts.stop()
    assert sent == [signal.SIGTERM]


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.handled():
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_ends_at_once():
    code = """
import os, signal
from prompt_tuning import interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
with interrupts.handled(), interrupts.held():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    print("still here")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGINT and ended.stdout == ""
