"""Figures as the paper draws them: a line for each column over the frozen model's size.

A line is the mean, in a band of the sample deviation. Lines differ in colour, mark and
dash, so that they can be told apart in grey, too. A picture is SVG whose text is text,
and equal tables give equal pictures.
"""

import functools
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from prompt_tuning.reproduce import panels
from prompt_tuning.reproduce.table import PERCENT, Axis, Measured, Place, Table
from prompt_tuning.runs.figures import COLOURS, MARKS

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
# Solid, dashed, dotted, dash-dotted, long, dash-dot-dotted; with seven colours and
# marks no two of 42 lines are alike.
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)))
DASHES += ((0, (4, 1.2, 1, 1.2, 1, 1.2)),)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.titlesize": 10,
}
_SIZE = (5.2, 4.0)  # inches; on a page they scale


def draw(table: Table, cells: Mapping[Place, Measured], name: str, title: str) -> str:
    """The SVG of one split's measurements; "" where there is nothing to draw.

    Args:
      cells: table.values or table.selected.
      name: of the picture, unlike those of others on its page.
    """
    axis = table.axis
    if axis is None:
        return ""
    lines = [_points(axis, table, cells, column) for column in table.columns]
    marks = panels.points(axis, table, cells) if axis.panels else {}
    if not any(marks.values()) and (axis.panels or not any(lines)):
        return ""
    import matplotlib
    from matplotlib.figure import Figure  # takes half a second; only needed here

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        if axis.panels:
            panel = panels.draw(figure, marks, functools.partial(_axes, table=table))
            figure.suptitle(title, fontsize=_STYLE["axes.titlesize"])
        else:
            panel = figure.subplots()
            panel.set_title(title)
            _axes(panel, table)
            for i, (column, line) in enumerate(zip(table.columns, lines, strict=True)):
                _line(panel, i, column, line)
        _legend(figure, panel)
        text = io.StringIO()
        with warnings.catch_warnings():  # a font without a sign: the reader's has it
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure.savefig(text, format="svg", metadata={"Date": None})
    return _inline(text.getvalue(), name, title)


def _points(
    axis: Axis, table: Table, cells: Mapping[Place, Measured], column: str
) -> list[tuple[float, float, float]]:
    """(x, mean, deviation) of a column, by x; what is not measured is left out."""
    found = [
        (axis.at[row], one.mean, one.deviation or 0.0)
        for row in table.rows
        if row in axis.at
        and (one := cells.get((row, column), Measured())).mean is not None
    ]
    if axis.log_values:
        found = [point for point in found if point[1] > 0]
    return sorted(found)


def _line(
    panel: Any, i: int, name: str, points: Sequence[tuple[float, float, float]]
) -> None:
    if not points:
        return
    x, mean, deviation = zip(*points, strict=True)
    colour = COLOURS[i % len(COLOURS)]
    style = {"color": colour, "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.6}
    mark = {"marker": MARKS[i % len(MARKS)], "markersize": 5.5}
    panel.plot(x, mean, label=name, **style, **mark, markeredgecolor="white")
    low = [m - d for m, d in zip(mean, deviation, strict=True)]
    high = [m + d for m, d in zip(mean, deviation, strict=True)]
    if panel.get_yscale() == "log":
        low = [max(x, m / 100) for x, m in zip(low, mean, strict=True)]
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _axes(panel: Any, table: Table) -> None:
    axis = table.axis
    assert axis is not None
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set(xlabel=axis.name, ylabel=axis.unit)
    if axis.log:
        panel.set_xscale("log")
        _decades(panel, [axis.at[row] for row in table.rows if row in axis.at])
    if axis.log_values:
        panel.set_yscale("log")
    elif table.form == PERCENT:
        # Of both splits, so that their pictures can be compared.
        found = [*table.values.items(), *table.selected.items()]
        panel.set_ylim(*_range([x for (_, c), x in found if c not in table.facts]))


def _decades(panel: Any, at: Sequence[float]) -> None:
    """An axis of whole decades is mostly empty: it ends just beyond the points."""
    low, high = min(at), max(at)
    room = (high / low) ** 0.08 if high > low else 2.0
    panel.set_xlim(low / room, high * room)
    if high < 30 * low:  # less than two labels would be left
        panel.set_xticks(sorted({*at}), [_count(x) for x in sorted({*at})])
        panel.minorticks_off()


def _count(x: float) -> str:
    """1,300,000 as 1.3M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if x >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:g}"


def _range(found: Sequence[Measured]) -> tuple[float, float]:
    """Percent, in tens around all bands, of at least 20 points."""
    known = [(one.mean, one.deviation or 0.0) for one in found if one.mean is not None]
    low = 10 * math.floor(min(mean - d for mean, d in known) / 10)
    high = 10 * math.ceil(max(mean + d for mean, d in known) / 10)
    low, high = max(low, 0) if min(m for m, _ in known) >= 0 else low, min(high, 100)
    while high - low < 20:
        low, high = (low - 10, high) if high >= 100 else (low, high + 10)
    room = 0.03 * (high - low)  # for a mark that lies on the edge
    return low - room, high + room


def _legend(figure: Any, panel: Any) -> None:
    lines, names = panel.get_legend_handles_labels()
    wide = 52 + 5.6 * max(map(len, names))  # points, of an entry
    columns = max(1, min(len(names), int(72 * _SIZE[0] / wide)))
    place = {"loc": "outside lower center", "borderaxespad": 0.2}
    form = {"frameon": False, "handlelength": 3.2, "columnspacing": 1.2}
    figure.legend(lines, names, ncols=columns, **form, **place)


# SVG within a page


def _inline(text: str, name: str, says: str) -> str:
    """An SVG that can stand in a page beside others.

    It scales with its place, says what it is to whoever cannot see it, and its ids are
    its own. Matplotlib's description of the file, full of addresses, is left out.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(text)
    for found in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(found)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = says
    root.insert(0, title)
    for element in root.iter():
        _rename(element, name)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(element: ElementTree.Element, name: str) -> None:
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == _HREF:  # plain since SVG 2; the page needs no second namespace
            del element.attrib[key]
            element.set("href", value.replace("#", f"#{name}-", 1))
        elif "url(#" in value:
            element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
