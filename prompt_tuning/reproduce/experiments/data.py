"""Tables 7 to 16: sizes of splits and shares of labels, of the data at hand. Computed.

prompt-tuning reproduce table7-16 --scale=english --data_dir=D
"""

import collections
from collections.abc import Iterator, Sequence

from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import grid, paper
from prompt_tuning.reproduce.experiment import Experiment, no_cells
from prompt_tuning.reproduce.grid import Cell, Scale
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import NUMBER, PERCENT, TEST, Place, Table, build
from prompt_tuning.runs import parts
from prompt_tuning.training.task import Split, Task

EXAMPLES = "examples"


def read(scale: Scale) -> list[Outcome]:
    """An outcome for each split of each task: its examples, and its labels' shares.

    It is read each time: nothing would say that the data has changed.
    """
    return [
        outcome
        for name, task in scale.tasks.described.items()
        for outcome in _of_task(scale, name, task)
    ]


def _of_task(scale: Scale, name: str, task: str) -> Iterator[Outcome]:
    cell = Cell(name, "", 0, {**scale.models[0].settings, grid.TASK: task}, (task,))
    run = grid.settings_of(scale, cell).run
    cell, opened = cell._replace(settings={}), None
    for split in (paper.TRAIN, paper.VALIDATION, paper.TEST):
        here = cell._replace(column=split)
        try:
            opened = opened or parts.open_task(
                run, load_vocabulary(parts.vocabulary_name(run))
            )
            if split in opened.splits:
                words = opened.label_words() or ()
                metrics = described(opened, opened.load(split), words)
                found = {f"{TEST}/{task}/{k}": v for k, v in metrics.items()}
                yield Outcome(here, "", states.DONE, metrics=found)
        except Exception as error:
            if not getattr(error, "user_message", False):
                raise
            yield Outcome(here, "", states.FAILED, str(error))


def described(task: Task, split: Split, words: Sequence[str]) -> dict[str, float]:
    """The number of examples, and the percent of them with each label.

    Without shares where the labels are not public.
    """
    examples = split.examples
    counts = collections.Counter(
        task.vocabulary.decode([int(i) for i in row]) for row in examples.targets
    )
    found = {EXAMPLES: float(len(examples))}
    if any(counts[word] for word in words):
        found |= {word: 100 * counts[word] / len(examples) for word in words}
    return found


def _table_7(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        (task,) = outcome.cell.asks
        return {(outcome.cell.row, outcome.cell.column): (f"{task}/{EXAMPLES}",)}

    del outcomes
    return build(
        SIZES.title,
        "Examples as they are trained on and evaluated: ReCoRD has one for each right "
        "answer, in training and validation, WSC the true referents",
        read(scale),
        places,
        **paper.TABLE_7.beside(),
        form=NUMBER,
    )


def _tables_8_to_16(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        cell = outcome.cell
        names = [metric.rpartition("/")[2] for metric in outcome.metrics]
        if outcome.state == states.FAILED:  # where the paper has its labels
            known = paper.TABLES_8_TO_16.values
            names = [
                row.removeprefix(f"{cell.row}, ")
                for row, column in known
                if column == cell.column and row.startswith(f"{cell.row}, ")
            ]
        return {
            (f"{cell.row}, {name}", cell.column): (f"{cell.asks[0]}/{name}",)
            for name in names
            if name != EXAMPLES
        }

    del outcomes
    return build(
        LABELS.title,
        "Percent of the examples of a split that have each label. WSC's targets are "
        "names: `prompt-tuning tasks --check` counts its labels",
        read(scale),
        places,
        **paper.TABLES_8_TO_16.beside(),
        form=PERCENT,
    )


SIZES = Experiment(
    "table7", "Sizes of splits", "appendix B, Table 7", no_cells, _table_7
)
LABELS = Experiment(
    "table8-16",
    "Shares of labels",
    "appendix B, Tables 8 to 16",
    no_cells,
    _tables_8_to_16,
)
