"""A panel for each frozen model, and in it a point for each row, joined by method."""

from xml.etree import ElementTree

import matplotlib.axes
import pytest

from prompt_tuning.reproduce import panels, pictures
from prompt_tuning.reproduce.table import Axis, Measured, Panels, Table

SVG = "{http://www.w3.org/2000/svg}"
ROWS = {
    "nano: lora": ("nano", "lora"),
    "nano: lora (rank 1)": ("nano", "lora"),
    "nano: ia3": ("nano", "ia3"),
    "mini: lora": ("mini", "lora"),
    "mini: ia3": ("mini", "ia3"),
}
SCORES = (80.0, 70.0, 60.0, 90.0)  # the last is not measured
CELLS = {
    (row, "score"): Measured(score, 2.0, 3)
    for row, score in zip(ROWS, SCORES, strict=False)
}
AT = dict(zip(ROWS, (24_576, 3_072, 2_560, 98_304, 5_120), strict=True))
TABLE = Table(
    "Methods",
    "",
    tuple(ROWS),
    ("score", "count"),
    values=CELLS | {(row, "count"): Measured(n, None, 1) for row, n in AT.items()},
    axis=Axis(
        AT, "trained parameters", "score", panels=Panels(ROWS, "score", {"nano": 1e6})
    ),
    facts={"count": "number"},
)


@pytest.fixture
def bars(monkeypatch):
    """What is drawn, by the title of its panel."""
    found = []
    draw = matplotlib.axes.Axes.errorbar

    def keep(axes, x, y, yerr, **style):
        found.append((axes.get_title(), list(x), list(y), list(yerr)))
        return draw(axes, x, y, yerr, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "errorbar", keep)
    return found


def test_rows_of_a_method_are_joined_in_their_models_panel(bars):
    text = pictures.draw(TABLE, TABLE.values, "x", "Methods, test")
    assert bars == [
        ("nano", [3_072, 24_576], [70, 80], [2, 2]),
        ("nano", [2_560], [60], [2]),
        ("mini", [98_304], [90], [2]),
    ]
    words = {e.text for e in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert {"nano", "mini", "lora", "ia3", "score", "Methods, test"} <= words
    assert text == pictures.draw(TABLE, TABLE.values, "x", "Methods, test")


def test_nothing_measured_is_no_picture():
    assert pictures.draw(TABLE, {}, "x", "t") == ""


def test_the_first_28_lines_differ_in_their_mark_alone():
    looks = [panels.look(i) for i in range(28)]
    grey = {(x["marker"], x["markerfacecolor"] == "none") for x in looks}
    assert len(grey) == 28
