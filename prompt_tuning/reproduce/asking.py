"""What finished runs are asked: their tasks' splits, the untouched one among them.

All is asked in one process. In a run's folder, asked.json keeps what it answered and
made.json what it was made with; predictions lie in asked/TASK/.
"""

import collections
import contextlib
import dataclasses
import datetime
import functools
import os
import subprocess
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import prompt_tuning
from prompt_tuning import files, outputs
from prompt_tuning.reproduce import cells
from prompt_tuning.reproduce.cells import Planned
from prompt_tuning.runs import evaluation, results, sweep, trained
from prompt_tuning.settings import Settings
from prompt_tuning.training import folder
from prompt_tuning.training.task import Metrics

ASKED, MADE = "asked.json", "made.json"
Question = tuple[str, str]  # a task and a split


def kept(path: Path) -> dict[str, Any]:
    """What a JSON file of ours holds; {} if it is not there."""
    if not path.is_file():
        return {}
    found = files.read_json(path, "remove it; `reproduce` writes it again")
    return found if isinstance(found, dict) else {}


def answers(path: Path) -> dict[str, Metrics]:
    """{split: metrics} of all that a finished run was asked, its own among it."""
    said = kept(path / ASKED)
    own = kept(path / results.METRICS)["trained"]["metrics"]
    split = cells.read(path).settings.run.eval_split
    return {**said, split: own | said.get(split, {})}


def left(one: Planned, splits: Sequence[str]) -> list[Question]:
    """What a finished run has not been asked yet."""
    found = answers(one.folder)
    return [
        (task, split)
        for task in one.cell.asks
        for split in splits
        if task not in found.get(split, {})
    ]


def ask(planned: Sequence[Planned], splits: Sequence[str]) -> None:
    """Asks finished runs what is left; one that cannot answer is kept as failed."""
    groups: dict[Question, dict[Path, Planned]] = collections.defaultdict(dict)
    for one in planned:
        if not (one.folder / MADE).is_file():
            outputs.write_json(one.folder / MADE, facts())
        for question in left(one, splits):
            groups[question][one.folder] = one
    for (task, split), asked in groups.items():
        print(f"{len(asked)} runs are asked {task}, {split}", flush=True)
        settings = [_settings(one, task, split) for one in asked.values()]
        for group in sweep.together(settings):
            _ask_together(group)


def _settings(one: Planned, task: str, split: str) -> Settings:
    """A finished run's settings, to evaluate it on another task's split."""
    source = trained.find("", str(one.folder))
    settings = trained.base_settings(str(one.folder), source)
    now = one.settings.run
    run = dataclasses.replace(
        settings.run,
        mixture_or_task_name=task,
        eval_split=split,
        model_dir=str(one.folder / "asked" / task),
        data_dir=now.data_dir,
        tfds_data_dir=now.tfds_data_dir,
        initial_checkpoint_path=now.initial_checkpoint_path,
    )
    return dataclasses.replace(settings, run=run)


def _ask_together(group: Sequence[Settings]) -> None:
    """Asks runs that share a program, and keeps what they say."""
    folders = [Path(one.run.model_dir).parents[1] for one in group]
    with contextlib.ExitStack() as stack:
        try:
            for path in folders:
                stack.enter_context(folder.locked(path))
        except folder.AtWork as error:
            outputs.warn(f"{error}; left to it")
            return
        task, split = group[0].run.mixture_or_task_name, group[0].run.eval_split
        for path, said in zip(folders, _answered(group, folders), strict=True):
            if task not in said.get("metrics", {task: {}}):
                told = ", ".join(said["metrics"])
                said = {"error": f"the answers are of {told}; ask those by name"}
            if "error" in said:
                reason = f"asked {task}, {split}: {said['error']}"
                outputs.write_json(path / results.FAILURE, {"reason": reason})
                outputs.warn(f"{path} failed: {reason}")
                continue
            found = kept(path / ASKED)
            found.setdefault(split, {}).update(said["metrics"])
            outputs.write_json(path / ASKED, found)


def _answered(
    group: Sequence[Settings], folders: Sequence[Path]
) -> list[dict[str, Any]]:
    """What `evaluate` says of each run; {"error": why} of one that cannot answer."""
    try:
        return evaluation.tried(
            [
                (one, trained.find("", str(path))._replace(mesh=one.mesh))
                for one, path in zip(group, folders, strict=True)
            ]
        )
    except Exception as error:  # the runs of other groups are not to suffer from it
        if not getattr(error, "user_message", False):
            traceback.print_exception(error)
        return [{"error": f"{type(error).__name__}: {error}"}] * len(group)


@functools.cache
def facts() -> dict[str, Any]:
    """What is at work here: hardware, versions, commit, date."""
    device, root = jax.devices()[0], Path(prompt_tuning.__file__).parents[1]
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    kind = f"{jax.device_count()} {device.device_kind}"
    if device.platform == "cpu":
        count = len(os.sched_getaffinity(0))
        kind = f"{count} CPU core{'s' * (count != 1)}"
    return {
        "hardware": kind,
        "versions": {
            "prompt_tuning": prompt_tuning.__version__,
            **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        },
        "commit": commit.stdout.strip() or None,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }
