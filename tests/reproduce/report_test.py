"""The report as values: whole, and the same in JSON and CSV."""

import csv
import io
import json

import planted_outcomes
import pytest
from planted_outcomes import GRID, outcome

from prompt_tuning.reproduce import report
from prompt_tuning.reproduce.report import Section
from prompt_tuning.reproduce.table import build
from prompt_tuning.runs.compare import Spread

PAPER = {("nano", "20"): Spread(50.0, 0.5, 3), ("nano", "other"): Spread(1.0, None, 1)}
FACTS = {"commit": "abc", "versions": {"jax": "1"}, "hardware": "2 CPU cores"}


def made(command="c"):
    table = build("t", "c", GRID, paper=PAPER)
    section = Section("fig3a", "Prompt length", "Figure 3(a)", table, GRID)
    return report.build("pocket", [section, section._replace(name="x")], command)


def test_json_has_the_planted_numbers():
    found = json.loads(json.dumps(report.to_json(made()), allow_nan=False))
    cells = {(c["row"], c["column"]): c for c in found["experiments"][0]["cells"]}
    for split, right in (
        ("test", planted_outcomes.TEST),
        ("development", planted_outcomes.DEVELOPMENT),
    ):
        for place, (mean, _, n, failed, missing) in right.items():
            one = cells[place][split]
            assert (one["n"], tuple(one["failed"]), one["missing"]) == (
                n,
                failed,
                missing,
            )
            assert one["mean"] == (mean if mean is None else pytest.approx(mean))
    assert cells["nano", "20"]["paper"]["mean"] == 50
    assert cells["nano", "20"]["difference"] == 2
    assert ("nano", "other") not in cells, "the table has no such column"
    assert found["runs"] == {"done": 12, "failed": 3, "missing": 3}, "each once"
    assert len(found["findings"]) == 12
    assert found["selecting"]["development_less_test"]["n"] == 12


def test_csv_has_a_line_for_each_cell():
    lines = list(csv.DictReader(io.StringIO(report.to_csv(made()))))
    assert len(lines) == 12 and {line["experiment"] for line in lines} == {"fig3a", "x"}
    first = lines[0]
    assert (first["row"], first["column"], first["test_mean"]) == ("nano", "1", "20.0")
    failed = next(x for x in lines if (x["row"], x["column"]) == ("mini", "100"))
    assert failed["test_mean"] == ""
    assert failed["development_failed"] == "seed 0: NaN; seed 1: NaN"
    measured = next(x for x in lines if (x["row"], x["column"]) == ("nano", "20"))
    assert (measured["paper"], measured["difference"]) == ("50.0", "2.0")


def test_the_foot_tells_each_thing_once():
    runs = [
        outcome("a", "b", i, 1, 1, facts={**FACTS, "date": date, **more})
        for i, (date, more) in enumerate(
            [
                ("2026-11-29", {"seconds": 7200, "together": 2}),
                ("2026-11-28", {"seconds": 1800, "commit": "def"}),
            ]
        )
    ]
    facts = dict(report.made(runs, "c").facts)
    assert facts == {
        "command": "c",
        "commit": "abc, def",
        "versions": "jax 1",
        "hardware": "2 CPU cores",
        "date": "2026-11-28 to 2026-11-29",
        "hours": "1.5 of training, over 2 runs",
    }
    assert dict(report.made([], "c").facts)["commit"] == "not known"
