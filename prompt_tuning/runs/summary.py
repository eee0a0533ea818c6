"""Tells, writes and draws how several runs compare."""

from collections.abc import Sequence
from pathlib import Path

from prompt_tuning import outputs
from prompt_tuning.runs import compare, figures, parts
from prompt_tuning.runs.compare import Row

NAME = "summary"  # of the files, .json, .png and .pdf


def tell(rows: Sequence[Row], path: Path) -> None:
    """Prints the rows as a table; writes summary.json, .png and .pdf into a folder."""
    print(f"\n{compare.text(rows)}\n", flush=True)
    file = path / f"{NAME}.json"
    outputs.write_json(file, compare.summary(rows))
    drawn = figures.overlay(path / NAME, title(rows), lines(rows), score(rows))
    for name, one in zip(("table", "curves", ""), (file, *drawn), strict=True):
        print(f"{name:<15} {one}", flush=True)


def title(rows: Sequence[Row]) -> str:
    """The task and the frozen model, where all runs have the same."""
    runs = [run.settings.run for row in rows for run in row.runs]
    found = [
        {run.mixture_or_task_name for run in runs},
        {parts.short_name(run) for run in runs},
    ]
    return " on ".join(one.pop() for one in found if len(one) == 1)


def score(rows: Sequence[Row]) -> str:
    """What the runs' scores are, for an axis."""
    runs = [run for row in rows for run in row.done]
    asked = compare.metrics(rows)
    name = asked[0] if len(asked) == 1 else "development score"
    values = [(run.score, *run.metrics.values()) for run in runs if run.score]
    negated = any(len(one) == 2 and one[0] == -one[1] for one in values)
    return name + "\n(less is better: negated)" * negated


def lines(rows: Sequence[Row]) -> list[figures.Line]:
    """The rows' curves, the best ones first where there are too many to draw."""
    begun = [row for row in rows if any(run.scores for run in row.runs)]
    if len(begun) > figures.MOST_LINES:
        means = [compare.spread(row.scores()) for row in begun]
        best = [mean.mean if mean else float("-inf") for mean in means]
        begun = [begun[i] for i in sorted(range(len(begun)), key=lambda i: -best[i])]
    return [
        figures.Line(
            row.name,
            [run.scores for run in row.runs if run.scores],
            [run.losses for run in row.runs if run.losses],
        )
        for row in begun
    ]
