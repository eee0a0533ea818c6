"""Figure 3: what matters to prompt tuning, by model size.

    prompt-tuning reproduce fig3a fig3b fig3c fig3d --scale=pocket

(a) the prompt's length, (b) how it starts, (c) what the frozen model was pre-trained
on, (d) how long it was adapted. All else is at the default.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Model, Scale, adapted, of_tasks
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.sizes import by_size
from prompt_tuning.reproduce.table import Table

Lines = Mapping[str, Mapping[str, Any]]  # {a line of the figure: its settings}
INITS = {
    paper.UNIFORM: "random_uniform",
    paper.VOCABULARY: "sampled_vocab",
    paper.LABELS: "class_label",
}
SENTINEL = "sentinel"  # among a line's settings: its tasks have one in front


def _lengths(scale: Scale, model: Model) -> Lines:
    del model
    return {str(length): {"PROMPT_LENGTH": length} for length in scale.lengths}


def _inits(scale: Scale, model: Model) -> Lines:
    del scale, model
    return {name: {"PROMPT_INIT": init} for name, init in INITS.items()}


def _objectives(scale: Scale, model: Model) -> Lines:
    del scale
    return {
        paper.CORRUPTION: adapted(model, 0),
        paper.SENTINEL: {**adapted(model, 0), SENTINEL: True},
        paper.ADAPTED: adapted(model, 100),
    }


def _stages(scale: Scale, model: Model) -> Lines:
    del scale
    return {str(percent): adapted(model, percent) for percent in sorted(model.stages)}


def _cells(scale: Scale, lines: Callable[[Scale, Model], Lines]) -> tuple[Cell, ...]:
    found: list[Cell] = []
    for model in scale.models:
        for column, settings in lines(scale, model).items():
            marked = SENTINEL in settings
            suite = scale.tasks.sentinel if marked else scale.tasks.suite
            tasks = [*suite.values()]
            settings = {k: v for k, v in settings.items() if k != SENTINEL}
            found += of_tasks(scale, model.name, column, model, tasks, **settings)
    return tuple(found)


def _table(
    scale: Scale, outcomes: Sequence[Outcome], title: str, caption: str
) -> Table:
    return by_size(scale, title, caption, outcomes, "score")


def _experiment(
    part: str, title: str, caption: str, lines: Callable[[Scale, Model], Lines]
) -> Experiment:
    told = f"{title} by size. Mean score over the tasks of the suite. {caption}"
    return Experiment(
        f"fig3{part}",
        title,
        f"section 3.2, Figure 3({part})",
        functools.partial(_cells, lines=lines),
        functools.partial(_table, title=title, caption=told),
    )


EXPERIMENTS = (
    _experiment("a", "Prompt length", "Columns are lengths in tokens", _lengths),
    _experiment(
        "b",
        "Prompt initialisation",
        "Columns are initialisers; class labels are filled up with words of the "
        "vocabulary",
        _inits,
    ),
    _experiment(
        "c",
        "Pre-training objective",
        "Columns are what the frozen model was trained on; with a sentinel, each "
        "target begins with the one that span corruption uses",
        _objectives,
    ),
    _experiment(
        "d",
        "LM adaptation",
        "Columns are percent of the steps of LM adaptation (the paper's 0, 10K, 50K "
        "and 100K)",
        _stages,
    ),
)
