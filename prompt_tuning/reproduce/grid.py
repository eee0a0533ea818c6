"""A grid is data: cells, and the experiments that they belong to."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A run: the settings that vary, and what is measured."""

    row: str
    column: str
    seed: int
    settings: Mapping[str, Any]
    asks: tuple[str, ...]


class Scale(NamedTuple):
    """The models, tasks and settings that a grid is made of."""

    name: str
    models: tuple[Any, ...]
    tasks: Any
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]


class Experiment(NamedTuple):
    """A table or figure of the paper."""

    name: str
    title: str
    section: str
    cells: Callable[..., tuple[Cell, ...]]
    table: Callable[..., Any]
