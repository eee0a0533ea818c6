"""A picture with a panel for each frozen model, where each row of a table is a point.

Rows of one line, such as the sizes of a method, are joined. Lines differ in their mark,
then in whether it is filled, so that they can be told apart in grey; their colours are
for those who see them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning.reproduce.table import Axis, Measured, Place, Table
from prompt_tuning.runs.figures import COLOURS
from prompt_tuning.runs.figures import MARKS as FIRST

MARKS = (*FIRST, "<", ">", "p", "*", "d", "h", "8")
_HEIGHT = 2.6  # inches, of a panel


class Point(NamedTuple):
    """A row: where it stands, its mean and deviation."""

    x: float
    mean: float
    deviation: float


Points = dict[tuple[str, str], list[Point]]


def points(axis: Axis, table: Table, cells: Mapping[Place, Measured]) -> Points:
    """{(panel, line): its points from left to right} of what is measured."""
    assert axis.panels is not None
    found: Points = {place: [] for place in axis.panels.of.values()}
    for row, place in axis.panels.of.items():
        one = cells.get((row, axis.panels.column), Measured())
        if row in table.rows and row in axis.at and one.mean is not None:
            found[place].append(Point(axis.at[row], one.mean, one.deviation or 0.0))
    return {place: sorted(line) for place, line in found.items()}


def look(i: int) -> dict[str, Any]:
    """The colour and mark of the i-th line; no two of the first 28 have one mark."""
    colour = COLOURS[i % len(COLOURS)]
    face = "none" if i // len(MARKS) % 2 else colour
    mark = {"marker": MARKS[i % len(MARKS)], "markersize": 6}
    return {"color": colour, "markerfacecolor": face, **mark}


def draw(figure: Any, found: Points, prepare: Callable[[Any], None]) -> Any:
    """Draws the panels, one below the other, and returns one that has all lines.

    Args:
      prepare: makes a panel's axes.
    """
    names = list(dict.fromkeys(panel for panel, line in found if found[panel, line]))
    lines = list(dict.fromkeys(line for _, line in found))
    figure.set_figheight(figure.get_figheight() - _HEIGHT + _HEIGHT * len(names))
    panels = figure.subplots(len(names), squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        prepare(panel)
        panel.set_title(name)
        if name != names[-1]:
            panel.set_xlabel("")
        for i, line in enumerate(lines):
            _line(panel, look(i), line, found.get((name, line), []))
    for i, line in enumerate(lines):  # a name for each, wherever it was measured
        if any(found.get((name, line)) for name in names):
            panels[0].plot([], [], label=line, linewidth=0.8, **look(i))
    return panels[0]


def _line(panel: Any, style: dict[str, Any], name: str, found: Sequence[Point]) -> None:
    if not found:
        return
    x, mean, deviation = zip(*found, strict=True)
    panel.errorbar(x, mean, deviation, linewidth=0.8, **style)
