"""What a run shows at its end: the table of scores and the learning curve."""

from collections.abc import Sequence
from pathlib import Path

from prompt_tuning.outputs import atomic


def table(
    rows: Sequence[Sequence[str | float | None]],
    columns: Sequence[str] = ("untrained prompt", "trained prompt"),
) -> str:
    """Rows of strings and numbers as text columns; None is "-".

    Args:
      rows: task, metric, score of the majority class, a score for each of `columns`.
    """
    header = ["task", "metric", "majority class", *columns]
    cells = [header] + [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.1f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    words = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
    numbers = [f"{c:>{w}}" for c, w in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers).rstrip()


def learning_curve(
    path: Path,
    title: str,
    training: Sequence[dict],
    development: Sequence[dict],
    majority: float | None,
) -> None:
    """Draws loss and development score over the steps as a PNG.

    Args:
      training: {"step", "loss"} of each step; loss in nats a target token.
      development: {"step", "score"} of each evaluation; score in percent.
      majority: score of the most frequent class, drawn as a line; None for none.
    """
    from matplotlib.figure import Figure  # half a second that only this needs

    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.subplots()
    steps = [line["step"] for line in training]
    values = [line["loss"] for line in training]
    window = max(1, len(values) // 50)
    losses.plot(steps, values, color="tab:blue", alpha=0.25, linewidth=0.8)
    losses.plot(
        steps[window - 1 :],
        _running_mean(values, window),
        color="tab:blue",
        label=f"training loss (mean of {window})",
    )
    losses.set(title=title, xlabel="step", ylabel="loss (nats per target token)")
    losses.set_ylim(bottom=0)
    scores = losses.twinx()
    scores.plot(
        [line["step"] for line in development],
        [line["score"] for line in development],
        color="tab:orange",
        marker="o",
        markersize=3,
        label="development score",
    )
    if majority is not None:
        scores.axhline(majority, color="grey", linestyle=":", label="majority class")
    scores.set(ylim=(0, 100), ylabel="score (%)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    sums, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        sums.append(total / window)
    return sums[window - 1 :]
