"""Figure 1: the score of prompt, model and multi-task model tuning, by model size.

    prompt-tuning reproduce fig1 --scale=pocket

The paper's fourth line, prompt design, is GPT-3's; it prints no numbers of it.
"""

from collections.abc import Iterator, Sequence

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Model, Scale, of_tasks, tuned
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.sizes import by_size
from prompt_tuning.reproduce.table import Table


def cells(scale: Scale) -> tuple[Cell, ...]:
    """Three lines for each model."""
    return tuple(cell for model in scale.models for cell in _of(scale, model))


def _of(scale: Scale, model: Model) -> Iterator[Cell]:
    row = model.name
    yield from of_tasks(scale, row, paper.PROMPT, model)
    yield from of_tasks(scale, row, paper.MODEL, model, **tuned(model))
    yield from of_tasks(
        scale,
        row,
        paper.MULTI,
        model,
        [scale.tasks.mixture],
        asks=[*scale.tasks.named.values()],
        **tuned(model),
        **scale.mixed,
    )


def table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    """The score at each size."""
    return by_size(
        scale,
        EXPERIMENT.title,
        "Mean score over the tasks of the suite. Prompt tuning keeps the LM-adapted "
        "model frozen; model tuning trains the one of span corruption, on one task or "
        "on all of them",
        outcomes,
        "score",
        later=paper.SPOT_SIZES.values,
    )


EXPERIMENT = Experiment(
    "fig1", "Prompt tuning, model tuning and size", "Figure 1", cells, table
)
