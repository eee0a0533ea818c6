"""Prompts that are made of the vocabulary's pieces: which there are, and the nearest.

A prompt of pieces can be written down. Padding, EOS, sentinels and whatever else is no
text is never a part of it, nor are rows that only fill up the embedding table.
"""

import dataclasses
import functools
import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import perceptron, prompt
from prompt_tuning.sections import called
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import layers

_RANGES = re.compile(r"\d{1,8}(-\d{1,8})?(,\d{1,8}(-\d{1,8})?)*")


def worded(
    settings: Settings, vocabulary: methods.Vocabulary, section: str
) -> Settings:
    """The settings with the ids that may be chosen in `section`.ids.

    Raises:
      UserError: they are given, and are others.
    """
    options = getattr(settings, section)
    found = _told(
        [i for i in range(vocabulary.vocab_size) if vocabulary.is_text(i)],
    )
    if options.ids not in ("", found):
        raise UserError(
            f"{called(section, 'ids')} is {options.ids!r}, but those of the vocabulary "
            f"that are text are {found[:80]!r}, which the run fills in: leave it out"
        )
    own = dataclasses.replace(options, ids=found)
    return dataclasses.replace(settings, **{section: own})


def _told(ids: list[int]) -> str:
    """Ascending ids in short: 3-5,9."""
    found = []
    for _, run in itertools.groupby(enumerate(ids), lambda pair: pair[1] - pair[0]):
        first, *rest = [number for _, number in run]
        found.append(f"{first}-{rest[-1]}" if rest else str(first))
    return ",".join(found)


def allowed(ids: str, rows: int) -> np.ndarray:
    """Which rows [V] of an embedding table may be chosen.

    Args:
      ids: as `worded` fills them in.

    Raises:
      UserError: they make no sense, or the table has fewer rows.
    """
    if not ids:
        raise ValueError("the ids to choose from are not filled in; see methods.worded")
    mask_V = np.zeros(rows, bool)
    for text in ids.split(",") if _RANGES.fullmatch(ids) else [""]:
        first, _, last = text.partition("-")
        if not text or int(last or first) >= rows:
            raise UserError(
                f"the ids to choose from are {ids[:80]!r}; they must be as the run "
                f"fills them in, such as 4-31999, and below {rows}, the rows of the "
                "embedding: leave them out"
            )
        mask_V[int(first) : int(last or first) + 1] = True
    return mask_V


def nearest(vectors_PxD: jax.Array, frozen: Any, allowed_V: np.ndarray) -> jax.Array:
    """The ids [P] of the allowed rows with the highest cosine to each vector."""
    table_VxD = layers.embedding_table(frozen)
    product = functools.partial(jnp.einsum, precision=perceptron.PRECISION)
    norm_V = jnp.sqrt(product("vd,vd->v", table_VxD, table_VxD))
    dot_PxV = product("pd,vd->pv", vectors_PxD, table_VxD)
    cosine_PxV = dot_PxV / jnp.maximum(norm_V, 1e-30)[None]  # times the vector's norm
    return jnp.argmax(jnp.where(allowed_V[None], cosine_PxV, -jnp.inf), axis=1)


def first_prompt(
    run: Run, key: jax.Array, frozen: Any, start: methods.Start, ids: str
) -> jax.Array:
    """The prompt [P, D] before training, as PROMPT_INIT says.

    Raises:
      UserError: PROMPT_STRING has pieces that are no text.
    """
    allowed_V = allowed(ids, rows(frozen))
    text = run.prompt_string if run.prompt_init == "string" else ""
    wrong = [i for i in start.encode(text)[: run.prompt_length] if not allowed_V[i]]
    if wrong:
        raise UserError(
            f"PROMPT_STRING is {text!r}, of whose pieces {wrong[0]} is no text of its "
            "own (a sentinel, or a part of a character): give another text"
        )
    return prompt.first_prompt(run, key, frozen, start)


def rows(frozen: Any) -> int:
    """V, the rows of the embedding table."""
    return len(frozen["token_embedder"]["embedding"])
