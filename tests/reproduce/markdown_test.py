"""The report as GitHub shows it."""

import itertools

import planted_outcomes

from prompt_tuning.reproduce import markdown, report
from prompt_tuning.reproduce.report import Section
from prompt_tuning.reproduce.table import build
from prompt_tuning.runs.compare import Spread


def written():
    paper = {("nano", "20"): Spread(50.0, 0.5, 3)}
    table = build("t", "By size", planted_outcomes.GRID, paper=paper)
    section = Section("fig3a", "Length", "Figure 3(a)", table, planted_outcomes.GRID)
    made = report.build("pocket", [section], "c")
    return markdown.write(made, {("fig3a", "untouched test"): "figures/x.svg"})


def test_tables_are_whole():
    lines = written().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    cells = "20.0 ± 10.0 (3)", "51.0 ± 1.0 (3)", "60.0 ± 1.4 (2)<br>✗ 1 failed"
    assert " | ".join(("| nano", *cells)) + " |" in tables
    assert any("52.0 ± 2.0 (3)<br>paper 50.0 ± 0.5, Δ +2.0" in line for line in tables)
    for above, line in itertools.pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert line.count("|") == above.count("|")


def test_pictures_are_files_and_failures_have_reasons():
    text = written()
    assert "![Length, untouched test](figures/x.svg)" in text
    assert "- mini, 100: seed 0: NaN" in text
    assert "are neither" in text, "what the pocket family is not"


def test_words_are_no_markup():
    runs = planted_outcomes.seeds("a|b", "<c>", (1,), (1,))
    table = build("t", "*c*", runs)
    made = report.build("paper", [Section("x", "x", "x", table, runs)], "c")
    text = markdown.write(made, {})
    assert r"| a\|b |" in text and "&lt;c&gt;" in text and r"\*c\*" in text


def test_only_findings_about_the_tables_are_told():
    text = written()
    assert "here, 2 of the 12, asked" in text, "two are about prompt length"
    assert "3. More than one token" in text and "4. Beyond 20 tokens" in text
    assert "was not run" not in text and "1. As models grow" not in text
    runs = planted_outcomes.GRID
    other = Section("methods", "x", "x", build("t", "c", runs), runs)
    text = markdown.write(report.build("pocket", [other], "c"), {})
    assert "What held" not in text and "## Selecting on" in text
