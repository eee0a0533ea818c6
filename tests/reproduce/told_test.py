"""Numbers and findings in words."""

import math

import pytest
from planted_outcomes import GRID

from prompt_tuning.reproduce import findings, paper, table, told
from prompt_tuning.reproduce.findings import Estimate, Part
from prompt_tuning.reproduce.table import NUMBER, PERCENT, SECONDS, Measured, Selecting
from prompt_tuning.runs.compare import Spread


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (94.84, PERCENT, "94.8"),
        (-0.04, PERCENT, "0.0"),
        (-1.25, PERCENT, "-1.2"),
        (2.5, SECONDS, "2.5 s"),
        (197.4, SECONDS, "3:17"),
        (13_875, SECONDS, "3:51:15"),
        (409_600, NUMBER, "409,600"),
        (0.03364, NUMBER, "0.0336"),
        (math.nan, PERCENT, "nan"),
    ],
)
def test_numbers(value, form, text):
    assert told.number(value, form).replace("\N{MINUS SIGN}", "-") == text


def test_a_sign_is_told_where_it_is_asked_for():
    assert told.number(2.0, sign=True) == "+2.0"
    assert told.number(0.01, sign=True) == "0.0"


@pytest.mark.parametrize(
    ("one", "form", "text"),
    [
        (Spread(91.25, 0.44, 3), PERCENT, "91.2 ± 0.4"),
        (Spread(91.25, None, 1), PERCENT, "91.2"),
        (Spread(2, 1, 100), NUMBER, "2.00 ± 1.00"),
        (Spread(0.0333, 0.0167, 100), NUMBER, "0.0333 ± 0.0167"),
        (Spread(0, 0, 3), NUMBER, "0.00 ± 0.00"),
        (Spread(197, 130, 3), SECONDS, "3:17 ± 2:10"),
    ],
)
def test_spreads(one, form, text):
    assert told.spread(one, form) == text


def test_a_legend_says_where_the_numbers_beside_ours_are_from():
    later = paper.SPOT_SIZES.beside("later")
    told_of = told.legend(table.build("t", "By size", GRID, **later))
    assert told_of.startswith("By size. Mean ± sample deviation (n). Δ is ours less")
    assert "Beside ours: SPoT (Vu et al., 2022), Table 4" in told_of
    assert "30,000 steps" in told_of and told_of.endswith("could not be.")
    assert "Beside" not in told.legend(table.build("t", "By size", GRID))


def test_a_cell_tells_all_that_there_is():
    place = "nano", "20"
    paper = {place: Spread(50.0, 0.5, 3), ("mini", "100"): Spread(90.0, None, 1)}
    later = {place: Spread(55.0, None, 3)}
    found = table.build("t", "c", GRID, paper=paper, later=later)
    development, test = told.grids(found)
    assert (development.split, test.split) == ("development", "untouched test")
    lines = [
        "52.0 ± 2.0 (3)",
        "paper 50.0 ± 0.5, Δ +2.0",
        "later 55.0, Δ \N{MINUS SIGN}3.0",
    ]
    assert [line.text for line in development.cells[place]] == lines
    assert [line.text for line in test.cells[place]] == ["51.0 ± 1.0 (3)"]
    lines = ["✗ 2 failed", "1 missing", "paper 90.0"]
    assert [line.text for line in development.cells["mini", "100"]] == lines
    assert told.failures(found) == [
        "nano, 100: seed 2: out of memory",
        "mini, 100: seed 0: NaN",
        "mini, 100: seed 1: NaN",
    ]


def test_what_has_no_splits_is_one_grid():
    found = table.build("t", "c", GRID)
    computed = found._replace(
        selected={}, values={("nano", "1"): Measured(5.0, None, 1)}
    )
    (grid,) = told.grids(computed)
    assert grid.split == told.NO_SPLIT
    assert [line.text for line in grid.cells["nano", "1"]] == ["5.0"], "of one, no n"
    nothing = {place: Measured(missing=3) for place in found.values}
    (grid,) = told.grids(found._replace(values=nothing))
    assert grid.split == "development", "the paper's tasks have no labelled test split"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, math.inf, "above 0"),
        (-math.inf, 2, "below 2"),
        (-2, 2, "between -2 and 2"),
        (-math.inf, math.inf, "-"),
    ],
)
def test_regions(low, high, text):
    said = told.region(Part("", low, high, None))
    assert said.replace("\N{MINUS SIGN}", "-") == text


def test_estimates():
    part = Part("", 0, math.inf, Estimate(3.2, 1.1, 5.3))
    assert told.answered(part) == "✓ +3.2 [+1.1, +5.3]"
    assert told.estimate(part._replace(estimate=Estimate(3, 3, 3))) == "+3.0"
    lacking = Part("", 0, 1, None, "mini: failed")
    assert told.answered(lacking) == "? mini: failed"


def test_how_many_findings_hold():
    holds, fails = (
        findings.Answer("", "", "", (Part("", 0, math.inf, Estimate(x, x, x)),))
        for x in (1.0, -1.0)
    )
    each = [holds, fails, fails], [holds, holds, fails]
    said = told.about_findings(*each, of=3)
    assert said.startswith(
        "The paper's findings that are about the tables here, 3, ask"
    )
    assert ", 3 of the 12, asked" in told.about_findings(*each, of=12)
    assert "Untouched test: holds 1, does not hold 2, cannot be said 0." in said
    assert "Development: holds 2, does not hold 1, cannot be said 0." in said


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (table.selecting(GRID), "Over 12 runs,"),
        (table.selecting(GRID), "is +1.3 points on average"),
        (table.selecting(GRID), "a sample deviation of 0.7 over runs"),
        (table.selecting(GRID), "the higher in 11, the lower in 0, the same in 1."),
        (Selecting(Spread(-2.0, 1.0, 4), 0, 4), "is \N{MINUS SIGN}2.0 points"),
        (Selecting(None, 0, 0), "it cannot be said what that is worth"),
    ],
)
def test_what_selecting_is_worth(found, text):
    assert text in told.about_selecting(found)
