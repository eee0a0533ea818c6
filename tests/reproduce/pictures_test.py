"""Pictures show the table's numbers, and can be read in grey and by machines."""

import re
from xml.etree import ElementTree

import matplotlib.axes
import planted_outcomes
import pytest

from prompt_tuning.reproduce import pictures
from prompt_tuning.reproduce.table import Axis, Measured, build

SVG = "{http://www.w3.org/2000/svg}"
AT = {"nano": 1.3e6, "mini": 7e6}


def table(at=AT, **more):
    axis = Axis(at, "parameters", "score", **more)
    return build("Length", "c", planted_outcomes.GRID, axis=axis)


@pytest.fixture
def drawn(monkeypatch):
    """The lines and the bands of what is drawn."""
    lines, bands = [], []
    plot, fill = matplotlib.axes.Axes.plot, matplotlib.axes.Axes.fill_between

    def keep_line(axes, x, y, **style):
        lines.append((style["label"], list(x), list(y), style))
        return plot(axes, x, y, **style)

    def keep_band(axes, x, low, high, **style):
        bands.append((list(x), list(low), list(high)))
        return fill(axes, x, low, high, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", keep_line)
    monkeypatch.setattr(matplotlib.axes.Axes, "fill_between", keep_band)
    return lines, bands


def test_a_line_is_the_mean_in_a_band_of_the_deviation(drawn):
    found = table()
    pictures.draw(found, found.values, "x", "test")
    lines, bands = drawn
    assert [line[:3] for line in lines] == [
        ("1", [1.3e6, 7e6], [20, 79]),
        ("20", [1.3e6, 7e6], [51, 88]),
        ("100", [1.3e6], [60]),  # the other failed, and no line goes there
    ]
    assert bands[0] == ([1.3e6, 7e6], [10, 79], [30, 79])
    assert bands[1] == ([1.3e6, 7e6], [50, 88], [52, 88]), "a single run has no band"


def test_lines_differ_in_colour_mark_and_dash():
    found = table()
    columns = tuple(map(str, range(12)))
    cells = {(row, c): Measured(5.0 * int(c), 1.0, 3) for row in AT for c in columns}
    found = found._replace(columns=columns, values=cells, selected={})
    root = ElementTree.fromstring(pictures.draw(found, cells, "x", "t"))
    styles = [
        re.sub(r"\s", "", path.get("style", ""))
        for path in root.iter(f"{SVG}path")
        if "stroke-width:1.6" in path.get("style", "").replace(" ", "")
    ]
    assert len({*styles}) == 12, "in colour and dash together"
    first = [re.search(r"stroke-dasharray:([\d.,]+)", s) for s in styles[:5]]
    dashes = [m and m.group(1) for m in first]
    assert len({*dashes}) == 5, "in grey, the first five by their dash alone"


def test_text_is_text_and_ids_are_its_own():
    found = table()
    texts = [pictures.draw(found, found.values, n, "t") for n in ("a", "b")]
    roots = [ElementTree.fromstring(text) for text in texts]
    words = {element.text for element in roots[0].iter(f"{SVG}text")}
    assert {"1", "20", "100", "parameters", "score", "1.3M", "7M"} <= words
    ids = [{e.get("id") for e in root.iter()} - {None} for root in roots]
    assert ids[0] and not ids[0] & ids[1]
    for root, known in zip(roots, ids, strict=True):
        for element in root.iter():
            for value in element.attrib.values():
                assert "http" not in value
                for name in re.findall(r"(?:^|url\()#([^)]*)", value):
                    assert name in known or re.fullmatch(r"[0-9a-f]{6}", name)


def test_equal_tables_give_equal_pictures():
    one, other = (pictures.draw(t, t.values, "x", "t") for t in (table(), table()))
    assert one == other


def test_nothing_to_draw_is_no_picture():
    found = table()
    assert pictures.draw(found._replace(axis=None), found.values, "x", "t") == ""
    assert pictures.draw(found, {}, "x", "t") == ""
    assert pictures.draw(table(at={}), found.values, "x", "t") == ""


def test_no_point_is_cut(monkeypatch):
    """The axis holds the bands, of either split, and no picture of nothing but 100s."""
    found, seen = table(), []
    limits = matplotlib.axes.Axes.set_ylim
    monkeypatch.setattr(
        matplotlib.axes.Axes, "set_ylim", lambda a, *y: seen.append(y) or limits(a, *y)
    )
    full = Measured(100.0, 0.0, 3)
    same = {("nano", "1"): full, ("mini", "1"): full}
    for cells in (found.values, same):
        t = found if cells is not same else found._replace(values=same, selected={})
        pictures.draw(t, cells, "x", "t")
    (low, high), (low_100, high_100) = seen
    assert low < 10 and high > 90
    assert low_100 <= 80 and high_100 > 100


def test_parameters_are_drawn_on_two_logarithmic_axes():
    found = table(at={"nano": 1e6, "mini": 1e9}, log_values=True)
    cells = {("nano", "1"): Measured(1e-3, 1e-2, 3)}
    cells["mini", "1"] = Measured(50.0, 0.0, 3)
    cells["mini", "20"] = Measured(0.0, 0.0, 3)  # has no logarithm
    root = ElementTree.fromstring(pictures.draw(found, cells, "x", "t"))
    words = ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]
    assert "20" not in words and "1" in words


def test_lines_differ_without_their_colour():
    looks = [(pictures.MARKS[i % 7], str(pictures.DASHES[i % 6])) for i in range(42)]
    assert len({*looks}) == 42
