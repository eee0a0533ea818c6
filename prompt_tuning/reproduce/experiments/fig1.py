"""Figure 1: prompt, model and multi-task model tuning and prompt design, by model size.

    prompt-tuning reproduce fig1 --scale=pocket

Prompt design is GPT-3's in the paper, which prints no numbers of it; here it is of the
frozen models that prompts are tuned for.
"""

from collections.abc import Iterator, Sequence

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Model, Scale, of_tasks, tuned
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.sizes import by_size
from prompt_tuning.reproduce.table import Table


def cells(scale: Scale) -> tuple[Cell, ...]:
    """The lines for each model."""
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
    yield from _designed(scale, model)


def _designed(scale: Scale, model: Model) -> Iterator[Cell]:
    """With examples, which seeds draw; and with the instruction alone, once."""
    about = scale, model.name
    for task in scale.tasks.suite.values():
        if own := scale.tasks.designed.get(task):
            one = model, [task]
            yield from of_tasks(*about, paper.DESIGN, *one, **own, **scale.designed)
            once = {**own, "prompt_design.examples": 0}
            yield from of_tasks(
                *about, paper.DESIGN_ALONE, *one, scale.seeds[:1], **once
            )


def table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    """The score at each size."""
    return by_size(
        scale,
        EXPERIMENT.title,
        "Mean score over the tasks of the suite. Prompt tuning keeps the LM-adapted "
        "model frozen; model tuning trains the one of span corruption, on one task or "
        "on all of them. Prompt design trains nothing: an instruction and training "
        "examples stand in front of each input of the LM-adapted model, and the label "
        "words are scored, where other columns are decoded; in the paper it is GPT-3's",
        outcomes,
        "score",
        **paper.SPOT_SIZES.beside("later"),
    )


EXPERIMENT = Experiment(
    "fig1", "Prompt tuning, model tuning and size", "Figure 1", cells, table
)
