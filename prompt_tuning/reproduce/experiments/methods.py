"""Every method on the same frozen models: the score against what is trained.

    prompt-tuning reproduce methods --scale=pocket

Each method of METHOD is run at the size that it has by default and, where a setting of
its lets it, at the one with about as many values as the prompt. All have the same
frozen model, steps and batches, and the same learning rates to choose from; a search
has none. Prompt design, which trains nothing, is in Figure 1. Tasks are tuned one by
one, so that methods of mixtures are left out. The paper has no such table; it is not
among `all`.
"""

import bisect
import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning import config, method_settings, methods
from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import grid, sizes
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Model, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import (
    DEVELOPMENT,
    NUMBER,
    TEST,
    Axis,
    Measured,
    Panels,
    Place,
    Table,
    gather,
)
from prompt_tuning.settings import Run, T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import plan

SCORE, COUNT, RATE = "score", "trained parameters", "learning rate"
LEARNING_RATE, LENGTH = "schedule.learning_rate", "PROMPT_LENGTH"
# What a method needs besides its name.
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "superpos": {"PROMPT_INIT": "sampled_vocab"},
}
OF_MIXTURES = ("multitask",)  # with one task it is decomposed.kind=mpt
LABELS = ((0,), (1,))  # stand for a task's label words, of which few have more than two
ENOUGH = 2.0  # a method is as large as the prompt if it has less than twice as much
_AT = " at "


class Variant(NamedTuple):
    """A method at a size: its name in the table, its settings, how much it trains.

    rated: whether it has a learning rate.
    """

    name: str
    settings: Mapping[str, Any]
    values: int
    rated: bool


def variants(scale: Scale, model: Model) -> list[Variant]:
    """Each method at its own size, and at the prompt's; none if the model is absent."""
    try:
        count = functools.partial(_values, scale, sizes.config_of(model))
        target = count({})
    except UserError:
        return []
    found = []
    for name in methods.NAMES:
        method = _method(scale, name)
        if not method.trains or name in OF_MIXTURES:
            continue
        more = {} if method.shares else _of_weights(scale)
        own = {**more, "METHOD": name, **NEEDS.get(name, {})}
        rated = method.search is None
        found.append(Variant(name, own, count(own), rated))
        if not rated:
            continue
        options = (*method_settings.sizes(name), LENGTH)
        more = nearest(lambda new, own=own: count(own | new), options, target)
        values = count(own | more)
        if more and 1 / ENOUGH < values / target < ENOUGH:
            told = ", ".join(f"{_short(k)} {v}" for k, v in more.items())
            found.append(Variant(f"{name} ({told})", own | more, values, rated))
    return found


def _short(option: str) -> str:
    """lora.rank as rank, PROMPT_LENGTH as length."""
    return option.rpartition(".")[2].lower().removeprefix("prompt_")


def _method(scale: Scale, name: str) -> methods.Method:
    return methods.of(grid.settings_of(scale, Cell("", "", 0, {"METHOD": name}, ())))


def _of_weights(scale: Scale) -> dict[str, Any]:
    """The settings of model tuning but for its batches and steps: those of all."""
    return {
        **scale.whole,
        "BATCH_SIZE": scale.settings.get("BATCH_SIZE", Run.batch_size),
        "TRAIN_STEPS": scale.settings.get("TRAIN_STEPS", Run.train_steps),
        "EVAL_PERIOD": scale.settings.get("EVAL_PERIOD", Run.eval_period),
    }


def _values(scale: Scale, shape: T5Config, settings: Mapping[str, Any]) -> int:
    """How many values a method trains on a model of this shape.

    Raises:
      UserError: the method refuses the settings.
    """
    named = {**scale.settings, **settings}
    flags = tuple(f"{name}={value!r}" for name, value in named.items())
    return _counted(shape, flags)


@functools.cache
def _counted(shape: T5Config, flags: Sequence[str]) -> int:
    model = Transformer(dataclasses.replace(shape, scan_layers=True))
    return plan.size(plan.trained(config.load([], flags), model, LABELS).tree)


def nearest(
    count: Callable[[dict[str, int]], int], options: Sequence[str], target: int
) -> dict[str, int]:
    """The options' values at which a method trains most nearly `target` values.

    One option after another is set, while that brings it nearer.

    Args:
      count: {option: value} -> how many values are trained; more of an option is no
        fewer of those. It may raise UserError for too much of it.
    """
    found: dict[str, int] = {}
    for option in options:
        own = functools.partial(_count_or_most, count, found, option)
        if own(1) == own(2):
            continue  # it says nothing of the number
        most = next(n for n in (2**i for i in itertools.count()) if own(n) >= target)
        above = bisect.bisect_left(range(1, most), target, key=own) + 1
        value = min(
            max(above - 1, 1), above, key=lambda n, own=own: abs(own(n) - target)
        )
        if abs(own(value) - target) < abs(count(found) - target):
            found[option] = value
    return found


def _count_or_most(
    count: Callable[[dict[str, int]], int],
    found: dict[str, int],
    option: str,
    value: int,
) -> float:
    try:
        return count({**found, option: value})
    except UserError:
        return math.inf


def _cells(scale: Scale) -> tuple[Cell, ...]:
    return tuple(cell for model in scale.models for cell in _of(scale, model))


def _tasks(scale: Scale) -> Sequence[str]:
    return scale.tasks.compared or tuple(scale.tasks.suite.values())


def _of(scale: Scale, model: Model) -> Iterator[Cell]:
    tasks = _tasks(scale)
    for name, settings, _, rated in variants(scale, model):
        for rate in scale.rates if rated else ():
            column = f"{name}{_AT}{rate:g}"
            chosen = {**settings, LEARNING_RATE: rate}
            yield from of_tasks(scale, model.name, column, model, tasks, **chosen)
        if not rated:
            yield from of_tasks(scale, model.name, name, model, tasks, **settings)


# The table


class Chosen(NamedTuple):
    """A method at a size on a model: what it has at each rate, and which was chosen.

    best: the column of its cells; None if nothing is measured yet.
    """

    model: str
    name: str
    columns: Sequence[str]
    best: str | None

    @property
    def row(self) -> str:
        """As the table prints it."""
        return f"{self.model}: {self.name}"


def choose(outcomes: Sequence[Outcome]) -> list[Chosen]:
    """The rate of the best mean score on the development split, for each method.

    It is the mean over tasks and seeds; a rate at which more seeds are done comes
    before others.
    """
    measured = gather(outcomes, DEVELOPMENT)
    groups: dict[tuple[str, str], list[str]] = {}
    for model, column in measured:
        name = column.rpartition(_AT)[0] or column
        groups.setdefault((model, name), []).append(column)
    return [
        Chosen(model, name, columns, _best({c: measured[model, c] for c in columns}))
        for (model, name), columns in groups.items()
    ]


def _best(found: Mapping[str, Measured]) -> str | None:
    known = {c: one.mean for c, one in found.items() if one.mean is not None}
    return max(known, key=lambda c: (found[c].n, known[c]), default=None)


def _scores(
    outcomes: Sequence[Outcome], split: str, chosen: Sequence[Chosen]
) -> dict[Place, Measured]:
    """The scores at the chosen rates. What failed or is missing at others is told."""
    measured = gather(outcomes, split)
    found = {}
    for one in chosen:
        by_rate = {column: measured[one.model, column] for column in one.columns}
        own = by_rate.pop(one.best, Measured()) if one.best else Measured()
        failed = [
            f"{column.rpartition(_AT)[2]}, {reason}"
            for column, other in by_rate.items()
            for reason in other.failed
        ]
        missing = own.missing + sum(other.missing for other in by_rate.values())
        more = {"failed": (*own.failed, *failed), "missing": missing}
        found[one.row, SCORE] = own._replace(**more)
    return found


def _facts(
    outcomes: Sequence[Outcome], chosen: Sequence[Chosen]
) -> dict[Place, Measured]:
    """What the runs at the chosen rates trained, by their own count, and the rates."""
    counted: dict[Place, list[int]] = {}
    for outcome in outcomes:
        count = outcome.facts.get("trained_parameters")
        if outcome.state == states.DONE and count is not None:
            place = outcome.cell.row, outcome.cell.column
            counted.setdefault(place, []).append(count)
    found = {}
    for one in chosen:
        if values := counted.get((one.model, one.best or "")):
            mean = statistics.fmean(values)
            found[one.row, COUNT] = Measured(mean, None, 1)
        rate = (one.best or "").rpartition(_AT)[2]
        if rate and one.best != one.name:
            found[one.row, RATE] = Measured(float(rate), None, 1)
    return found


def _caption(scale: Scale) -> str:
    rates = ", ".join(f"{rate:g}" for rate in scale.rates)
    tasks = ", ".join(_tasks(scale))
    return (
        f"Mean score over {tasks}, by method and size: its own, and with the settings "
        "in brackets about as many trained parameters as the prompt, for methods that "
        "can be made so small or so large. The frozen model is the "
        "LM-adapted one, for methods that train it too; steps and batches are the same "
        f"for all. Of the learning rates {rates} each row has the one with the best "
        "mean on development. Models that are not there, or not begun, are left out"
    )


def _table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    begun = {one.cell.row for one in outcomes if one.state != states.MISSING}
    outcomes = [one for one in outcomes if one.cell.row in begun]
    chosen = choose(outcomes)
    facts = _facts(outcomes, chosen)
    at = {row: one.mean for (row, column), one in facts.items() if column == COUNT}
    panels = Panels(
        {one.row: (one.model, one.name.partition(" (")[0]) for one in chosen},
        SCORE,
        {m.name: n for m in scale.models if (n := sizes.size(m))},
    )
    logged = {row: mean for row, mean in at.items() if mean}
    return Table(
        EXPERIMENT.title,
        _caption(scale),
        tuple(one.row for one in chosen),
        (SCORE, COUNT, RATE),
        values=_scores(outcomes, TEST, chosen) | facts,
        selected=_scores(outcomes, DEVELOPMENT, chosen) | facts,
        axis=Axis(logged, COUNT, SCORE, panels=panels),
        facts={COUNT: NUMBER, RATE: NUMBER},
    )


EXPERIMENT = Experiment(
    "methods", "Methods on the same frozen model", "not in the paper", _cells, _table
)
