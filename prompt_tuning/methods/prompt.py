"""Prompt tuning (Lester et al., 2021): vectors in the frozen model's embedded input."""

from collections.abc import Callable
from typing import Any

import jax

from prompt_tuning import methods
from prompt_tuning.methods import initializers
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import layers, placing
from prompt_tuning.t5.extra import END, Extra

_PLACES = {"prefix": placing.prefix, "suffix": placing.suffix}


def method(settings: Settings) -> methods.Method:
    """Trains a prompt [P, D]."""
    run = settings.run

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> jax.Array:
        return first_prompt(run, key, frozen, start)

    return folding(init, lambda trained, _: placed(run, trained))


def folding(init: Callable[..., Any], made: Callable[..., Extra]) -> methods.Method:
    """A method that trains inputs of the frozen network, or what makes them.

    Args:
      init: as Method's.
      made: (trained, frozen) -> a prompt in its place, or what is more than that; of
        `frozen` it reads embeddings alone.
    """

    def fold(trained: Any, frozen: Any) -> tuple[None, Extra]:
        return None, made(trained, frozen)

    def bind(trained: Any, frozen: Any) -> tuple[Any, Extra]:
        return frozen, made(trained, frozen)

    return methods.Method(init, bind, fold)


def placed(run: Run, prompt_PxD: jax.Array, in_front: int | None = None) -> Extra:
    """The prompt as an input of the network, at PROMPT_PLACE.

    Args:
      in_front: so many vectors stand in front of the input and the others after it,
        whatever PROMPT_PLACE is.
    """
    if in_front is not None:
        return Extra(prompt=placing.around(prompt_PxD, in_front))
    return Extra(prompt=_PLACES[run.prompt_place](prompt_PxD))


def said(run: Run, extra: Extra) -> dict[str, Any]:
    """What a description says of a prompt that is not as PROMPT_LENGTH and _PLACE say.

    in_front: so many of its vectors stand in front of the input, the others after it.
    """
    if extra.prompt is None or not extra.is_prompt:
        return {}
    length, found = len(extra.prompt.before), int((extra.prompt.before != END).sum())
    usual = 0 if run.prompt_place == "suffix" else length
    said = {} if found == usual else {"place": None, "in_front": found}
    return said if length == run.prompt_length else said | {"length": length}


def first_prompt(
    run: Run, key: jax.Array, frozen: Any, start: methods.Start
) -> jax.Array:
    """The prompt [P, D] before training, as PROMPT_INIT says (paper section 3.2)."""
    embedding_VxD = layers.embedding_table(frozen)
    match run.prompt_init:
        case "random_uniform":
            init = initializers.random_uniform()
        case "sampled_vocab":
            init = initializers.sampled_vocab(embedding_VxD)
        case "class_label":
            words = run.class_labels or start.class_words
            tokens = [start.encode(word) for word in words]
            init = initializers.class_labels(embedding_VxD, tokens)
        case "string":
            tokens = start.encode(run.prompt_string)
            init = initializers.string(embedding_VxD, tokens)
        case _:  # "file", "transfer"
            assert start.prompt_PxD is not None
            init = initializers.from_array(start.prompt_PxD)
    return init(key, (run.prompt_length, embedding_VxD.shape[1]))
