"""Tells, writes and draws how several runs compare."""

from collections.abc import Sequence
from pathlib import Path

from prompt_tuning import outputs
from prompt_tuning.runs import compare, figures, parts
from prompt_tuning.runs.compare import Row

# Of the files: the table and the curves, and the scores as bars.
NAME, BARS = "summary", "scores"


def tell(rows: Sequence[Row], path: Path) -> None:
    """Prints the rows as a table; writes it and its pictures into a folder.

    summary.json is the table, summary.png and .pdf the curves, scores.png and .pdf the
    scores of the runs that are done, as bars.
    """
    print(f"\n{compare.text(rows)}\n", flush=True)
    file = path / f"{NAME}.json"
    outputs.write_json(file, compare.summary(rows))
    drawn = figures.overlay(path / NAME, title(rows), lines(rows), score(rows))
    named = {"table": file, "curves": drawn[0]}
    if scores := {name: x for name, row in named_rows(rows) if (x := row.scores())}:
        bars = figures.bars(
            path / BARS, title(rows), scores, majority(rows), score(rows)
        )
        named["scores"] = bars[0]
    for name, one in named.items():
        print(f"{name:<15} {one}", flush=True)


def named_rows(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The rows by name: of their folders, if each is one run and differs in much."""
    alone = {row.runs[0].folder.name for row in rows if len(row.runs) == 1}
    much = any(len(row.settings) > 2 for row in rows) and len(alone) == len(rows)
    return [(row.runs[0].folder.name if much else row.name, row) for row in rows]


def majority(rows: Sequence[Row]) -> float | None:
    """The majority class's score, if it is the same in all runs."""
    found = {run.majority for row in rows for run in row.done}
    return found.pop() if len(found) == 1 else None


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
    named = named_rows(rows)
    begun = [pair for pair in named if any(run.scores for run in pair[1].runs)]
    if len(begun) > figures.MOST_LINES:
        means = [compare.spread(row.scores()) for _, row in begun]
        best = [mean.mean if mean else float("-inf") for mean in means]
        begun = [begun[i] for i in sorted(range(len(begun)), key=lambda i: -best[i])]
    return [
        figures.Line(
            name,
            [run.scores for run in row.runs if run.scores],
            [run.losses for run in row.runs if run.losses],
        )
        for name, row in begun
    ]
