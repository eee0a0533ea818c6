"""The settings of several runs, and which of them one step can train together."""

import ast
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import config, methods
from prompt_tuning.errors import UserError
from prompt_tuning.settings import FIELDS, Settings

# The settings in which runs trained in one compiled step may differ: the order of the
# data, how the prompt starts, its optimizer.
_OF_ONE_STEP = re.compile(
    r"SEED|PROMPT_INIT|PROMPT_FILE|PROMPT_STRING|CLASS_LABELS|MODEL_DIR"
    r"|(schedule|adafactor|transfer)\.\w+"
)
# Settings that tuning does not read, or that are each run's own.
_NOT_SWEPT = re.compile(r"MODEL_DIR|(pretrain|inverse_square_root)\.\w+")
_PATHS = {name for name, field in FIELDS.items() if "path" in field.metadata}


def sweep(
    load: Callable[[Sequence[str]], Settings], sweeps: Sequence[str]
) -> list[Settings]:
    """The settings of each run: every combination, in its own folder.

    Args:
      load: some `NAME=VALUE` more -> the settings with them.
      sweeps: `NAME=VALUE,VALUE...` each.

    Returns:
      The settings with each combination of values, and its MODEL_DIR below what they
      say, such as seed_1-learning_rate_0.1.

    Raises:
      UserError: a name is none that makes two runs differ, or two runs would be the
        same for their METHOD, or share a folder.
    """
    names, choices = [], []
    for text in sweeps:
        name, values = _parsed(text)
        if name.lower() in [n.lower() for n in names]:
            raise UserError(
                f"--sweep names {name} twice; give all its values in one, "
                f"--sweep={name}=VALUE,VALUE"
            )
        names.append(name)
        choices.append(values)
    found = []
    for values in itertools.product(*choices):
        chosen = list(zip(names, values, strict=True))
        folder = "-".join(f"{n.rpartition('.')[2].lower()}_{v}" for n, v in chosen)
        folder = re.sub(r"[^\w.+-]", "_", folder)
        bindings = [f"{name}={value}" for name, value in chosen]
        base = load(bindings).run.model_dir
        path = base and str(Path(base, folder))
        found.append(load([*bindings, f"MODEL_DIR={path!r}"]))
    _check_distinct(found)
    return found


def _parsed(text: str) -> tuple[str, list[str]]:
    """`NAME=VALUE,VALUE` -> the name and its values."""
    name, _, values = (part.strip() for part in text.partition("="))
    name = re.sub("(?i)^run[.](.*)", lambda found: found[1].upper(), name)
    if not name or not values or _NOT_SWEPT.fullmatch(name):
        raise UserError(
            f"--sweep is {text!r}; it must be NAME=VALUE,VALUE, with a setting "
            "that tuning reads, other than MODEL_DIR: SEED=0,1,2, say, or "
            "schedule.learning_rate=0.1,0.3"
        )
    return name, _split(values)


def _split(text: str) -> list[str]:
    """Values at the commas between them, not at those inside brackets or quotes."""
    found, open_ = [], ""
    for part in text.split(","):
        value = f"{open_},{part}" if open_ else part
        begins = value.strip()[:1]
        open_ = value if begins and begins in "[({'\"" and not _whole(value) else ""
        if not open_:
            found.append(value.strip())
    # What never closes is told by whoever reads it.
    return [*found, *([open_.strip()] if open_ else [])]


def _whole(text: str) -> bool:
    try:
        ast.literal_eval(text.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _check_distinct(runs: Sequence[Settings]) -> None:
    """Raises UserError for two runs with the same settings or the same folder."""
    named = [config.named(one) for one in runs]
    asked = [_comparable(one) for one in named]
    for one, other in itertools.combinations(range(len(runs)), 2):
        folders = [named[i]["MODEL_DIR"] for i in (one, other)]
        if asked[one] == asked[other]:
            raise UserError(
                f"--sweep asks for one run twice, {' and '.join(map(repr, folders))}: "
                "give each value once, of a setting that this METHOD reads"
            )
        # Some disks ignore case; without a MODEL_DIR there is no folder to share.
        if folders[0] and folders[0].lower() == folders[1].lower():
            raise UserError(
                f"two values of --sweep give one folder, {folders[0]!r}: give them "
                "names that differ in letters and digits"
            )


def _comparable(named: dict[str, Any]) -> dict[str, Any]:
    """The settings that a run reads, two ways to write one path the same.

    Neither its folder is among them nor what its METHOD does not read.
    """
    without = "MODEL_DIR", *methods.unread(named["METHOD"])
    return {
        name: os.path.realpath(value) if name in _PATHS and value else value
        for name, value in named.items()
        if not name.startswith(without)
    }


# {a setting: the one it does nothing without, whether its value will do, such a value}
_READ_WITH: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "PROMPT_STRING": ("PROMPT_INIT", lambda init: init == "string", "string"),
    "PROMPT_FILE": ("PROMPT_INIT", lambda init: init == "file", "file"),
    "schedule.decay_factor": ("schedule.steps_per_decay", bool, "1000"),
    "schedule.steps_per_decay": ("schedule.decay_factor", lambda by: by != 1, "0.5"),
}


def check_read(runs: Sequence[Settings]) -> None:
    """Raises UserError for a setting that does nothing in any of the runs.

    Such as a text to start from, with another PROMPT_INIT.
    """
    named = [config.named(one) for one in runs]
    for name, (other, will_do, value) in _READ_WITH.items():
        given = [one for one in named if one[name] != FIELDS[name].default]
        if given and not any(will_do(one[other]) for one in named):
            raise UserError(
                f"{name} is {given[0][name]!r}, but {other} is {given[0][other]!r}, "
                f"with which it does nothing: give --gin.{other}={value}, say, or "
                f"leave {name} out"
            )


def together(runs: Sequence[Settings]) -> list[list[Settings]]:
    """The runs in groups, in their order, each of which one step can train.

    The runs of a group differ only in the order of the data, in how the prompt starts
    and in its optimizer. A run that trains the frozen model is alone.
    """
    groups: list[tuple[Any, list[Settings]]] = []
    for one in runs:
        key = {
            name: value
            for name, value in config.named(one).items()
            if not _OF_ONE_STEP.fullmatch(name)
        }
        shares = methods.of(one).shares
        group = next((g for k, g in groups if shares and k == key), None)
        if group is None:
            groups.append((key, group := []))
        group.append(one)
    return [group for _, group in groups]
