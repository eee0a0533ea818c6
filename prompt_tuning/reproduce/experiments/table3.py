"""Table 3: five prompts of one frozen model: their average, the best, their vote.

prompt-tuning reproduce table3 --scale=pocket
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import SCORE, Outcome, flat
from prompt_tuning.reproduce.table import DEVELOPMENT, Place, Table, build
from prompt_tuning.runs import parts
from prompt_tuning.serving import ensemble_report, members
from prompt_tuning.training.task import Metrics


def _cells(scale: Scale) -> tuple[Cell, ...]:
    model = scale.models[-1]
    return tuple(
        cell
        for name, task in scale.tasks.suite.items()
        for cell in of_tasks(scale, name, paper.AVERAGE, model, [task], scale.members)
    )


def _derived(scale: Scale, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best prompt of each task, and the vote of all."""
    found = []
    for name, task in scale.tasks.suite.items():
        of_task = [one for one in outcomes if one.cell.row == name]
        for column, metrics in _of(scale, of_task):
            cell = Cell(name, column, 0, {}, (task,))
            state = states.DONE if metrics else states.MISSING
            found.append(Outcome(cell, "", state, metrics=metrics))
    return found


def _of(
    scale: Scale, outcomes: Sequence[Outcome]
) -> Iterator[tuple[str, Mapping[str, float]]]:
    done = [one for one in outcomes if one.state == states.DONE]
    whole = done and len(done) == len(outcomes)
    yield paper.BEST, best(done) if whole else {}
    yield paper.ENSEMBLE, _voted(scale, done) if whole else {}


def best(done: Sequence[Outcome]) -> Mapping[str, float]:
    """The metrics of the prompt that is the best on the development split."""
    (task,) = done[0].cell.asks
    return max(
        done, key=lambda one: one.metrics[f"{DEVELOPMENT}/{task}/{SCORE}"]
    ).metrics


def _voted(scale: Scale, done: Sequence[Outcome]) -> Mapping[str, float]:
    """The metrics of the majority's answers, on each split."""
    settings = states.read(Path(done[0].folder)).settings
    paths = [one.folder for one in done]
    loaded = members.load(settings, paths)
    task = parts.open_task(settings.run, loaded.model.vocabulary)
    answers: dict[str, Metrics] = {}
    for name in scale.splits:
        split = task.load(name, parts.input_length(settings.run))
        said = members.answer(loaded, split, settings.run.batch_size)
        found, _ = ensemble_report.results(split, paths, said)
        answers[name] = found["vote"]["metrics"]
    return flat(answers)


def _table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        (task,), column = outcome.cell.asks, outcome.cell.column
        metric = (f"{task}/{SCORE}",)
        return {(outcome.cell.row, column): metric, (paper.SCORE, column): metric}

    found = build(
        EXPERIMENT.title,
        f"{len(scale.members)} prompts of {scale.models[-1].name} a task. Of two "
        "metrics the mean; the best is the best on the development split. The paper's "
        "mean over tasks is SuperGLUE's",
        outcomes,
        places,
        **paper.TABLE_3.beside(),
    )
    rows = [row for row in found.rows if row != paper.SCORE]
    return found._replace(rows=(*rows, paper.SCORE))


EXPERIMENT = Experiment(
    "table3", "Prompt ensembles", "section 6, Table 3", _cells, _table, _derived
)
