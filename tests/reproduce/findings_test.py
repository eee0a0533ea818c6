"""Findings follow from the tables, whichever way those are."""

import statistics

import pytest
from scipy import stats

from prompt_tuning.reproduce import findings, paper
from prompt_tuning.reproduce.findings import FAILS, HOLDS, UNSAID
from prompt_tuning.reproduce.table import Axis, Measured, Table

SIZES = {"nano": 1e6, "mini": 7e6}


def made(cells, at=SIZES, **more):
    """A table of {row: {column: mean, or (mean, deviation)}}, of three seeds."""
    values = {
        (row, column): Measured(*(of if isinstance(of, tuple) else (of, 0.5)), 3)
        for row, columns in cells.items()
        for column, of in columns.items()
    }
    columns = tuple(dict.fromkeys(column for _, column in values))
    axis = Axis(at, "x", "y") if at else None
    return Table("", "", tuple(cells), columns, values, axis=axis, **more)


def printed(one):
    """A table of the paper as if we had measured it."""
    values = {place: Measured(*value) for place, value in one.values.items()}
    rows, columns = (tuple(dict.fromkeys(p[i] for p in values)) for i in (0, 1))
    return Table("", "", rows, columns, values)


def asked(selected=False, **tables):
    """The findings that are asked of these tables."""
    found = findings.answers(tables, selected=selected)
    return [one for one in found if one.experiment in tables]


def verdicts(**tables):
    return [one.verdict for one in asked(**tables)]


def test_there_are_twelve_and_none_can_be_said_of_nothing():
    found = findings.answers({})
    assert len(found) == 12
    assert {one.verdict for one in found} == {UNSAID}
    assert all("was not run" in one.parts[0].why for one in found)


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_what_the_paper_finds_holds_in_its_own_tables(name):
    tables = {"table1": paper.TABLE_1, "table2": paper.TABLE_2, "table3": paper.TABLE_3}
    assert verdicts(**{name: printed(tables[name])}) == [HOLDS]


def test_the_interval_is_welchs():
    a, b = (61.0, 64.0, 63.5), (50.0, 58.0, 55.0)
    terms = [
        (sign, Measured(statistics.fmean(x), statistics.stdev(x), 3))
        for sign, x in ((1, a), (-1, b))
    ]
    right = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = findings.contrast(terms)
    assert found[1:] == pytest.approx((right.low, right.high))
    assert found.value == pytest.approx(statistics.fmean(a) - statistics.fmean(b))


@pytest.mark.parametrize(
    "lacking", [{"failed": ("seed 2: it diverged",)}, {"missing": 1}]
)
def test_what_lacks_runs_says_nothing(lacking):
    """Leaving out those that diverged would be to choose the ones that did well."""
    one, other = Measured(90.0, 0.1, 2), Measured(50.0, 0.1, 3)
    terms = [(1, one._replace(**lacking)), (-1, other)]
    assert findings.contrast([(1, one), (-1, other)]) is not None
    assert findings.contrast(terms) is None
    places = [(sign, (str(i), "x")) for i, (sign, _) in enumerate(terms)]
    cells = {place: each for (_, place), (_, each) in zip(places, terms, strict=True)}
    part = findings._part(findings.View((), (), cells, "percent"), "x", places, low=0)
    assert part.verdict == UNSAID and "others may not be like them" in part.why


def test_one_seed_has_no_spread_and_says_nothing():
    assert findings.contrast([(1, Measured(5.0, None, 1))]) is None
    (answer,) = asked(fig3b=made(starts(80, 70, 60, 90, 90, None)))
    assert answer.verdict == UNSAID
    assert "a single run has no spread" in answer.parts[0].why


def starts(labels, vocabulary, uniform, labels_large, uniform_large, spread=0.3):
    """Figure 3(b)'s table, the larger model first."""
    small = {paper.LABELS: labels, paper.VOCABULARY: vocabulary, paper.UNIFORM: uniform}
    large = {paper.LABELS: labels_large, paper.UNIFORM: uniform_large}
    return {
        row: {name: (x, spread) for name, x in values.items()}
        for row, values in (("mini", large), ("nano", small))
    }


@pytest.mark.parametrize(
    ("table", "right"),
    [
        (starts(80, 70, 60, 90, 90), HOLDS),
        (starts(60, 70, 80, 90, 90), FAILS),  # the wrong one is best
        (starts(80, 70, 60, 90, 70), FAILS),  # the largest is not indifferent
        (starts(80, 70, 60, 90, 90, 30.0), UNSAID),  # too wide
        (starts(80, 80, 80, 90, 90, 0.0), FAILS),  # all alike: none is the best
    ],
)
def test_starts(table, right):
    assert verdicts(fig3b=made(table)) == [right]


def test_rows_go_by_size_not_by_order():
    """In the table above the largest stands first."""
    view = made(starts(80, 70, 60, 90, 90))
    assert view.rows[0] == "mini"
    (answer,) = asked(fig3b=view)
    assert answer.parts[-1].says.startswith("mini")


def test_scale():
    """The gap of 20 points closes to 1; to 10 it does not; without MULTI, who knows."""
    names = paper.PROMPT, paper.MODEL, paper.MULTI
    small = dict(zip(names, (60, 80, 80), strict=True))
    near, far, part = (
        {"nano": small, "mini": dict(zip(names, values, strict=False))}
        for values in ((89.5, 90, 90), (80, 90, 90), (89.5, 90))
    )
    scale, design = verdicts(fig1=made(near))
    assert (scale, design) == (HOLDS, UNSAID)
    assert verdicts(fig1=made(far))[0] == FAILS
    assert verdicts(fig1=made(part))[0] == UNSAID


def test_a_gap_that_was_never_there_is_not_closed():
    rows = {"nano": {paper.PROMPT: 80, paper.MODEL: 70, paper.MULTI: 70}}
    rows["mini"] = {paper.PROMPT: 90, paper.MODEL: 60, paper.MULTI: 60}
    assert verdicts(fig1=made(rows))[0] == FAILS


def test_prompt_design():
    """At every size: examples are what prompt tuning is compared with."""
    rows = {"nano": {paper.PROMPT: 60, paper.DESIGN: 20, paper.DESIGN_ALONE: 61}}
    rows["mini"] = {paper.PROMPT: 80, paper.DESIGN: 70}
    assert verdicts(fig1=made(rows))[1] == HOLDS
    rows["mini"] = {paper.PROMPT: 60, paper.DESIGN: 70}
    assert verdicts(fig1=made(rows))[1] == FAILS
    rows["mini"] = {paper.PROMPT: 60}
    assert verdicts(fig1=made(rows))[1] == UNSAID


@pytest.mark.parametrize(
    ("small", "large", "right"),
    [
        ((30, 70, 70, 70), (80, 85, 85, 82), [HOLDS, HOLDS]),
        ((70, 70, 70, 70), (85, 85, 85, 85), [UNSAID, UNSAID]),
        ((70, 30, 70, 70), (80, 85, 85, 82), [FAILS, FAILS]),
        ((30, 70, 70, 70), (80, 85, 85, 92), [HOLDS, FAILS]),
    ],
)
def test_lengths(small, large, right):
    names = "1", "20", "100", "150"
    rows = {"nano": small, "mini": large}
    table = {r: dict(zip(names, v, strict=True)) for r, v in rows.items()}
    assert verdicts(fig3a=made(table)) == right


def test_objective_and_adaptation():
    names = paper.CORRUPTION, paper.SENTINEL, paper.ADAPTED
    rows = {"nano": (20, 20, 70), "mini": (80, 80, 80)}
    table = {r: dict(zip(names, v, strict=True)) for r, v in rows.items()}
    assert verdicts(fig3c=made(table)) == [HOLDS]
    rows["nano"] = (20, 70, 70)  # a sentinel is all that it takes
    table = {r: dict(zip(names, v, strict=True)) for r, v in rows.items()}
    assert verdicts(fig3c=made(table)) == [FAILS]
    stages = {
        "nano": {"0": 20, "10": 40, "100": 70},
        "mini": {"0": 60, "10": 80, "100": 80},
    }
    assert verdicts(fig3d=made(stages)) == [HOLDS]


def test_parameters_are_exact():
    """None has a spread. Prompt design learns nothing, and does not count."""
    row = {paper.PROMPT: 10, paper.WARP: 12, paper.MODEL: 99, paper.DESIGN: 5}
    exact = {"nano": {name: (x, None) for name, x in row.items()}}
    assert verdicts(fig4=made(exact)) == [HOLDS]
    exact["nano"][paper.WARP] = (10, None)
    assert verdicts(fig4=made(exact)) == [FAILS]


def test_reading():
    row = {paper.CLUSTERED: 50, paper.CLUSTERED_RANDOM: 10}
    row |= {paper.LABELLED: 2, paper.LABELLED_RANDOM: 9}
    assert verdicts(neighbours=made({"nano": row})) == [FAILS]


def test_each_split_is_asked_by_itself():
    table = made(starts(80, 70, 60, 90, 90))
    worse = made(starts(60, 70, 80, 90, 90)).values
    table = table._replace(selected=worse)
    found = [asked(selected, fig3b=table)[0].verdict for selected in (False, True)]
    assert found == [HOLDS, FAILS]


def test_grids_of_one_model_or_one_column_are_no_error():
    one = {"nano": {"1": 50}}
    names = {finding.experiment for finding in findings.FINDINGS}
    found = findings.answers({name: made(one) for name in names})
    assert all(answer.verdict in (UNSAID, FAILS) for answer in found)
    empty = dict.fromkeys(names, Table("", "", (), (), {}))
    assert {answer.verdict for answer in findings.answers(empty)} == {UNSAID}
