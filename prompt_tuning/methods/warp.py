"""WARP (Hambardzumyan et al., 2021): a prompt, and an output row for each label token.

The vectors stand at any places in the input; the rows replace those of the frozen
head. Both start as prompt tuning and the frozen model have them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra, LabelRows, Prompt


def method(settings: Settings) -> methods.Method:
    """Trains {"vectors": [P, D], "rows": {token id: [D]}}.

    The ids are names, not values, since what is trained is float32.

    Raises:
      UserError: warp.places are not those of PROMPT_LENGTH vectors.
    """
    run, places = settings.run, _places(settings)

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        ids = sorted({i for word in start.label_words for i in start.encode(word)})
        if not ids:
            raise UserError(
                "METHOD is 'warp', which trains output rows of the label words, and "
                f"{run.mixture_or_task_name} names none: take a task with labels, or "
                "another METHOD"
            )
        rows_CxD = layers.head_rows(frozen, jnp.array(ids))
        return {
            "vectors": prompt.first_prompt(run, key, frozen, start),
            "rows": {str(i): row for i, row in zip(ids, rows_CxD, strict=True)},
        }

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        vectors, rows = trained["vectors"], trained["rows"]
        placed = prompt.placed(run, vectors)
        if places:
            placed = Extra(Prompt(vectors, jnp.array(places, jnp.int32)))
        ids = jnp.array([int(i) for i in rows], jnp.int32)
        return placed._replace(label_rows=LabelRows(ids, jnp.stack([*rows.values()])))

    return prompt.folding(init, made)


def _places(settings: Settings) -> tuple[int, ...]:
    """The input token that each vector goes before, as asked; () for PROMPT_PLACE."""
    run, places = settings.run, tuple(settings.warp.places)
    if not places:
        return ()
    if len(places) != run.prompt_length or min(places) < -1:
        raise UserError(
            f"warp.places is {places}; it must have PROMPT_LENGTH={run.prompt_length} "
            "numbers, from 0 on, or -1 for the input's end"
        )
    if run.prompt_place != "prefix":
        raise UserError(
            f"warp.places says where the vectors stand, and PROMPT_PLACE says "
            f"{run.prompt_place}: leave one of them out"
        )
    return places
