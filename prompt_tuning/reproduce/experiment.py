"""An experiment: a table or figure of the paper, as its cells and what they make."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from prompt_tuning.reproduce.grid import Cell, Scale
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import Table


class Experiment(NamedTuple):
    """A table or figure of the paper.

    name: as the command takes it. section: where it is in the paper. cells: () for what
    is computed, not run. derived: outcomes computed from those of the cells, such as an
    ensemble's votes; what it has computed is kept. table: made of all these outcomes.
    """

    name: str
    title: str
    section: str
    cells: Callable[[Scale], tuple[Cell, ...]]
    table: Callable[[Scale, Sequence[Outcome]], Table]
    derived: Callable[[Scale, Sequence[Outcome]], Sequence[Outcome]] | None = None


def no_cells(scale: Scale) -> tuple[Cell, ...]:
    """Of what is computed."""
    del scale
    return ()
