"""What is computed from finished cells and takes a while: computed once, and kept."""

import hashlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import outputs
from prompt_tuning.reproduce import asking
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Scale
from prompt_tuning.reproduce.outcomes import Outcome

KEPT = "derived.json"


def derive(
    experiment: Experiment, scale: Scale, found: Sequence[Outcome], out: Path
) -> list[Outcome]:
    """The outcomes, and those that the experiment computes from them.

    They are in OUT/EXPERIMENT/derived.json, and computed again once the cells'
    outcomes, the scale or the hardware are others. Where that fails, they are left out.
    """
    if experiment.derived is None:
        return list(found)
    path = out / experiment.name / KEPT
    key = _key(scale, found)
    kept = asking.kept(path)
    if kept.get("key") == key:
        return [*found, *map(_read, kept["outcomes"])]
    try:
        computed = list(experiment.derived(scale, found))
    except Exception as error:  # the other experiments are not to suffer from it
        if not getattr(error, "user_message", False):
            traceback.print_exception(error)
        outputs.warn(f"{experiment.name} lacks what is computed from runs: {error}")
        return list(found)
    told = {"key": key, "outcomes": [_told(one) for one in computed]}
    outputs.make_folder(path.parent, "--out")
    outputs.write_json(path, told)
    return [*found, *computed]


def _key(scale: Scale, found: Sequence[Outcome]) -> str:
    cells = [(one.folder, one.state, sorted(one.metrics.items())) for one in found]
    of = scale, cells, asking.facts()["hardware"]
    return hashlib.sha256(repr(of).encode()).hexdigest()


def _told(one: Outcome) -> dict[str, Any]:
    cell = one.cell._replace(settings={})._asdict()
    return one._asdict() | {"cell": cell, "metrics": dict(one.metrics)}


def _read(said: dict[str, Any]) -> Outcome:
    cell = Cell(**said["cell"])
    cell = cell._replace(asks=tuple(cell.asks))
    curve = tuple((step, score) for step, score in said["curve"])
    return Outcome(**{**said, "cell": cell, "curve": curve})
