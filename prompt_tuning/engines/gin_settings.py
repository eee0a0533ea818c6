"""Settings of gin's own global state, for engines that live by it, as T5X does.

gin-config reads every file of gin/runs and gin/models once our sections are known:

    register_with_gin()
    gin.parse_config_file("gin/runs/prompt_tune.gin")
    settings = from_gin()  # what config.load makes of the same file
"""

import functools
from typing import Any

import gin

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.settings import SECTIONS, Settings

# Steps are T5X's affair as a macro alone: none at all is an evaluation there.
_MACROS = config.MACROS - {"TRAIN_STEPS"}


@functools.cache  # a locked gin would take nothing more
def register_with_gin() -> None:
    """Makes the sections of our settings known to gin, by the names users call them."""
    for name, (section, _) in SECTIONS.items():
        gin.external_configurable(section, name=name, module="prompt_tuning.settings")


def from_gin() -> Settings:
    """The settings that gin has bound: fields of our sections, and macros.

    A macro whose name is that of a field of Run in capitals sets it, SEED for Run.seed.

    Raises:
      UserError: a value makes no sense, or a field and its macro say different things.
    """
    register_with_gin()
    with gin.config_scope(None):  # T5X builds each data set in a scope of its own
        values = {name: gin.get_bindings(kind) for name, (kind, _) in SECTIONS.items()}
        macros = {name.lower(): _macro(name) for name in _MACROS if _is_bound(name)}
    run = values["Run"]
    for field, value in macros.items():
        if run.setdefault(field, value) != value:
            raise UserError(
                f"{field.upper()} is {value!r} and Run.{field} is {run[field]!r}; give "
                f"one of them, or bind Run.{field} = %{field.upper()}"
            )
    made: dict[str, Any] = {
        held: kind(**values[name]) for name, (kind, held) in SECTIONS.items()
    }
    made["model"] = values["T5Config"]
    return Settings(**made)


def _is_bound(macro: str) -> bool:
    try:
        gin.query_parameter(f"%{macro}")
    except ValueError:
        return False
    return True


def _macro(name: str) -> Any:
    with gin.config_scope(name):
        return gin.get_configurable("gin.macro")()
