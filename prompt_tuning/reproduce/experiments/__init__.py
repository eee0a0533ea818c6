"""The experiments by name, a file each, or one for those that differ in a word."""

from collections.abc import Sequence

from prompt_tuning.errors import UserError
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.experiments import (
    data,
    fig1,
    fig2,
    fig3,
    methods,
    neighbours,
    parameters,
    spot,
    table3,
    table5,
    transfer,
)

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        fig1.EXPERIMENT,
        fig2.EXPERIMENT,
        *fig3.EXPERIMENTS,
        parameters.FIGURE_4,
        transfer.DOMAIN_SHIFT,
        transfer.PARAPHRASES,
        table3.EXPERIMENT,
        parameters.TABLE_4,
        *table5.EXPERIMENTS,
        data.SIZES,
        data.LABELS,
        neighbours.EXPERIMENT,
        spot.EXPERIMENT,
        methods.EXPERIMENT,
    )
}
GROUPS: dict[str, tuple[str, ...]] = {
    # Without what is not the authors' and takes longer than all of theirs.
    "all": tuple(name for name in EXPERIMENTS if name != methods.EXPERIMENT.name),
    "fig3": ("fig3a", "fig3b", "fig3c", "fig3d"),
    "table7-16": ("table7", "table8-16"),
}


def named(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, each once, in the paper's order.

    Raises:
      UserError: there is none of a name.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in EXPERIMENTS:
            raise UserError(
                f"there is no experiment {name!r}; there are "
                f"{', '.join((*GROUPS, *EXPERIMENTS))}"
            )
        wanted |= {*GROUPS.get(name, (name,))}
    return [one for name, one in EXPERIMENTS.items() if name in wanted]
