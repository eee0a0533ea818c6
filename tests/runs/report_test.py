import contextlib
import re

import pytest
from matplotlib.figure import Figure

from prompt_tuning.runs import report

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_table_has_straight_columns():
    rows = [
        ("pocket_kind", "accuracy", 16.666, 20, 91.25),
        ("cb", "mean_3class_f1", None, 5.0, 100.0),
    ]
    lines = report.table(rows, ["pretrained model", "tuned model"]).splitlines()
    assert len(lines) == 4 and set(lines[1]) == {"-"}
    split = [re.split(r"  +", line) for line in (lines[0], *lines[2:])]
    assert split == [
        ["task", "metric", "majority class", "pretrained model", "tuned model"],
        ["pocket_kind", "accuracy", "16.7", "20.0", "91.2"],
        ["cb", "mean_3class_f1", "-", "5.0", "100.0"],
    ]
    assert len({len(line) for line in lines}) == 1, "the last numbers end together"
    starts = [line.index(row[1]) for line, row in zip(lines[2:], rows, strict=True)]
    assert starts == [lines[0].index("metric")] * 2
    ends = [re.search(r"(16\.7|-)  ", line).end() for line in lines[2:]]
    assert ends == [lines[0].index("majority class") + len("majority class") + 2] * 2


def test_a_table_without_rows_is_its_header():
    assert report.table([]).splitlines()[0].split("  ")[0] == "task"


def test_the_running_mean():
    assert report._running_mean([1, 2, 6, 4], 2) == [1.5, 4.0, 5.0]
    assert report._running_mean([3.0], 1) == [3.0] and report._running_mean([], 1) == []


@pytest.mark.parametrize(
    ("steps", "evaluations", "majority"),
    [(120, 5, 16.7), (1, 1, None), (0, 1, 16.7), (0, 0, None)],
)
def test_the_learning_curve_is_a_png(tmp_path, steps, evaluations, majority):
    path = tmp_path / "new" / "curve.png"
    report.learning_curve(
        path,
        "pocket_kind",
        [{"step": i + 1, "loss": 3 / (i + 1)} for i in range(steps)],
        [{"step": 30 * i, "score": 20.0 * i} for i in range(evaluations)],
        majority,
    )
    assert path.read_bytes().startswith(PNG) and path.stat().st_size > 10_000
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("scores", "shown"), [([0.0, 90.0], (0, 100)), ([-90.0, -30.0], (-93, -27))]
)
def test_the_learning_curve_shows_scores_below_0_too(
    tmp_path, monkeypatch, scores, shown
):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    monkeypatch.setattr(report, "atomic", lambda path: contextlib.nullcontext(path))
    lines = [{"step": step, "score": score} for step, score in enumerate(scores)]
    report.learning_curve(tmp_path / "x", "t", [{"step": 1, "loss": 2.0}], lines, None)
    (figure,) = drawn
    axis = figure.axes[1]
    assert axis.get_ylim() == pytest.approx(shown)
    assert list(axis.lines[0].get_ydata()) == scores
    assert ("negated" in axis.get_ylabel()) == (shown[0] < 0)
