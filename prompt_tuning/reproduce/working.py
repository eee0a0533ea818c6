"""Trains a grid's cells and asks them; goes on where it was killed.

Cells that one step can train are one joint sweep; a lock in each folder lets several
processes, on several hosts with one disk, share the work (runs/runner.py). What is
finished is kept. What failed is kept too, with its reason, and left alone until it is
to be tried again.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import outputs
from prompt_tuning.reproduce import asking, cells
from prompt_tuning.reproduce.cells import Planned
from prompt_tuning.runs import results, runner
from prompt_tuning.training import folder


def work(
    planned: Sequence[Planned],
    splits: Sequence[str],
    jobs: int = 1,
    retry_failed: bool = False,
    prepare: Callable[[], Any] | None = None,
) -> None:
    """Trains what is missing, then asks what is not asked yet.

    Args:
      splits: the development split, and the untouched one.
      jobs: joint sweeps at a time, each in a process of its own.
      prepare: what such a process does first.
    """
    planned = cells.once(planned)
    if retry_failed:
        for one in planned:
            results.forget_failure(one.folder)
    tried: set[Path] = set()
    while ready := [one for one in planned if _is_ready(one, tried)]:
        tried |= {one.folder for one in ready}
        runner.train([one.settings for one in ready], jobs, prepare)
    done = [one for one in planned if cells.state(one)[0] == cells.DONE]
    asking.ask(done, splits)


def _is_ready(one: Planned, tried: set[Path]) -> bool:
    """Whether a run is to be trained now: those that it starts from are done."""
    if one.folder in tried or cells.state(one)[0] != cells.MISSING:
        return False
    return all(Path(path, results.METRICS).is_file() for path in one.sources.values())


def collect(folders: Sequence[str], out: Path) -> int:
    """Copies finished runs from other machines' folders; returns how many.

    Args:
      folders: what `reproduce --out` was there. A run that is here is kept as it is.
    """
    count = 0
    for path in sorted(p for f in folders for p in Path(f).glob("*/*-seed*-*")):
        target = out / path.parent.name / path.name
        done = [(p / results.METRICS).is_file() for p in (path, target)]
        if done != [True, False] or folder.at_work(target):
            continue
        outputs.make_folder(target.parent, "--out")
        half = target.with_name(f".{target.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(path, half)
        shutil.rmtree(target, ignore_errors=True)  # begun or failed, if anything
        half.rename(target)
        count += 1
    return count
