"""The authors' later findings (SPoT, arXiv 2110.07904): longer, and from another task.

prompt-tuning reproduce spot --scale=pocket
"""

from collections.abc import Iterator, Sequence

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import After, Cell, Model, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import SCORE, Outcome
from prompt_tuning.reproduce.table import Place, Table, build
from prompt_tuning.settings import Run

SOURCE = "trained first"  # the row of the prompts that others start from


def _model(scale: Scale) -> Model:
    """Base, the second, where SPoT has it; of a family its smallest."""
    named = [model for model in scale.models if model.name == "Base"]
    return (named or scale.models)[0]


def _steps(scale: Scale) -> int:
    return int(scale.settings.get("TRAIN_STEPS", Run.train_steps))


def _cells(scale: Scale) -> tuple[Cell, ...]:
    found: list[Cell] = []
    for name, task in scale.tasks.suite.items():
        found += _of_task(scale, name, task)
    return tuple(found)


def _of_task(scale: Scale, column: str, task: str) -> Iterator[Cell]:
    model, source = _model(scale), scale.tasks.source
    usual, longer = f"{_steps(scale):,} steps", f"{scale.longer:,} steps"
    yield from of_tasks(scale, usual, column, model, [task])
    yield from of_tasks(scale, longer, column, model, [task], TRAIN_STEPS=scale.longer)
    if source == task:
        return
    firsts = of_tasks(scale, SOURCE, source, model, [source], asks=())
    for first in firsts:
        start = {"PROMPT_INIT": "file", "PROMPT_FILE": After(first)}
        row, seeds = f"from {_called(source)}", [first.seed]
        yield first
        yield from of_tasks(scale, row, column, model, [task], seeds, **start)


def _called(source: str) -> str:
    return "MNLI" if source == "mnli_and_dev" else source


def _table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        cell = outcome.cell
        metric = tuple(f"{task}/{SCORE}" for task in cell.asks)
        return {(cell.row, cell.column): metric, (cell.row, paper.SCORE): metric}

    asked = [one for one in outcomes if one.cell.row != SOURCE]
    found = build(
        EXPERIMENT.title,
        f"Prompts of {_model(scale).name}, by steps, and from the prompt of another "
        "task; the last column is the mean over the tasks",
        asked,
        places,
        **paper.SPOT_BASE.beside("later"),
    )
    columns = [one for one in found.columns if one != paper.SCORE]
    return found._replace(columns=(*columns, paper.SCORE))


EXPERIMENT = Experiment(
    "spot",
    "Longer tuning, and transfer of prompts",
    "SPoT, Tables 1 and 4",
    _cells,
    _table,
)
