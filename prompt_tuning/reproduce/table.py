"""Tables of results: mean and sample deviation over seeds, beside the paper's numbers.

A table is a pure function of outcomes. A run that failed or is not there stays visible
as such: it is never averaged away.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prompt_tuning.errors import UserError
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.runs.compare import Spread, spread

DEVELOPMENT, TEST = "validation", "test"  # splits
PERCENT, SECONDS, NUMBER = "percent", "seconds", "number"  # how values are written

Place = tuple[str, str]  # row, column


class Measured(NamedTuple):
    """Mean and sample deviation (n - 1) over the n seeds that are done.

    deviation: None of a single seed.
    failed: why each seed that failed did, such as "seed 1: out of memory".
    missing: how many seeds are not there, or not finished.
    """

    mean: float | None = None
    deviation: float | None = None
    n: int = 0
    failed: tuple[str, ...] = ()
    missing: int = 0


class Panels(NamedTuple):
    """How rows are drawn one by one: a panel for each frozen model.

    of: {row: (its panel, its line)}; a line joins its rows in a panel. column: whose
    values are drawn. sizes: {panel: parameters of its frozen model}.
    """

    of: Mapping[str, tuple[str, str]]
    column: str
    sizes: Mapping[str, float]


class Axis(NamedTuple):
    """What a picture needs: it draws a line for each column, a point for each row.

    at: {row: where it stands}, such as the parameters of the frozen model.
    name: of the horizontal axis. unit: of the vertical one, the values.
    log, log_values: whether the horizontal and the vertical axis are logarithmic; both
      are in Figure 4.
    panels: instead of a line for each column.
    """

    at: Mapping[str, float]
    name: str
    unit: str
    log: bool = True
    log_values: bool = False
    panels: Panels | None = None


class Table(NamedTuple):
    """A table or figure of the paper, by (row, column).

    values: on the untouched test split; what is computed rather than run, too.
    selected: on the development split, on which the paper selects and reports.
    paper: what the paper prints there; empty for Figures 1 and 3.
    later: the authors' later numbers, of another recipe (paper.SPOT_SIZES ...).
    sources: where these two are from, and what is to be known of them.
    axis: None where there is no picture.
    form: PERCENT, SECONDS or NUMBER.
    facts: {column: form} of columns that are not measured but counted or chosen.
    """

    title: str
    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Mapping[Place, Measured]
    selected: Mapping[Place, Measured] = {}
    paper: Mapping[Place, Spread] = {}
    later: Mapping[Place, Spread] = {}
    sources: tuple[str, ...] = ()
    axis: Axis | None = None
    form: str = PERCENT
    facts: Mapping[str, str] = {}

    def form_of(self, column: str) -> str:
        """How the values of a column are written."""
        return self.facts.get(column, self.form)


Places = Callable[[Outcome], Mapping[Place, tuple[str, ...]]]


def own_place(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
    """A run's row and column hold the mean score of the tasks that it is asked."""
    cell = outcome.cell
    return {(cell.row, cell.column): tuple(f"{task}/score" for task in cell.asks)}


def build(
    title: str,
    caption: str,
    outcomes: Sequence[Outcome],
    places: Places = own_place,
    **more: object,
) -> Table:
    """The table of these outcomes; rows and columns in the order of appearance.

    Args:
      places: {(row, column): metrics without their split} of an outcome. Outcomes of
        one place and seed, such as those of the tasks that a score is the mean of, are
        averaged with equal weights before the mean over seeds is taken.
      more: other fields of Table.

    Raises:
      UserError: two outcomes are of the same metric, place and seed.
    """
    asked = [pair for outcome in outcomes for pair in places(outcome).items()]
    found = [place for place, metrics in asked if metrics]
    return Table(
        title,
        caption,
        tuple(dict.fromkeys(row for row, _ in found)),
        tuple(dict.fromkeys(column for _, column in found)),
        values=gather(outcomes, TEST, places),
        selected=gather(outcomes, DEVELOPMENT, places),
    )._replace(**more)


def gather(
    outcomes: Sequence[Outcome], split: str, places: Places = own_place
) -> dict[Place, Measured]:
    """What was measured on a split at each place; see `build`."""
    groups: dict[Place, dict[int, list[tuple[Outcome, str]]]] = {}
    for outcome in outcomes:
        for place, metrics in places(outcome).items():
            if not metrics:  # a run that is asked nothing: another starts from it
                continue
            seeds = groups.setdefault(place, {})
            asked = seeds.setdefault(outcome.cell.seed, [])
            asked += [(outcome, f"{split}/{metric}") for metric in metrics]
    return {place: _measured(place, seeds) for place, seeds in groups.items()}


def _measured(
    place: Place, seeds: Mapping[int, Sequence[tuple[Outcome, str]]]
) -> Measured:
    values, failed, missing = [], [], 0
    for seed, asked in sorted(seeds.items()):
        _check_single(place, seed, asked)
        if reasons := list(dict.fromkeys(_reasons(asked))):
            failed.append(f"seed {seed}: {'; '.join(reasons)}")
        elif all(metric in outcome.metrics for outcome, metric in asked):
            found = [outcome.metrics[metric] for outcome, metric in asked]
            values.append(statistics.fmean(found))
        else:
            missing += 1
    mean, deviation, n = spread(values) or (None, None, 0)
    return Measured(mean, deviation, n, tuple(failed), missing)


def _check_single(
    place: Place, seed: int, asked: Sequence[tuple[Outcome, str]]
) -> None:
    folders: dict[str, str] = {}
    for outcome, metric in asked:
        if metric in folders:
            raise UserError(
                f"{folders[metric]} and {outcome.folder} are both {place[0]}, "
                f"{place[1]}, seed {seed}, and both measure {metric}: leave one out"
            )
        folders[metric] = outcome.folder


def _reasons(asked: Sequence[tuple[Outcome, str]]) -> Iterator[str]:
    """Why a seed's runs failed. A number that is none is a failure, not a mean."""
    for outcome, metric in asked:
        if outcome.state == "failed":
            yield outcome.reason or "it is not known why"
        elif not math.isfinite(value := outcome.metrics.get(metric, 0.0)):
            yield f"{metric} is {value}"


# Differences


def with_difference(table: Table, one: str, other: str, name: str) -> Table:
    """The table with a column `one` - `other`, as Table 1's; of the paper's too.

    It has no deviation: runs of two columns are not pairs.
    """
    return table._replace(
        columns=(*table.columns, name),
        values=_less(table, table.values, one, other, name),
        selected=_less(table, table.selected, one, other, name),
        paper=_printed_less(table, table.paper, one, other, name),
        later=_printed_less(table, table.later, one, other, name),
    )


def _less(
    table: Table, found: Mapping[Place, Measured], one: str, other: str, name: str
) -> dict[Place, Measured]:
    added = {}
    for row in table.rows:
        a, b = (found.get((row, column), Measured()) for column in (one, other))
        if a.mean is not None and b.mean is not None:
            added[row, name] = Measured(a.mean - b.mean, None, min(a.n, b.n))
    return {**found, **added}


def _printed_less(
    table: Table, found: Mapping[Place, Spread], one: str, other: str, name: str
) -> dict[Place, Spread]:
    added = {
        (row, name): Spread(
            found[row, one].mean - found[row, other].mean, None, found[row, one].n
        )
        for row in table.rows
        if (row, one) in found and (row, other) in found
    }
    return {**found, **added}


def reported(table: Table) -> Mapping[Place, Measured]:
    """What stands against the paper's numbers: the development split, if measured."""
    known = any(one.mean is not None for one in table.selected.values())
    return table.selected if known else table.values


def difference(
    table: Table, place: Place, printed: Mapping[Place, Spread]
) -> float | None:
    """Ours less a printed number; None unless there are both.

    Args:
      printed: table.paper or table.later.
    """
    ours = reported(table).get(place, Measured()).mean
    return None if ours is None or place not in printed else ours - printed[place].mean


def runs(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Each run once, in however many tables it stands.

    What is computed of a run comes after it, and what is of several has no folder.
    """
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.folder:
            found.setdefault(outcome.folder, outcome)
    return [*found.values()]


# What selecting is worth


class Selecting(NamedTuple):
    """Development less test score of runs, each on the task that it was tuned for.

    spread: over runs; None where none was evaluated on both splits.
    above, below: runs whose development score is the higher, the lower one.
    """

    spread: Spread | None
    above: int
    below: int


def selecting(outcomes: Sequence[Outcome]) -> Selecting:
    """What selecting on the split that one reports is worth, by these runs.

    A run counts once, in whichever tables it stands. What it was not selected on, such
    as the other domains of Table 1, does not count, nor a run that trained nothing.
    """
    tuned = [run for run in runs(outcomes) if run.facts.get("trained_parameters", 1)]
    found = [_both(run) for run in tuned if run.state == "done"]
    apart = [pair[0] - pair[1] for pair in found if pair]
    above, below = sum(d > 0 for d in apart), sum(d < 0 for d in apart)
    return Selecting(spread(apart), above, below)


def _both(run: Outcome) -> tuple[float, float] | None:
    """Its own task's development and test score; None unless there are both."""
    own = run.cell.settings.get("MIXTURE_OR_TASK_NAME", *run.cell.asks[:1])
    scores = [run.metrics.get(f"{split}/{own}/score") for split in (DEVELOPMENT, TEST)]
    finite = [x for x in scores if x is not None and math.isfinite(x)]
    return (finite[0], finite[1]) if len(finite) == 2 else None
