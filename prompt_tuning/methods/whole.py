"""Model tuning: trains every weight (the paper's baseline, and pre-training)."""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra

UNREAD = ("PROMPT_",)  # there is no prompt


def method(settings: Settings) -> methods.Method:
    """Trains the parameter tree."""
    del settings

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Any:
        del key, start
        return trainable(frozen)

    def bind(trained: Any, frozen: Any) -> tuple[Any, Extra]:
        del frozen
        return trained, Extra()

    return methods.Method(init, bind, bind, shares=False)


def trainable(frozen: Any) -> Any:
    """The weights themselves, to be trained.

    Raises:
      UserError: they are stored in another type than float32.
    """
    kept = {x.dtype for x in jax.tree.leaves(frozen)} - {jnp.dtype("float32")}
    if kept:
        raise UserError(
            "METHOD trains the weights, but T5Config.param_dtype is "
            f"{' and '.join(map(str, kept))}: weights are trained in float32; set it "
            "to float32"
        )
    return frozen
