"""Section 7: what trained prompts lie next to, by how they started.

    prompt-tuning reproduce neighbours --scale=pocket

Each measure stands beside the same of random vectors of the same norms.
"""

from collections.abc import Sequence
from pathlib import Path

from prompt_tuning.reading import report, subject
from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.experiments.fig3 import INITS
from prompt_tuning.reproduce.grid import Cell, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import NUMBER, TEST, Place, Table, build
from prompt_tuning.runs import results, trained
from prompt_tuning.training import folder

NEAREST = 5  # pieces of each position, as in the paper
READ = "read"  # the column of what was read of a run
OURS, RANDOM = "this prompt", "random vectors"  # of reading.report
# Of reading.neighbours.Counts: the column of ours, and of random vectors.
MEASURES = {
    "in_clusters": (paper.CLUSTERED, paper.CLUSTERED_RANDOM),
    "labels": (paper.LABELLED, paper.LABELLED_RANDOM),
    "cosine": ("cosine", "cosine, random vectors"),
    "tightness": ("among themselves", "among themselves, random vectors"),
}


def _cells(scale: Scale) -> tuple[Cell, ...]:
    model = scale.models[-1]
    return tuple(
        cell
        for name, init in INITS.items()
        for cell in of_tasks(
            scale, name, "", model, [scale.tasks.timed], PROMPT_INIT=init
        )
    )


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
    settings = folder.kept_settings(Path(path, results.SETTINGS))
    source = trained.find("", path)
    found = report.of_prompt(subject.read(source, settings, True, True), NEAREST)
    counts = found["counts"]
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
        f"Prompts of {scale.models[-1].name} on {scale.tasks.timed}, by how they "
        f"started: of the {NEAREST} nearest pieces of each position by cosine, the "
        "share in lexical clusters and the number of label words among them; the "
        "cosine of the nearest, and of the pieces among themselves. Each stands beside "
        "that of random vectors of the same norms",
        read,
        places,
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
