"""Where a cell's run lies, and what has become of it.

A folder is EXPERIMENT/ROW-COLUMN-TASK-seedS-HASH. The hash is of the settings, and of
what they stand for: the frozen model, the vocabulary, files of the user's own. So a
changed setting or model makes a new run, and experiments that ask for the same run
share one, whichever made it first.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import vocabulary, weights
from prompt_tuning.reproduce import grid
from prompt_tuning.reproduce.grid import Cell, Scale
from prompt_tuning.runs import parts, results
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training import folder, own_data

DONE, MISSING, FAILED, RUNNING = "done", "missing", "failed", "running"
DIGITS = 10  # of a hash
# Where and how fast a run is made, not what it is; and the seed, which a name has.
_FREE = (folder.FREE - {"TRAIN_STEPS", "EVAL_PERIOD"}) | {"SEED"}
_NOT_READ = "pretrain.", "inverse_square_root."


class Planned(NamedTuple):
    """A cell, and the folder of its run.

    experiment: the one that asks for it. sources: {setting: the folder of the run that
    it starts from}.
    """

    experiment: str
    cell: Cell
    settings: Settings
    folder: Path
    sources: Mapping[str, str] = {}


def plan(
    experiment: str,
    cells: Iterable[Cell],
    scale: Scale,
    out: Path,
    others: Iterable[Planned] = (),
) -> list[Planned]:
    """The cells with their settings and folders.

    Args:
      out: the folder of all experiments.
      others: what is planned already, whose runs are shared before they are made.

    Raises:
      UserError: a setting is wrong.
    """
    there = {_key(one.folder): one.folder for one in others} | _by_hash(out)
    return [_planned(experiment, cell, scale, out, there) for cell in cells]


def _planned(
    experiment: str, cell: Cell, scale: Scale, out: Path, there: Mapping[str, Path]
) -> Planned:
    found = grid.after(cell).items()
    before = {n: _planned(experiment, c, scale, out, there) for n, c in found}
    sources = {name: str(one.folder) for name, one in before.items()}
    settings = grid.settings_of(scale, cell, "", sources)
    inputs = {name: _key(one.folder) for name, one in before.items()}
    key = f"seed{cell.seed}-{digest(settings, inputs)}"
    path = there.get(key) or out / experiment / f"{_name(cell)}-{key}"
    settings = config.changed(settings, [f"MODEL_DIR={str(path)!r}"])
    return Planned(experiment, cell, settings, path, sources)


def _name(cell: Cell) -> str:
    task = Path(str(cell.settings.get(grid.TASK, ""))).stem
    return "-".join(_plain(one) for one in (cell.row, cell.column, task) if one)


def _plain(text: str) -> str:
    """A text as part of a folder's name, of letters and digits that any disk takes."""
    return re.sub(r"[^\w.+]+", "_", text.lower()).strip("_")


def _key(path: Path) -> str:
    """seedS-HASH, the end of a folder's name."""
    return "-".join(path.name.split("-")[-2:])


def _by_hash(out: Path) -> dict[str, Path]:
    """{seedS-HASH: folder} of all the runs of all experiments."""
    found: dict[str, Path] = {}
    for path in sorted(out.glob("*/*-seed*-*")):
        if results.is_run(path):
            found.setdefault(_key(path), path)
    return found


# What a run is, in a hash


def digest(settings: Settings, inputs: Mapping[str, str]) -> str:
    """The hash of what a run is: its settings and what they stand for.

    Settings that are as the code has them are left out, so that a setting added to the
    code leaves old hashes as they are.

    Args:
      inputs: what stands for a setting's value, by gin's name.
    """
    usual = _usual()
    named = {
        name: value
        for name, value in config.named(settings).items()
        if name not in _FREE and not name.startswith(_NOT_READ)
    }
    changed = {
        name: value
        for name, value in named.items()
        if value != usual.get(name) or name.startswith("T5Config.")
    }
    text = json.dumps(changed | _made_of(settings.run) | dict(inputs), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@functools.cache
def _usual() -> dict[str, Any]:
    return config.named(Settings())


def _made_of(run: Run) -> dict[str, str]:
    """What a run reads, by the names of the settings that say where it is."""
    name = run.mixture_or_task_name
    found = {
        "INITIAL_CHECKPOINT_PATH": _fingerprint(run.initial_checkpoint_path),
        "VOCABULARY": _vocabulary(run.vocabulary, run.initial_checkpoint_path),
    }
    if own_data.is_own(name):
        found["MIXTURE_OR_TASK_NAME"] = _content(Path(name))
    if run.prompt_file and Path(run.prompt_file).exists():
        found["PROMPT_FILE"] = _content(Path(run.prompt_file))
    return found


@functools.cache
def _fingerprint(name: str) -> str:
    """A frozen model's fingerprint; its name if it is in a bucket or is not there."""
    if "://" in name:  # what is published there does not change
        return name
    try:
        return weights.fingerprint(name)
    except UserError:
        return name


@functools.cache
def _vocabulary(given: str | None, model: str) -> str:
    run = Run(vocabulary=given, initial_checkpoint_path=model)
    try:
        name = parts.vocabulary_name(run)
        known = name in vocabulary.NAMED or "://" in name
        return name if known else vocabulary.load_vocabulary(name).fingerprint()
    except UserError:
        return str(given)


def _content(path: Path) -> str:
    """The digest of a file, or of a folder's files of data."""
    files = [path] if path.is_file() else sorted(path.glob("*.*"))
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


# What has become of it


def read(path: Path) -> results.Result:
    """What the folder of a run says, its logs read again only if a file changed.

    Raises:
      UserError: a file there is damaged.
    """
    return _read(path, stamp(path))


@functools.lru_cache(maxsize=4096)
def _read(path: Path, _: Any) -> results.Result:
    return results.read(path)


def stamp(path: Path) -> frozenset[tuple[str, int, int, int]]:
    """Another value once a file in this folder is written."""
    with os.scandir(path) as entries:
        files = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return frozenset((n, s.st_mtime_ns, s.st_size, s.st_ino) for n, s in files)


def state(one: Planned) -> tuple[str, str]:
    """DONE, MISSING, FAILED or RUNNING, and why, or how far it is, in one line."""
    path = one.folder
    if holder := folder.at_work(path):
        return RUNNING, f"process {holder}"
    if not results.is_run(path):
        return MISSING, ""
    try:
        found = read(path)
    except UserError as error:
        return FAILED, str(error)
    if found.state == results.FAILED:
        return FAILED, " ".join(found.reason.split())
    if changed := _changed(found.settings, one.settings):
        return FAILED, f"made with other settings ({changed}); move its folder away"
    if found.state == results.BEGUN:
        steps = found.settings.run.train_steps
        return MISSING, f"begun: step {max(found.scores, default=0):,} of {steps:,}"
    if reason := results.failure(path):  # of a run that could not be asked
        return FAILED, " ".join(reason.split())
    return DONE, ""


# A hash stands for the content of these; their paths may differ from host to host.
_BY_CONTENT = {"INITIAL_CHECKPOINT_PATH", "VOCABULARY", "PROMPT_FILE"}
_BY_CONTENT |= {"MIXTURE_OR_TASK_NAME"}


def _changed(old: Settings, new: Settings) -> str:
    """What differs where hashes do not: a setting's value in the code itself."""
    free = _FREE | _BY_CONTENT | {"T5Config.dtype"}  # "auto" is kept as what it chose
    return "; ".join(
        f"{name} was {was!r} and is {now!r}"
        for name, (was, now) in config.differences(old, new).items()
        if name not in free and not name.startswith(_NOT_READ)
    )


def once(planned: Iterable[Planned]) -> list[Planned]:
    """Each run once, in order; what different experiments ask it is asked together."""
    found: dict[Path, Planned] = {}
    for one in planned:
        first = found.setdefault(one.folder, one)
        asks = tuple(dict.fromkeys((*first.cell.asks, *one.cell.asks)))
        found[one.folder] = first._replace(cell=first.cell._replace(asks=asks))
    return list(found.values())


def select(planned: Sequence[Planned], pattern: str | None) -> list[Planned]:
    """Those whose EXPERIMENT/FOLDER a regular expression is found in.

    Raises:
      UserError: it is none.
    """
    try:
        wanted = re.compile(pattern or "")
    except re.error as error:
        raise UserError(
            f"--only is {pattern!r}, no regular expression ({error}); it is searched "
            "for in the folders' names that --dry_run lists"
        ) from None
    return [one for one in planned if wanted.search(label(one))]


def label(one: Planned) -> str:
    """A cell's name as --dry_run lists it: that of its own folder.

    It may lie in another experiment's that asked for the same run before.
    """
    return f"{one.experiment}/{_name(one.cell)}-{_key(one.folder)}"
