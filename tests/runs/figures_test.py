"""Pictures are PNG and PDF, and no point of a curve is cut by its frame."""

import statistics

import matplotlib.figure
import pytest

from prompt_tuning.runs import figures
from prompt_tuning.training.task import Lower

PNG, PDF = b"\x89PNG\r\n\x1a\n", b"%PDF-"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    found, save = [], matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        found.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return found


def curve(path, steps=120, scores=(0.0, 50.0, 100.0), majority=16.7, **more):
    training = [{"step": i + 1, "loss": 3 / (i + 1)} for i in range(steps)]
    development = [{"step": 30 * i, "score": score} for i, score in enumerate(scores)]
    return figures.learning_curve(path, "t", training, development, majority, **more)


def test_the_running_mean():
    assert figures.running_mean([1, 2, 6, 4], 2) == [1.5, 4.0, 5.0]
    assert figures.running_mean([3.0], 1) == [3.0]
    assert figures.running_mean([], 1) == []


@pytest.mark.parametrize(
    ("steps", "scores", "majority"),
    [(120, (0.0, 100.0), 16.7), (1, (5.0,), None), (0, (5.0,), 16.7), (0, (), None)],
)
def test_the_learning_curve_is_a_png_and_a_pdf(tmp_path, steps, scores, majority):
    paths = curve(tmp_path / "new" / "curve", steps, scores, majority)
    assert [path.name for path in paths] == ["curve.png", "curve.pdf"]
    for path, start in zip(paths, (PNG, PDF), strict=True):
        assert path.read_bytes().startswith(start) and path.stat().st_size > 5_000
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_a_long_name_leaves_room_for_its_bar(tmp_path, drawn):
    name = ", ".join(f"SETTING_{i} of_some_length" for i in range(9))
    figures.bars(tmp_path / "bars", "t", {name: [40.0]}, 12.5)
    [panel] = drawn[0].axes
    assert panel.get_yticklabels()[1].get_text().endswith(" …")
    assert panel.get_position().width > 0.4


def test_bars_are_as_long_as_the_scores(tmp_path, drawn):
    scores = {"one": [40.0, 60.0], "two": [90.0], "none": []}
    paths = figures.bars(tmp_path / "bars", "t", scores, 12.5, "accuracy")
    assert [path.name for path in paths] == ["bars.png", "bars.pdf"]
    [panel] = drawn[0].axes
    names = [tick.get_text() for tick in panel.get_yticklabels()]
    assert names == ["majority class", "one", "two"]
    widths = [bar.get_width() for bar in panel.patches]
    assert widths == [12.5, 50.0, 90.0]
    told = [text.get_text().strip() for text in panel.texts]
    assert told == ["12.5", "50.0 ± 14.1", "90.0"]
    figures.bars(tmp_path / "negative", "t", {"one": [-3.0]}, None)
    assert [bar.get_width() for bar in drawn[-1].axes[0].patches] == [-3.0]


def test_equal_curves_are_equal_files(tmp_path):
    first, second = (curve(tmp_path / name) for name in ("a", "b"))
    assert [x.read_bytes() for x in first] == [x.read_bytes() for x in second]


@pytest.mark.parametrize(
    "scores", [(0.0, 100.0), (-90.0, -30.0), (0.2, 0.9), (100.0, 100.0), (0.0, 0.0)]
)
def test_no_point_is_cut(tmp_path, drawn, scores):
    curve(tmp_path / "x", scores=scores, majority=None, score="accuracy")
    above, below = drawn[0].axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("accuracy", figures.LOSS)
    assert list(above.lines[0].get_ydata()) == list(scores)
    for panel in drawn[0].axes:
        frame = panel.get_window_extent()
        for line in panel.lines:
            radius = line.get_markersize() * drawn[0].dpi / 72 / 2
            radius *= line.get_marker() == "o"
            points = panel.transData.transform(line.get_xydata())
            assert (points - radius >= (frame.x0, frame.y0)).all()
            assert (points + radius <= (frame.x1, frame.y1)).all()


def test_percentages_have_their_whole_axis_and_other_scores_their_own(tmp_path, drawn):
    for scores in ((95.0, 97.0), (0.95, 0.97)):
        curve(tmp_path / "x", scores=scores, majority=None)
    percent, share = drawn[0].axes[0], drawn[-1].axes[0]
    assert percent.get_ylim() == (-4, 104)
    assert 0.9 < share.get_ylim()[0] < 0.95


@pytest.mark.parametrize(
    ("metrics", "trained", "expected"),
    [
        ({"a": {"accuracy": 1.0}}, ["a"], "accuracy"),
        ({"a": {"em": 1.0, "f1": 2.0}}, ["a"], "mean of em, f1"),
        ({"a": {"em": 1.0}, "b": {"em": 2.0}}, ["a"], "em"),
        ({"a": {"em": 1.0}, "b": {"f1": 2.0}}, [], "mean of em, f1\nover 2 tasks"),
        ({"a": {"x": Lower(1.0)}}, ["a"], "x\n(less is better: negated)"),
        ({"a": dict.fromkeys("abcd", 1.0)}, ["a"], "mean of 4 metrics"),
        ({"a": {}}, ["a"], "score"),
    ],
)
def test_a_score_is_named_by_its_metrics(metrics, trained, expected):
    assert figures.score_name(metrics, trained) == expected


def test_lines_are_means_in_bands_of_a_deviation(tmp_path, drawn):
    scores = [{0: 10.0, 4: 50.0, 8: 70.0}, {0: 20.0, 4: 80.0}]
    losses = [{1: 2.0, 2: 1.0}, {1: 4.0, 2: 1.5}]
    one, two = figures.Line("one", scores, losses), figures.Line("two", [{0: 1}], [{}])
    figures.overlay(tmp_path / "x", "t", [one, two], "accuracy")
    left, right = drawn[0].axes
    assert left.lines[0].get_xydata().tolist() == [[0, 15], [4, 65]], "of both"
    ((band,),) = [left.collections]
    low, high = band.get_datalim(left.transData).intervaly
    assert high == pytest.approx(65 + statistics.stdev([50, 80]))
    assert low == pytest.approx(15 - statistics.stdev([10, 20]))
    assert right.lines[0].get_ydata().tolist() == [3.0, 1.25]
    told = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert told == ["one (n = 2)", "two"]
    assert len({line.get_color() for line in left.lines}) == 2


def test_more_lines_than_can_be_told_apart_are_not_drawn(tmp_path, drawn):
    lines = [figures.Line(f"{i}", [{0: 1.0, 1: i}], [{1: 1.0}]) for i in range(20)]
    figures.overlay(tmp_path / "x", "t", lines)
    left = drawn[0].axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in left.lines}
    assert len(left.lines) == len(looks) == figures.MOST_LINES
    assert "the best 14 of 20" in drawn[0].get_suptitle()
