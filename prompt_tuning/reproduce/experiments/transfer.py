"""Tables 1 and 2: trained on one domain or task, asked others without training.

    prompt-tuning reproduce table1 table2 --scale=pocket

Checkpoints are chosen on the development split of what was trained on (footnote 11).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Model, Scale, of_tasks, tuned
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import Place, Table, build, with_difference

DIFFERENCE = "prompt less model"
F1 = "f1"


def _methods(model: Model) -> dict[str, dict[str, Any]]:
    return {paper.MODEL: tuned(model), paper.PROMPT: {}}


def _domains(scale: Scale) -> dict[str, str]:
    """{domain: task}, the one trained on first."""
    return {"SQuAD": scale.tasks.question, **scale.tasks.domains}


def _by_both(
    scale: Scale, row: str, trains: str, asks: Sequence[str]
) -> tuple[Cell, ...]:
    """Trained on one task by each of the two methods, and asked others."""
    model = scale.models[-1]
    return tuple(
        cell
        for column, settings in _methods(model).items()
        for cell in of_tasks(scale, row, column, model, [trains], asks=asks, **settings)
    )


def _cells_1(scale: Scale) -> tuple[Cell, ...]:
    asks = [*_domains(scale).values()]
    return _by_both(scale, scale.models[-1].name, scale.tasks.question, asks)


def _table_1(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    names = _domains(scale)

    def places(outcome: Outcome) -> Mapping[Place, tuple[str, ...]]:
        return {
            (name, outcome.cell.column): (f"{task}/{F1}",)
            for name, task in names.items()
        }

    found = build(
        DOMAIN_SHIFT.title,
        f"F1 of {scale.models[-1].name}, trained on the first row's domain and asked "
        "all. The paper does not say its model's size",
        outcomes,
        places,
        **paper.TABLE_1.beside(),
    )
    return with_difference(found, paper.PROMPT, paper.MODEL, DIFFERENCE)


def _cells_2(scale: Scale) -> tuple[Cell, ...]:
    return tuple(
        cell
        for way in scale.tasks.paraphrases
        for cell in _by_both(
            scale, f"{way.source} to {way.target}", way.trains, [way.asks]
        )
    )


def _table_2(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    metrics = {"accuracy": "accuracy", "F1": F1}

    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        row, column, (task,) = outcome.cell.row, outcome.cell.column, outcome.cell.asks
        return {
            (f"{row}, {told}", column): (f"{task}/{name}",)
            for told, name in metrics.items()
        }

    found = build(
        PARAPHRASES.title,
        f"{scale.models[-1].name}, trained on one task of paraphrases and asked the "
        "other",
        outcomes,
        places,
        **paper.TABLE_2.beside(),
    )
    return with_difference(found, paper.PROMPT, paper.MODEL, DIFFERENCE)


DOMAIN_SHIFT = Experiment(
    "table1", "Domain shift", "section 5, Table 1", _cells_1, _table_1
)
PARAPHRASES = Experiment(
    "table2",
    "Transfer between paraphrase tasks",
    "section 5, Table 2",
    _cells_2,
    _table_2,
)
