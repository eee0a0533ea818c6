"""Pictures of training: one run's curves, and those of several over one another.

Each is written as PNG and as PDF. Scores and losses have a panel and an axis each, and
no point is cut by a frame. Colours are Okabe and Ito's (2008), which the colour-blind
tell apart; lines differ in their marks and dashes too.
"""

import contextlib
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning.outputs import atomic
from prompt_tuning.training.task import Lower, Metrics

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--")
MOST_LINES = len(COLOURS) * len(DASHES)  # more can no longer be told apart

LOSS = "training loss\n(nats per target token)"


class Line(NamedTuple):
    """Runs that are drawn as one line: their mean, in a band of a sample deviation.

    scores, losses: {step: value} of each run.
    """

    name: str
    scores: Sequence[Mapping[int, float]]
    losses: Sequence[Mapping[int, float]]


def score_name(metrics: Metrics, trained: Collection[str] = ()) -> str:
    """What training.task.development_score is the mean of, for an axis."""
    counted = {task: values for task, values in metrics.items() if values}
    if shared := {task: x for task, x in counted.items() if task in trained}:
        counted = shared
    values = [pair for found in counted.values() for pair in found.items()]
    names = list(dict.fromkeys(name for name, _ in values))
    lower = any(isinstance(value, Lower) for _, value in values)
    text = ", ".join(names) if len(names) <= 3 else f"{len(names)} metrics"
    if len(values) != 1:
        text = f"mean of {text}" if values else "score"
    if len(counted) > 1:
        text += f"\nover {len(counted)} tasks"
    return text + "\n(less is better: negated)" * lower


def learning_curve(
    path: Path,
    title: str,
    training: Sequence[dict],
    development: Sequence[dict],
    majority: float | None,
    score: str = "score",
) -> list[Path]:
    """Draws a run's development score and training loss over the steps.

    Args:
      path: where to, without the suffix.
      training: {"step", "loss"} of each step; loss in nats per target token.
      development: {"step", "score"} of each evaluation; score in percent, or below 0
        where less is better.
      majority: the most frequent class's score, drawn as a line, or None.
      score: what the score is, for its axis.

    Returns:
      The paths of the PNG and the PDF.
    """
    scores = {line["step"]: line["score"] for line in development}
    losses = {line["step"]: line["loss"] for line in training}
    with _figure(path, title, (6.4, 5.2), (2, 1)) as (above, below):
        style = {"color": BLUE, "marker": "o", "markersize": 4}
        above.plot([*scores], [*scores.values()], label="development", **style)
        if majority is not None:
            above.axhline(
                majority,
                color=GREY,
                linestyle="--",
                linewidth=1,
                label="majority class",
            )
            _legend(above)
        _score_axis(
            above, [*scores.values(), *([] if majority is None else [majority])]
        )
        above.set_ylabel(score)
        _draw_loss(below, losses)
        below.set_xlabel("step")
    return [path.with_suffix(kind) for kind in KINDS]


def overlay(
    path: Path, title: str, lines: Sequence[Line], score: str = "development score"
) -> list[Path]:
    """Draws the scores and the losses of several groups of runs over one another.

    Args:
      path: where to, without the suffix.
      lines: those to draw; at most MOST_LINES, the first ones, are.

    Returns:
      The paths of the PNG and the PDF.
    """
    drawn = lines[:MOST_LINES]
    if len(drawn) < len(lines):
        title += f" (the best {len(drawn)} of {len(lines)})"
    height = 3.8 + 0.2 * -(-len(drawn) // 2)
    with _figure(path, title, (9.6, height), (1, 2)) as (left, right):
        for i, line in enumerate(drawn):
            style = {
                "color": COLOURS[i % len(COLOURS)],
                "linestyle": DASHES[i // len(COLOURS)],
            }
            n = f" (n = {len(line.scores)})" if len(line.scores) > 1 else ""
            marks = {"marker": MARKS[i % len(MARKS)], "markersize": 4}
            _draw(left, line.scores, {**style, **marks, "label": line.name + n})
            _draw(right, [_smoothed(losses) for losses in line.losses], style)
        means = [_mean(line.scores) for line in drawn]
        _score_axis(left, [value for mean in means for value in mean.values()])
        left.set(xlabel="step", ylabel=score)
        right.set(xlabel="step", ylabel=LOSS)
        _from_zero(right)
        if drawn:
            place = {"loc": "outside lower center", "borderaxespad": 0.2}
            left.figure.legend(ncols=min(2, len(drawn)), frameon=False, **place)
    return [path.with_suffix(kind) for kind in KINDS]


def bars(
    path: Path,
    title: str,
    scores: Mapping[str, Sequence[float]],
    majority: float | None,
    score: str = "score",
) -> list[Path]:
    """Draws a bar for the mean of each group of runs, and one for the majority class.

    Args:
      path: where to, without the suffix.
      scores: name -> the score of each of its runs; several have a whisker of a sample
        deviation.
      majority: the most frequent class's score, or None.
      score: what the score is, for its axis.

    Returns:
      The paths of the PNG and the PDF.
    """
    given = {} if majority is None else {"majority class": [majority]}
    shown = {name: values for name, values in {**given, **scores}.items() if values}
    names = [textwrap.fill(name, **_NAME) for name in shown]
    more = sum(name.count("\n") for name in names)
    size = (6.4, 1.3 + 0.4 * len(shown) + 0.2 * more)
    with _figure(path, title, size, (1, 1)) as (panel,):
        for i, (name, values) in enumerate(shown.items()):
            mean = float(np.mean(values))
            around = float(np.std(values, ddof=1)) if len(values) > 1 else None
            color = GREY if name in given else BLUE
            panel.barh(i, mean, height=0.6, color=color, xerr=around, capsize=3)
            told = f" {mean:.1f}" if around is None else f" {mean:.1f} ± {around:.1f}"
            panel.text(mean + (around or 0), i, told, va="center")
        panel.set_yticks(range(len(shown)), names)
        panel.invert_yaxis()
        panel.grid(visible=False, axis="y")
        if all(0 <= np.mean(values) <= 100 for values in shown.values()):
            panel.set_xlim(0, 115)
            panel.set_xticks(range(0, 101, 20))
        panel.set_xlabel(score)
    return [path.with_suffix(kind) for kind in KINDS]


KINDS = (".png", ".pdf")
# A long name leaves room for its bar.
_NAME: dict[str, Any] = {"width": 34, "max_lines": 3, "placeholder": " …"}


@contextlib.contextmanager
def _figure(
    path: Path, title: str, size: tuple[float, float], grid: tuple[int, int]
) -> Iterator[Sequence[Any]]:
    """The panels of a figure, which is written once they are drawn."""
    from matplotlib.figure import Figure  # takes half a second; only needed here
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(*grid, sharex=True, squeeze=False).flat)
    figure.suptitle(title, fontsize="medium")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.margins(x=0.02)
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    yield panels
    figure.align_ylabels()
    write(figure, path)


def write(figure: Any, path: Path) -> list[Path]:
    """Writes a figure as PNG and PDF, and returns their paths.

    Args:
      path: where to, without the suffix.
    """
    import matplotlib

    # Text stays text in the PDF; without its date, equal runs draw equal files.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for kind in KINDS:
            dated = {"CreationDate": None} if kind == ".pdf" else {}
            with atomic(path.with_suffix(kind)) as temporary:
                figure.savefig(temporary, format=kind[1:], dpi=150, metadata=dated)
    return [path.with_suffix(kind) for kind in KINDS]


def _legend(panel: Any) -> None:
    """Above the panel, where it hides no point."""
    panel.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0
    )


def _score_axis(panel: Any, values: Sequence[float]) -> None:
    """0 to 100 for percentages, with room for a point at either end."""
    share = 0 < max(values, default=0) <= 1
    if all(0 <= value <= 100 for value in values) and not share:
        panel.set_ylim(-4, 104)
        panel.set_yticks(range(0, 101, 20))
    else:
        panel.margins(y=0.06)


def _draw_loss(panel: Any, losses: Mapping[int, float]) -> None:
    """Each step's loss, and their running mean."""
    window = _window(losses)
    each = {"color": ORANGE, "alpha": 0.3, "linewidth": 0.8}
    few = {"marker": "o", "markersize": 4} if len(losses) < 3 else {}
    panel.plot([*losses], [*losses.values()], **each, **few)
    smooth = _smoothed(losses)
    label = f"mean of {window} steps"
    panel.plot([*smooth], [*smooth.values()], color=ORANGE, label=label)
    panel.set_ylabel(LOSS)
    _from_zero(panel)
    if window > 1:
        _legend(panel)


def _from_zero(panel: Any) -> None:
    """An axis from 0, with room for a line along it."""
    top = panel.get_ylim()[1]
    panel.set_ylim(-0.03 * top, top)


def _draw(panel: Any, runs: Sequence[Mapping[int, float]], style: dict) -> None:
    """The mean of several runs over the steps that all have, in a band."""
    mean = _mean(runs)
    panel.plot([*mean], [*mean.values()], **style)
    if len(runs) > 1 and mean:
        around = [np.std([run[step] for run in runs], ddof=1) for step in mean]
        low, high = (np.add([*mean.values()], np.multiply(s, around)) for s in (-1, 1))
        panel.fill_between(
            [*mean], low, high, color=style["color"], alpha=0.15, linewidth=0
        )


def _mean(runs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    common = [
        step for step in (runs[0] if runs else ()) if all(step in r for r in runs)
    ]
    return {step: float(np.mean([run[step] for run in runs])) for step in common}


def _window(losses: Mapping[int, float]) -> int:
    return max(1, len(losses) // 50)


def _smoothed(losses: Mapping[int, float]) -> dict[int, float]:
    """The running mean over a fiftieth of the steps, at the last of them."""
    window, steps = _window(losses), [*losses]
    means = running_mean([*losses.values()], window)
    return dict(zip(steps[window - 1 :], means, strict=True))


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each `window` values in a row."""
    sums, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        sums.append(total / window)
    return sums[window - 1 :]
