"""Trains several runs: those that one step can train at once, groups one after another.

It goes on where it was killed: what is finished is kept, and a run that failed leaves
the others standing. A lock in each run's folder lets several processes, on several
hosts with one disk, share the work.
"""

import collections
import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from os import _exit as end_at_once
from pathlib import Path
from typing import Any

import jax

from prompt_tuning import exchange, interrupts, outputs
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import compare, results, summary, sweep, tune
from prompt_tuning.settings import Settings
from prompt_tuning.training import folder

Group = Sequence[Settings]
LOG = "output.log"  # of a process of its own, in the first of its runs' folders


def train(runs: Group, jobs: int = 1, prepare: Callable[[], Any] | None = None) -> None:
    """Trains the runs that are not finished.

    Args:
      jobs: how many groups are trained at a time, each in a process of its own; 1: one
        after another in this process.
      prepare: what such a process does first; it is pickled.

    Raises:
      UserError: a folder holds a run with other settings; nothing is trained then.
    """
    for one in runs:
        folder.make_model_dir(one.run)
    _check_kept(runs)
    groups = sweep.together(runs)
    if jobs > 1 and len(groups) > 1:
        _in_processes(groups, jobs, prepare)
        return
    for number, group in enumerate(groups, 1):
        if len(groups) > 1:
            print(f"\n[{number} of {len(groups)}] {_told(group)}", flush=True)
        attempt(group)
        if len(groups) > 1:  # programs of other shapes are of no use to the next
            jax.clear_caches()
            gc.collect()


def _check_kept(runs: Group) -> None:
    """Raises UserError where a folder holds another run, or one of another model."""
    fingerprints: dict[str, str] = {}
    for one in runs:
        path, name = Path(one.run.model_dir), one.run.initial_checkpoint_path
        states = (path / "checkpoints").glob("[0-9]*")
        if (path / results.SETTINGS).is_file() and any(states):
            results.check(one)
        if results.is_done(one):
            found = fingerprints.get(name) or weights.fingerprint(name)
            fingerprints[name] = found
            said = exchange.read_description(path / exchange.DESCRIPTION)
            folder.check_unchanged(path, said, {"frozen_fingerprint": found})


def attempt(group: Group) -> None:
    """Trains those of a group that are not finished; keeps why one of them failed.

    Where they cannot be trained together, each is trained alone.
    """
    left = [one for one in group if not results.is_done(one)]
    done = len(group) - len(left)
    if done:
        print(f"{done} of {len(group)} finished before", flush=True)
    if not left:
        return
    try:
        tune.train(left)
    except folder.AtWork as error:
        outputs.warn(f"{error}; left to it")
    except Exception as error:
        if jax.process_count() > 1:  # the others may not have failed
            raise
        reason = _reason(error)
        if len(left) == 1:
            results.keep_failure(left[0], reason)
            outputs.warn(f"{left[0].run.model_dir} failed: {reason}")
            return
        outputs.warn(f"{reason}; each of these {len(left)} goes on alone")
        for one in left:
            attempt([one])


def _reason(error: Exception) -> str:
    """An error in a line; what is nobody's mistake is told whole on stderr."""
    if getattr(error, "user_message", False):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _told(group: Group) -> str:
    more = f" and {len(group) - 1} more, together" if len(group) > 1 else ""
    return group[0].run.model_dir + more


# Each group in a process of its own


def _in_processes(
    groups: Sequence[Group], jobs: int, prepare: Callable[[], Any] | None
) -> None:
    """Trains `jobs` groups at a time; once this process must stop, so must they."""
    spawn = multiprocessing.get_context("spawn")
    waiting, running = collections.deque(enumerate(groups, 1)), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, group = waiting.popleft()
                process = spawn.Process(target=_child, args=(group, prepare))
                process.start()
                running[process.sentinel] = process, group
                log = Path(group[0].run.model_dir, LOG)
                said = f"[{number} of {len(groups)}] {_told(group)}; see {log}"
                print(said, flush=True)
            for sentinel in connection.wait(running):
                process, group = running.pop(sentinel)
                process.join()
                _keep_end(group, process.exitcode)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _keep_end(group: Group, code: int | None) -> None:
    """Keeps that a process has ended early, for those of its runs not finished."""
    if not code:
        return
    told = f"exit code {code}"
    with contextlib.suppress(ValueError):
        told = signal.Signals(-code).name
    for one in group:
        path = Path(one.run.model_dir)
        if not results.is_done(one) and results.failure(path) is None:
            results.keep_failure(
                one, f"its process ended with {told}; SIGKILL is often want of memory"
            )


def _child(group: Group, prepare: Callable[[], Any] | None) -> None:
    """Trains a group in this process, and ends it."""
    with _told_to(Path(group[0].run.model_dir, LOG)):
        try:
            with interrupts.handled():
                if prepare:
                    prepare()
                attempt(group)
            code = 0
        except KeyboardInterrupt:
            code = 130
        except interrupts.Terminated:
            code = 143
        except Exception:
            traceback.print_exc()
            code = 1
    end_at_once(code)  # what a failed save has left behind would keep it


@contextlib.contextmanager
def _told_to(path: Path) -> Iterator[None]:
    """What this process tells goes to a file, behind what is there."""
    file = path.open("ab", buffering=0)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file.fileno(), stream.fileno())
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


# What came of them


def conclude(runs: Group) -> list[compare.Row]:
    """Tells the runs' results by setting, and writes them beside the runs' folders.

    Raises:
      UserError: some of the runs failed; it is raised at the end.
    """
    paths = [Path(one.run.model_dir) for one in runs]
    found = [results.read(path) for path in paths if results.is_run(path)]
    rows = compare.rows(found)
    if outputs.is_writer() and rows:
        parents = [path.parent for path in paths]
        summary.tell(rows, Path(os.path.commonpath(parents)))
    states = collections.Counter(run.state for run in found)
    if states[results.FAILED]:
        raise UserError(
            f"{states[results.FAILED]} of {len(runs)} runs failed, for the reasons "
            "above; the same command tries them again"
        )
    if states[results.DONE] < len(runs):
        left = len(runs) - states[results.DONE]
        outputs.warn(f"{left} of {len(runs)} runs are not finished")
    return rows
