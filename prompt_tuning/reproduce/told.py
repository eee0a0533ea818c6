"""Measurements and findings in words, for Markdown and HTML alike."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prompt_tuning.reproduce import findings
from prompt_tuning.reproduce.findings import Part
from prompt_tuning.reproduce.table import (
    NUMBER,
    PERCENT,
    SECONDS,
    Measured,
    Place,
    Selecting,
    Table,
    difference,
    reported,
)
from prompt_tuning.runs.compare import Spread

ON_TEST, ON_DEVELOPMENT = "untouched test", "development"
NO_SPLIT = ""  # of what is computed, or measured without a split
_MINUS = "\N{MINUS SIGN}"


INTERVALS = (
    "Each contrast in the units of its table, with the 95% interval of its spread over "
    "seeds (Welch), or over tasks where it says so. It holds where the whole interval "
    "is where the finding asks it to be, does not hold where all of it is elsewhere, "
    "and cannot be said otherwise. A finding holds if all of its contrasts do, and "
    "does not hold if one of them does not. The intervals say nothing of other tasks "
    "or other models, and are not corrected for how many there are."
)


class Line(NamedTuple):
    """A line of a cell.

    kind: "mean", "failed", "missing", "paper" or "later".
    """

    kind: str
    text: str


class Grid(NamedTuple):
    """One split's measurements of a table, as lines for each row and column."""

    split: str
    cells: Mapping[Place, tuple[Line, ...]]
    measured: Mapping[Place, Measured]


def headed(title: str, grid: Grid) -> str:
    """A table's title and the split."""
    return f"{title}, {grid.split}" if grid.split else title


def legend(table: Table) -> str:
    """The caption, and what the numbers in its cells are."""
    words = [table.caption.rstrip(".") + "."]
    if _counted(table):
        words.append("Mean ± sample deviation (n).")
    if table.paper or table.later:
        words.append("Δ is ours less the number beside it.")
    words += [f"Beside ours: {source.rstrip('.')}." for source in table.sources]
    return " ".join(words)


def grids(table: Table) -> list[Grid]:
    """The development split, with the paper's numbers beside it, and the test split.

    What is computed, and has no splits, is one grid; so is what has no test split.
    """
    selected, values = _known(table.selected), _known(table.values)
    named = [(ON_DEVELOPMENT, table.selected), (ON_TEST, table.values)]
    if not table.selected or (values and not selected):
        named = [(NO_SPLIT, table.values)]
    elif selected and not values:
        named = named[:1]
    beside = reported(table)
    return [
        Grid(split, _lines(table, cells, cells is beside), cells)
        for split, cells in named
    ]


def _known(cells: Mapping[Place, Measured]) -> bool:
    return any(one.mean is not None for one in cells.values())


def _counted(table: Table) -> bool:
    """Whether its numbers are means: of what is computed there is one each."""
    return _known(table.selected) or any(one.n > 1 for one in table.values.values())


def _lines(
    table: Table, cells: Mapping[Place, Measured], beside: bool
) -> dict[Place, tuple[Line, ...]]:
    places = [(row, column) for row in table.rows for column in table.columns]
    counted, found = _counted(table), {}
    for place in places:
        one = cells.get(place, Measured())
        is_fact = place[1] in table.facts
        form = table.form_of(place[1])
        lines = list(_measured(one, form, counted and not is_fact))
        if beside:
            lines += _printed(table, place, table.paper, "paper")
            lines += _printed(table, place, table.later, "later")
        found[place] = tuple(lines)
    return found


def _measured(one: Measured, form: str, counted: bool) -> Iterator[Line]:
    if one.mean is not None:
        told = spread(Spread(one.mean, one.deviation, one.n), form)
        yield Line("mean", f"{told} ({one.n})" if counted else told)
    if one.failed:
        yield Line("failed", f"✗ {len(one.failed)} failed")
    if one.missing:
        yield Line("missing", f"{one.missing} missing")


def _printed(
    table: Table, place: Place, printed: Mapping[Place, Spread], kind: str
) -> Iterator[Line]:
    if place in printed:
        text = f"{kind} {spread(printed[place], table.form)}"
        apart = difference(table, place, printed)
        if apart is not None:
            text += f", Δ {number(apart, table.form, sign=True)}"
        yield Line(kind, text)


def failures(table: Table) -> list[str]:
    """Why cells failed: "ROW, COLUMN: seed 1: out of memory", each reason once."""
    return list(
        dict.fromkeys(
            f"{row}, {column}: {reason}"
            for cells in (table.selected, table.values)
            for (row, column), one in cells.items()
            for reason in one.failed
        )
    )


# Numbers


def spread(one: Spread, form: str) -> str:
    """Such as 94.8 ± 0.1."""
    if one.deviation is None:
        return number(one.mean, form)
    if form == NUMBER:  # three digits of the mean, and the deviation to as many places
        places = max(0, 2 - math.floor(math.log10(abs(one.mean) or 1)))
        return f"{one.mean:,.{places}f} ± {one.deviation:,.{places}f}"
    return f"{number(one.mean, form)} ± {number(one.deviation, form)}"


def number(value: float, form: str = PERCENT, *, sign: bool = False) -> str:
    """Percent to one digit, seconds as 1:02:03 or 2.5 s, others to three digits."""
    if not math.isfinite(value):
        return str(value)
    text = _WRITTEN[form](abs(value))
    if not any(digit in text for digit in "123456789"):
        return text
    return (_MINUS if value < 0 else "+" * sign) + text


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:.3g}"


_WRITTEN = {PERCENT: "{:.1f}".format, SECONDS: _seconds, NUMBER: _number}


def size(parameters: float) -> str:
    """1,300,000 as 1.3M."""
    for least, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= least:
            return f"{parameters / least:.3g}{letter}"
    return f"{parameters:g}"


def about_models(models: Mapping[str, float]) -> str:
    """Such as pocket_nano (1.31M parameters)."""
    return ", ".join(f"{name} ({size(n)} parameters)" for name, n in models.items())


def about_runs(done: int, failed: int, missing: int) -> str:
    """How many are done; those that are not are nowhere in the means."""
    return (
        f"Runs: {done} done, {failed} failed, {missing} missing or not finished."
        " Means are over those that are done, and each table says what is "
        "lacking."
    )


# Findings

SIGNS = {findings.HOLDS: "✓", findings.FAILS: "✗", findings.UNSAID: "?"}


def verdict(said: str) -> str:
    """Told by a sign and in words, so that no colour is needed."""
    return f"{SIGNS[said]} {said}"


def estimate(part: Part) -> str:
    """Such as +3.2 [1.1, 5.3], or why there is none."""
    if part.estimate is None:
        return part.why
    value, low, high = (number(x, part.form, sign=True) for x in part.estimate)
    return value if low == high else f"{value} [{low}, {high}]"


def answered(part: Part) -> str:
    """A contrast's verdict and estimate."""
    return f"{SIGNS[part.verdict]} {estimate(part)}"


def region(part: Part) -> str:
    """What the finding asks of it: "above 0", "between 0 and 2"."""
    if part.low > -math.inf and part.high < math.inf:
        return f"between {_bound(part.low)} and {_bound(part.high)}"
    if (part.low, part.high) == (-math.inf, math.inf):
        return "-"
    if part.low > -math.inf:
        return f"above {_bound(part.low)}"
    return f"below {_bound(part.high)}"


def _bound(value: float) -> str:
    return number(value, NUMBER)


def about_findings(
    on_test: Sequence[findings.Answer],
    on_development: Sequence[findings.Answer],
    of: int,
) -> str:
    """How many of them hold, of so many that there are."""
    count = f"{of}" if len(on_test) == of else f"{len(on_test)} of the {of}"
    return (
        f"The paper's findings that are about the tables here, {count}, asked of each "
        f"split by itself. {ON_TEST.capitalize()}: {_counts(on_test)}. "
        f"{ON_DEVELOPMENT.capitalize()}: {_counts(on_development)}."
    )


def _counts(answers: Sequence[findings.Answer]) -> str:
    """Such as "holds 3, does not hold 2, cannot be said 7"."""
    return ", ".join(
        f"{said} {sum(one.verdict == said for one in answers)}"
        for said in (findings.HOLDS, findings.FAILS, findings.UNSAID)
    )


# Selecting


def about_selecting(found: Selecting) -> str:
    """The paragraph on what selecting on the split that one reports is worth."""
    text = (
        "The paper chooses checkpoints and settings on the development sets that it "
        "reports. "
    )
    if found.spread is None:
        return text + (
            "No run here was evaluated on both a development and an untouched test "
            "split, so it cannot be said what that is worth."
        )
    text += (
        "Here checkpoints are chosen on development too, and a test split that nothing "
        "was chosen on stands beside it. "
    )
    mean, deviation, n = found.spread
    equal = n - found.above - found.below
    text += (
        f"Over {n} runs, each on the task that it was tuned for, development less test "
        f"is {number(mean, sign=True)} points"
    )
    if deviation is not None:
        text += (
            f" on average, with a sample deviation of {number(deviation)} over runs "
            f"and a standard error of {number(deviation / math.sqrt(n))}"
        )
    return (
        f"{text}. Development is the higher in {found.above}, the lower in "
        f"{found.below}, the same in {equal}. Two things are in this that it cannot "
        "tell apart: what selecting adds, and how much easier one split is than the "
        "other. Runs of one task share its splits, so they are not independent."
    )
