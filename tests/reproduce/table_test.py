"""A planted grid has the table that is known by hand."""

import pytest
from planted_outcomes import DEVELOPMENT, GRID, SELECTING, TEST, outcome, seeds

from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import table
from prompt_tuning.reproduce.table import Measured
from prompt_tuning.runs.compare import Spread

PAPER = {("nano", "20"): Spread(50.0, 0.5, 3), ("mini", "100"): Spread(90.0, None, 3)}


def planted(**more):
    return table.build("t", "c", GRID, **more)


SPLITS = [("values", TEST), ("selected", DEVELOPMENT)]


@pytest.mark.parametrize(("split", "right"), SPLITS)
def test_means_deviations_missing_and_failed(split, right):
    found = getattr(planted(), split)
    assert found.keys() == right.keys()
    for place, (mean, deviation, n, failed, missing) in right.items():
        one = found[place]
        assert one.mean == (mean if mean is None else pytest.approx(mean))
        assert one.deviation == (
            deviation if deviation is None else pytest.approx(deviation)
        )
        assert (one.n, one.failed, one.missing) == (n, failed, missing)


def test_rows_and_columns_stand_in_the_order_of_appearance():
    assert planted().rows == ("nano", "mini")
    assert planted().columns == ("1", "20", "100")


def test_a_score_is_the_mean_of_tasks_by_seed():
    """Seeds have 40 and 60; a mean over tasks first would deviate otherwise."""
    runs = seeds("m", "c", (0, 0), (10, 50), task="a")
    runs += seeds("m", "c", (0, 0), (70, 70), task="b")
    assert table.build("t", "c", runs).values["m", "c"] == Measured(50, 200**0.5, 2)


def test_a_seed_that_lacks_a_task_is_missing_and_not_a_mean_of_the_others():
    runs = seeds("m", "c", (0, 0), (10, 50), task="a")
    runs += [outcome("m", "c", 0, 0, 70, task="b")]
    runs += [outcome("m", "c", 1, 0, 0, task="b", state="missing")]
    assert table.build("t", "c", runs).values["m", "c"] == Measured(40, None, 1, (), 1)


def test_a_run_that_is_asked_nothing_is_in_no_place():
    run = outcome("m", "c", 0, 1, 1)
    run = run._replace(cell=run.cell._replace(asks=()))
    assert table.gather([run], "test") == {}
    assert table.selecting([run._replace(metrics={})]) == (None, 0, 0)


def test_a_split_that_was_not_asked_is_missing():
    runs = seeds("m", "c", (10, 20), (None, None))
    found = table.build("t", "c", runs)
    assert found.values["m", "c"] == Measured(missing=2)
    assert found.selected["m", "c"].n == 2


def test_a_number_that_is_none_is_a_failure():
    (one,) = table.gather([outcome("m", "c", 4, 1, float("nan"))], "test").values()
    assert one == Measured(failed=("seed 4: test/t/score is nan",))


def test_the_same_run_twice_is_refused():
    runs = [outcome("m", "c", 0, 1, 1, folder=name) for name in ("a", "b")]
    with pytest.raises(UserError, match="a and b are both m, c, seed 0"):
        table.build("t", "c", runs)


def test_a_run_may_have_several_places():
    """As Table 1's: a run is asked each domain."""

    def places(one):
        return {(task, one.cell.column): (f"{task}/score",) for task in ("t", "u")}

    run = outcome("x", "c", 0, 1, 2)
    run = run._replace(metrics={**run.metrics, "test/u/score": 5.0})
    found = table.build("t", "c", [run], places)
    assert (found.values["t", "c"].mean, found.values["u", "c"].mean) == (2, 5)


def test_the_paper_is_compared_with_the_split_that_it_reports():
    found = planted(paper=PAPER)
    assert table.difference(found, ("nano", "20"), found.paper) == 52 - 50
    assert table.difference(found, ("mini", "100"), found.paper) is None, "not measured"
    assert table.difference(found, ("nano", "1"), found.paper) is None, "not printed"
    computed = found._replace(selected={})
    assert table.difference(computed, ("nano", "20"), computed.paper) == 51 - 50


def test_a_column_of_differences():
    found = table.with_difference(planted(paper=PAPER), "20", "1", "less")
    assert found.columns == ("1", "20", "100", "less")
    assert found.values["nano", "less"] == Measured(51 - 20, None, 3)
    assert found.selected["mini", "less"] == Measured(90 - 80, None, 1)
    both = PAPER | {("nano", "1"): Spread(30.0, 0.5, 3)}
    found = table.with_difference(planted(paper=both), "20", "1", "less")
    assert found.paper["nano", "less"] == Spread(20.0, None, 3)


def test_what_selecting_is_worth():
    found = table.selecting(GRID)
    assert found.spread == pytest.approx(SELECTING, rel=1e-3)
    assert (found.above, found.below) == (11, 0)


def test_a_run_in_two_tables_counts_once_and_only_on_its_own_task():
    run = outcome("x", "c", 0, 5, 2)
    other = {"validation/u/score": 90.0, "test/u/score": 10.0}
    run = run._replace(metrics={**run.metrics, **other})
    run = run._replace(cell=run.cell._replace(asks=("t", "u")))
    again = run._replace(cell=run.cell._replace(row="y"), metrics={})  # what is read
    assert table.selecting([run, again]) == ((3, None, 1), 1, 0)
    assert table.selecting([]) == (None, 0, 0)
