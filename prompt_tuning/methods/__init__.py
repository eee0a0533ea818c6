"""Ways to adapt a frozen model: three pure functions each, a file a method.

    trained = method.init(key, frozen, start)
    params, extra = method.bind(trained, frozen)      # differentiated
    logits = model.apply({"params": params}, batch, extra)
    params, extra = method.fold(trained)              # what is shipped

No module elsewhere asks which method it is.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run
from prompt_tuning.t5.extra import Extra

NAMES = ("prompt", "whole", "prepended")


class Start(NamedTuple):
    """What a first state is made of, besides the frozen model.

    class_words: of the task, for the class-label initialiser; may be none.
    encode: a text to token ids, without EOS.
    prompt_PxD: the prompt to go on from (PROMPT_INIT=file), or None.
    """

    class_words: Sequence[str]
    encode: Callable[[str], Sequence[int]]
    prompt_PxD: np.ndarray | None = None


class Method(NamedTuple):
    """How a frozen model is adapted.

    init: (key, frozen, start) -> what is trained, a float32 tree. It may take arrays of
      `frozen` over: they are then trained, and frozen no more (`left_frozen`).
    bind: (trained, frozen) -> (the network's parameters, what else it takes in).
    fold: trained -> (parameters, extra) to be shipped, without what only training
      needs; the parameters are None where they are the frozen model's.
    """

    init: Callable[[jax.Array, Any, Start], Any]
    bind: Callable[[Any, Any], tuple[Any, Extra]]
    fold: Callable[[Any], tuple[Any, Extra]]


def of(run: Run) -> Method:
    """The method of a run.

    Raises:
      UserError: METHOD names none.
    """
    if run.method not in NAMES:
        raise UserError(
            f"METHOD is {run.method!r}; it must be one of {', '.join(NAMES)}"
        )
    return importlib.import_module(f"prompt_tuning.methods.{run.method}").method(run)


def left_frozen(frozen: Any, trained: Any) -> Any:
    """The frozen tree without the arrays that are trained now; None in their places.

    A training step changes those in place, and nothing may hold them.
    """
    taken = {id(leaf) for leaf in jax.tree.leaves(trained)}
    return jax.tree.map(lambda leaf: None if id(leaf) in taken else leaf, frozen)
