"""What held: twelve findings of the paper, each asked of our own tables.

A finding is one or more questions about a contrast: a weighted sum of means, such as
class label less random uniform. Its 95% interval is Welch's, from the deviations over
seeds; seeds of different cells are taken for independent, and other tasks and other
models are not in it. An answer holds where the whole interval lies in the region that
the finding names, does not hold where all of it lies outside, and cannot be said
otherwise, nor where a table lacks what is asked. What the paper says of XXL is asked of
the largest model that there is.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.table import PERCENT, Measured, Place, Table
from prompt_tuning.runs.compare import spread

HOLDS, FAILS, UNSAID = "holds", "does not hold", "cannot be said"
LITTLE = 2.0  # points: the paper's "marginal", "similar" and "closes" have no number
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A contrast and its interval."""

    value: float
    low: float
    high: float


class Part(NamedTuple):
    """A question and its answer.

    says: what is compared, "pocket_nano: 20 less 1". low, high: the region between
    which the contrast must lie. why: what is lacking, where there is no estimate.
    form: how its numbers are written, table.PERCENT or another.
    """

    says: str
    low: float
    high: float
    estimate: Estimate | None
    why: str = ""
    form: str = PERCENT

    @property
    def verdict(self) -> str:
        """HOLDS, FAILS or UNSAID."""
        if self.estimate is None:
            return UNSAID
        _, low, high = self.estimate
        if self.low < low and high < self.high:
            return HOLDS
        return FAILS if high <= self.low or low >= self.high else UNSAID


class Answer(NamedTuple):
    """What became of a finding: it holds if each of its parts does."""

    claim: str
    where: str
    experiment: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        """FAILS if a part does, HOLDS if all do, else UNSAID."""
        found = {part.verdict for part in self.parts}
        return FAILS if FAILS in found else HOLDS if found == {HOLDS} else UNSAID


class View(NamedTuple):
    """A table, and one split's measurements in it.

    rows: by size of the frozen model, the smallest first, where the table says it.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[Place, Measured]
    form: str


class Finding(NamedTuple):
    """A claim of the paper, and what it asks of a table.

    experiment: whose table. asks: its parts.
    """

    claim: str
    where: str
    experiment: str
    asks: Callable[[View], Iterator[Part]]


def answers(tables: Mapping[str, Table], *, selected: bool = False) -> list[Answer]:
    """The twelve findings, in the paper's order.

    Args:
      tables: by the experiment's name.
      selected: ask the development split; else the untouched one.
    """
    return [_answer(finding, tables, selected) for finding in FINDINGS]


def _answer(finding: Finding, tables: Mapping[str, Table], selected: bool) -> Answer:
    claim, where, name, asks = finding
    table = tables.get(name)
    if table is None or not table.rows:
        lacking = Part(name, -math.inf, math.inf, None, "was not run")
        return Answer(claim, where, name, (lacking,))
    return Answer(claim, where, name, tuple(asks(_view(table, selected))))


def _view(table: Table, selected: bool) -> View:
    """What is computed has no splits, and is the same for both."""
    cells = table.selected if selected and table.selected else table.values
    at = table.axis.at if table.axis else {}
    rows = tuple(sorted(table.rows, key=lambda row: at.get(row, 0.0)))
    return View(rows, table.columns, cells, table.form)


# Contrasts


def contrast(terms: Sequence[tuple[float, Measured]]) -> Estimate | None:
    """A weighted sum of means with its interval (Welch and Satterthwaite's).

    None where a mean is missing, has a single run and so no spread, or is without runs
    that failed or are not done: those that are may not be like them.
    """
    from scipy import stats  # takes a second; only needed here

    if any(one.mean is None or one.deviation is None for _, one in terms):
        return None
    if any(one.failed or one.missing for _, one in terms):
        return None
    value = _value(terms)
    shares = [
        ((weight * (one.deviation or 0.0)) ** 2 / one.n, one.n - 1)
        for weight, one in terms
    ]
    variance = math.fsum(share for share, _ in shares)
    if not variance:  # all runs alike
        return Estimate(value, value, value)
    freedom = variance**2 / math.fsum(share**2 / n for share, n in shares)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    half = quantile * math.sqrt(variance)
    return Estimate(value, value - half, value + half)


def _value(terms: Sequence[tuple[float, Measured]]) -> float:
    return math.fsum(weight * (one.mean or 0.0) for weight, one in terms)


def _exact(terms: Sequence[tuple[float, Measured]]) -> Estimate | None:
    """A contrast of numbers that are computed, not measured: no spread."""
    if any(one.mean is None for _, one in terms):
        return None
    value = _value(terms)
    return Estimate(value, value, value)


def _part(
    view: View,
    says: str,
    terms: Sequence[tuple[float, Place]],
    low: float = -math.inf,
    high: float = math.inf,
    estimate: Callable = contrast,
) -> Part:
    """Asks whether a contrast lies between `low` and `high`."""
    found = [(weight, view.cells.get(place, Measured())) for weight, place in terms]
    answer = estimate(found) if found else None
    why = "" if answer else _lacking(terms, found)
    return Part(says, low, high, answer, why, view.form)


def _lacking(
    terms: Sequence[tuple[float, Place]], found: Sequence[tuple[float, Measured]]
) -> str:
    """What keeps a contrast from being estimated."""
    for (_, place), (_, one) in zip(terms, found, strict=True):
        if one.mean is None:
            return f"{', '.join(place)}: {'failed' if one.failed else 'not measured'}"
        if one.deviation is None:
            return f"{', '.join(place)}: a single run has no spread"
        if one.failed or one.missing:
            return (
                f"{', '.join(place)}: {len(one.failed)} failed, {one.missing} missing, "
                "and the others may not be like them"
            )
    return "the table has no such row"


def _less(
    view: View,
    row: str,
    one: str,
    other: str,
    low: float = -math.inf,
    high: float = math.inf,
) -> Part:
    """Of a row: column `one` less `other`."""
    terms = [(1.0, (row, one)), (-1.0, (row, other))]
    return _part(view, f"{row}: {one} less {other}", terms, low, high)


def _mean_less(
    view: View,
    rows: Sequence[str],
    of: str,
    one: str,
    other: str,
    low: float = -math.inf,
    high: float = math.inf,
) -> Part:
    """The mean over rows of column `one` less `other`; its interval is over seeds."""
    terms = [
        (sign / len(rows), (row, column))
        for row in rows
        for sign, column in ((1, one), (-1, other))
    ]
    return _part(view, f"mean over {of}: {one} less {other}", terms, low, high)


def _over_rows(
    view: View, rows: Sequence[str], of: str, one: str, other: str, low: float
) -> Part:
    """The same with an interval over rows, where a cell is a single number."""
    says = f"mean over {of}, interval over them: {one} less {other}"
    cells = view.cells
    pairs = [(cells.get((r, one)), cells.get((r, other))) for r in rows]
    apart = [
        a.mean - b.mean
        for a, b in pairs
        if a and b and a.mean is not None and b.mean is not None
    ]
    found = spread(apart)
    if found is None or len(apart) < len(rows):
        return Part(says, low, math.inf, None, "not measured everywhere")
    if found.deviation is None:
        return Part(says, low, math.inf, None, "a single row has no spread")
    answer = contrast([(1.0, Measured(*found))])
    return Part(says, low, math.inf, answer, form=view.form)


def _narrower(view: View, one: str, other: str) -> Part:
    """Whether the gap `one` less `other` is smaller at the largest model."""
    first, last = view.rows[0], view.rows[-1]
    says = f"({one} less {other}) at {first}, less the same at {last}"
    if first == last:
        return Part(says, 0, math.inf, None, "there is one model")
    terms = [
        (1.0, (first, one)),
        (-1.0, (first, other)),
        (-1.0, (last, one)),
        (1.0, (last, other)),
    ]
    return _part(view, says, terms, low=0)


# The findings. A column is named by paper.py's words, a length by its number.

_SMALLER = "all models but the largest"


def _scale(view: View) -> Iterator[Part]:
    """A gap closes where there was one."""
    yield _less(view, view.rows[0], paper.MODEL, paper.PROMPT, low=0)
    yield _narrower(view, paper.MODEL, paper.PROMPT)
    for other in (paper.MODEL, paper.MULTI):
        yield _less(view, view.rows[-1], paper.PROMPT, other, low=-LITTLE)


def _design(view: View) -> Iterator[Part]:
    for row in view.rows:
        yield _less(view, row, paper.PROMPT, paper.DESIGN, low=0)


def _several_tokens(view: View) -> Iterator[Part]:
    for row in view.rows[:-1]:
        yield _less(view, row, "20", "1", low=0)
    yield _narrower(view, "20", "1")


def _enough_tokens(view: View) -> Iterator[Part]:
    for row in view.rows:
        yield _less(view, row, "100", "20", low=-LITTLE, high=LITTLE)
    yield _less(view, view.rows[-1], "150", "100", high=0)


def _start(view: View) -> Iterator[Part]:
    small, last = view.rows[:-1], view.rows[-1]
    for other in (paper.UNIFORM, paper.VOCABULARY):
        yield _mean_less(view, small, _SMALLER, paper.LABELS, other, low=0)
    yield _less(view, last, paper.LABELS, paper.UNIFORM, low=-LITTLE, high=LITTLE)


def _objective(view: View) -> Iterator[Part]:
    small, last = view.rows[:-1], view.rows[-1]
    for row in small:
        yield _less(view, row, paper.ADAPTED, paper.CORRUPTION, low=0)
    words = paper.SENTINEL, paper.CORRUPTION
    yield _mean_less(view, small, _SMALLER, *words, high=LITTLE)
    yield _less(view, last, paper.ADAPTED, paper.CORRUPTION, high=LITTLE)


def _adaptation(view: View) -> Iterator[Part]:
    """Columns are stages, from none to all of the adaptation."""
    least, most = view.columns[0], view.columns[-1]
    for row in view.rows[:-1]:
        yield _less(view, row, most, least, low=0)
    for some in view.columns[1:-1][:1]:
        yield _less(view, view.rows[-1], most, some, high=LITTLE)


def _parameters(view: View) -> Iterator[Part]:
    """Prompt design learns none; of the others the next fewest is compared."""
    for row in view.rows:
        others = {
            column: one.mean
            for column in view.columns
            if column not in (paper.PROMPT, paper.DESIGN)
            and (one := view.cells.get((row, column), Measured())).mean is not None
        }
        fewest = min(others, key=others.__getitem__, default="any other")
        terms = [(1.0, (row, paper.PROMPT)), (-1.0, (row, fewest))]
        says = f"{row}: {paper.PROMPT} less {fewest}"
        yield _part(view, says, terms, high=0, estimate=_exact)


def _domains(view: View) -> Iterator[Part]:
    """The first row is the task that was trained on."""
    trained, *others = view.rows
    words = paper.PROMPT, paper.MODEL
    yield _mean_less(view, others, "the domains not trained on", *words, low=0)
    yield _less(view, trained, *words, low=-LITTLE, high=LITTLE)


def _transfer(view: View) -> Iterator[Part]:
    rows = [row for row in view.rows if not row.endswith("F1")]
    words = paper.PROMPT, paper.MODEL
    yield _mean_less(view, rows, "both directions", *words, low=0)


def _ensemble(view: View) -> Iterator[Part]:
    rows = [row for row in view.rows if row != paper.SCORE]
    for other in (paper.AVERAGE, paper.BEST):
        yield _over_rows(view, rows, "tasks", paper.ENSEMBLE, other, low=0)


def _reading(view: View) -> Iterator[Part]:
    for words in (
        (paper.CLUSTERED, paper.CLUSTERED_RANDOM),
        (paper.LABELLED, paper.LABELLED_RANDOM),
    ):
        yield _mean_less(view, view.rows, "models, starts and lengths", *words, low=0)


FINDINGS = (
    Finding(
        "As models grow, prompt tuning closes the gap to model tuning; the largest "
        f"matches it, single-task and multi-task (within {LITTLE:g} points)",
        "Figure 1",
        "fig1",
        _scale,
    ),
    Finding(
        "Prompt tuning is better than prompt design at every size",
        "Figure 1",
        "fig1",
        _design,
    ),
    Finding(
        "More than one token is needed, but for the largest model, where a single one "
        "does well",
        "Figure 3(a)",
        "fig3a",
        _several_tokens,
    ),
    Finding(
        f"Beyond 20 tokens little is gained (100 is within {LITTLE:g} points), and "
        "beyond 100 larger models lose",
        "Figure 3(a)",
        "fig3a",
        _enough_tokens,
    ),
    Finding(
        "Starting from class labels is best, and for the largest model it makes no "
        f"difference (within {LITTLE:g} points)",
        "Figure 3(b)",
        "fig3b",
        _start,
    ),
    Finding(
        "Models of span corruption alone are ill suited, a sentinel helps little (at "
        f"most {LITTLE:g} points), LM adaptation helps; the largest does without",
        "Figure 3(c)",
        "fig3c",
        _objective,
    ),
    Finding(
        "Longer LM adaptation is better; for the largest model a short one does "
        f"(within {LITTLE:g} points)",
        "Figure 3(d)",
        "fig3d",
        _adaptation,
    ),
    Finding(
        "Prompt tuning has the fewest parameters of all methods that learn any",
        "Figure 4, Table 4",
        "fig4",
        _parameters,
    ),
    Finding(
        "On other domains prompt tuning is better than model tuning, on its own "
        f"domain as good (within {LITTLE:g} points)",
        "Table 1",
        "table1",
        _domains,
    ),
    Finding(
        "Asked another task of paraphrase, prompt tuning is better than model tuning",
        "Table 2",
        "table2",
        _transfer,
    ),
    Finding(
        "An ensemble of five prompts is better than their average and than the best",
        "Table 3",
        "table3",
        _ensemble,
    ),
    Finding(
        "A prompt's neighbours form lexical clusters and keep the class labels, those "
        "of random vectors do not",
        "Section 7",
        "neighbours",
        _reading,
    ),
)
