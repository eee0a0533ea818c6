"""What became of a cell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from prompt_tuning.reproduce.grid import Cell


class Outcome(NamedTuple):
    """A cell's run: its state and what it measured."""

    cell: Cell
    folder: str
    state: str
    reason: str = ""
    metrics: Mapping[str, float] = {}
    curve: tuple[tuple[int, float], ...] = ()
    facts: Mapping[str, Any] = {}
