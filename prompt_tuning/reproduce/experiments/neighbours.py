"""Section 7: what trained prompts lie next to, by size, start and length.

    prompt-tuning reproduce neighbours --scale=pocket

Each measure stands beside the same of random vectors of the same norms. The runs are
those of Figures 3(a) and 3(b) that have the task of Table 5.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning.reading import report, subject
from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.experiments.fig3 import INITS
from prompt_tuning.reproduce.grid import Cell, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import NUMBER, TEST, Place, Table, build
from prompt_tuning.runs import trained
from prompt_tuning.settings import Run

NEAREST = 5  # pieces of each position, as in the paper
READ = "read"  # the column of what was read of a run
OURS, RANDOM = "this prompt", "random vectors"  # of reading.report
# Of reading.neighbours.Counts: the column of ours, and of random vectors.
MEASURES = {
    "in_clusters": (paper.CLUSTERED, paper.CLUSTERED_RANDOM),
    "labels": (paper.LABELLED, paper.LABELLED_RANDOM),
    "cosine": ("cosine", "cosine, random vectors"),
    "tightness": ("among themselves", "among themselves, random vectors"),
    "repeated": ("repeated", "repeated, random vectors"),
}


def _cells(scale: Scale) -> tuple[Cell, ...]:
    return tuple(
        cell
        for model in scale.models
        for name, settings in _prompts(scale)
        for cell in of_tasks(
            *(scale, f"{model.name}, {name}", "", model, [scale.tasks.timed]),
            **settings,
        )
    )


def _prompts(scale: Scale) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The starts at the usual length, then the other lengths from the usual start."""
    usual = int(scale.settings.get("PROMPT_LENGTH", Run.prompt_length))
    for name, init in INITS.items():
        yield f"{name}, {usual}", {"PROMPT_INIT": init}
    for length in scale.lengths:
        if length != usual:
            yield f"{paper.LABELS}, {length}", {"PROMPT_LENGTH": length}


def _derived(scale: Scale, outcomes: Sequence[Outcome]) -> list[Outcome]:
    del scale
    return [_read(one) for one in outcomes]


def _read(one: Outcome) -> Outcome:
    """What a finished run's prompt lies next to."""
    path, cell = one.folder, one.cell._replace(column=READ)
    # Without a folder: it is no run, but read of one.
    one = one._replace(cell=cell, folder="", metrics={}, curve=())
    if one.state != states.DONE:
        return one
    settings = states.read(Path(path)).settings
    source = trained.find("", path)
    found = report.of_prompt(subject.read(source, settings, True, True), NEAREST)
    counts = found["counts"]
    for each in counts.values():
        each["in_clusters"] *= 100
        each["repeated"] = 100 * (1 - each["distinct"] / found["length"])
    metrics = {
        f"{TEST}/{name} {which}": float(counts[which][name])
        for name in MEASURES
        for which in (OURS, RANDOM)
    }
    return one._replace(metrics=metrics, facts={})


def _table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    columns = {
        column: f"{name} {which}"
        for name, both in MEASURES.items()
        for column, which in zip(both, (OURS, RANDOM), strict=True)
    }

    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        return {(outcome.cell.row, c): (metric,) for c, metric in columns.items()}

    read = [one for one in outcomes if one.cell.column == READ]
    return build(
        EXPERIMENT.title,
        f"Prompts for {scale.tasks.timed}, by frozen model, start and length: of the "
        f"{NEAREST} nearest pieces of each position by cosine, the percentage in "
        "lexical clusters and the number of label words among them; the cosine of the "
        "nearest, and of the pieces among themselves; the percentage of positions "
        "whose nearest piece is that of an earlier one. Each stands beside that of "
        "random vectors of the same norms",
        read,
        places,
        selected={},  # a prompt is read, on no split
        form=NUMBER,
    )


EXPERIMENT = Experiment(
    "neighbours",
    "What prompts lie next to",
    "section 7",
    _cells,
    _table,
    _derived,
)
