"""The frozen models of a scale by their number of parameters: the figures' axis."""

from collections.abc import Sequence
from typing import Any

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description
from prompt_tuning.reproduce.grid import GIN_FILE, Model, Scale
from prompt_tuning.reproduce.outcomes import Outcome, parameters
from prompt_tuning.reproduce.table import Axis, Table, build
from prompt_tuning.settings import T5Config


def by_size(
    scale: Scale,
    title: str,
    caption: str,
    outcomes: Sequence[Outcome],
    unit: str,
    **more: Any,
) -> Table:
    """A table of outcomes by frozen model, and its axis.

    Args:
      unit: of the values. more: other fields of Table.
    """
    at = {model.name: size(model) for model in scale.models}
    axis = Axis({n: s for n, s in at.items() if s}, "parameters of the model", unit)
    return build(title, caption, outcomes, axis=axis, **more)


def size(model: Model) -> float:
    """The number of parameters; 0 if the model is not there."""
    try:
        return float(parameters(config_of(model)))
    except UserError:
        return 0.0


def config_of(model: Model) -> T5Config:
    """The shape of a frozen model, by its gin file or its own.

    Raises:
      UserError: it has none, and is not there.
    """
    files = model.settings.get(GIN_FILE, ())
    found = config.load([files] if isinstance(files, str) else list(files))
    return description.config(model.stages[100], found.model)
