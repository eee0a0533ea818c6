"""Ctrl-C and SIGTERM: what must not be cut in two is finished first.

Python raises KeyboardInterrupt wherever it happens to be; in the middle of a save that
would leave threads that wait for one another for ever. Where a signal is `held` it is
acted on at the end of the block instead.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM: the scheduler, or the machine, wants this process to end."""


ENDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}

_held = dict.fromkeys(ENDS, 0)  # blocks that we are in
_waiting: set[int] = set()  # came in such a block


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """SIGTERM raises Terminated, as SIGINT raises KeyboardInterrupt; both can be held.

    A signal that is ignored (SIGINT under `nohup ... &`) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other set a handler
        return
    before = {number: signal.getsignal(number) for number in ENDS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _waiting.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not _held[signal.Signals(number)]:
        raise ENDS[signal.Signals(number)]
    if number == signal.SIGINT and number in _waiting:  # the second Ctrl-C
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    _waiting.add(number)


@contextlib.contextmanager
def held(*numbers: signal.Signals) -> Iterator[None]:
    """Puts these signals off (by default all) until the block has ended.

    A second SIGINT is not put off: it ends the process at once.
    """
    numbers = numbers or tuple(ENDS)
    for number in numbers:
        _held[number] += 1
    try:
        yield
    finally:
        for number in numbers:
            _held[number] -= 1
    for number in numbers:  # unless the block raised: its error tells more
        if number in _waiting and not _held[number]:
            _waiting.discard(number)
            raise ENDS[number]


def must_stop(step: int) -> bool:
    """True once a signal has come that is held; at one step for all processes."""
    import jax  # here: Ctrl-C may come while it is imported
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:  # JAX hears SIGTERM then, and makes them agree
        if _waiting == {signal.SIGINT}:
            _waiting.add(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return multihost_utils.reached_preemption_sync_point(step)
    return bool(_waiting)


def stop() -> NoReturn:
    """Raises what `must_stop` was true for."""
    raise KeyboardInterrupt if signal.SIGINT in _waiting else Terminated
