"""SuperPos: each vector is a mixture of sampled embeddings (Sadraei et al., 2024).

    p = w E, of trained weights w [M] and the embeddings E [M, D] of M tokens

The tokens are drawn once from the most common ones and are the same for all vectors.
Their embeddings stay as they are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import Superpos
from prompt_tuning.methods import initializers, perceptron, prompt
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra


def method(settings: Settings) -> methods.Method:
    """Trains weights [P, M]; each vector starts as one of the embeddings."""
    run, options = settings.run, settings.superpos

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, jax.Array]:
        del start
        _check_init(run)
        sampled(options, _rows(frozen))  # may raise UserError
        again = run.prompt_length > options.rows
        shape = (run.prompt_length,)
        places_P = jax.random.choice(key, options.rows, shape, replace=again)
        return {"weights": jax.nn.one_hot(places_P, options.rows, dtype=jnp.float32)}

    def made(trained: dict[str, jax.Array], frozen: Any) -> Extra:
        ids_M = sampled(options, _rows(frozen))
        rows_MxD = layers.embeddings_of(frozen, ids_M)
        return prompt.placed(run, perceptron.product(trained["weights"], rows_MxD))

    return prompt.folding(init, made)


def sampled(options: Superpos, rows: int) -> np.ndarray:
    """The ids [M] of the tokens, of a table with so many rows; the same in every run.

    Raises:
      UserError: the table has fewer.
    """
    population = min(rows, initializers.COMMON)
    if options.rows > population:
        raise UserError(
            f"superpos.rows is {options.rows}, but there are {population} embeddings "
            "to sample from: give it a smaller number"
        )
    order = np.random.RandomState(options.sample).permutation(population)
    return order[: options.rows].astype(np.int32)


def _rows(frozen: Any) -> int:
    return len(frozen["token_embedder"]["embedding"])


def _check_init(run: Run) -> None:
    """Raises UserError unless the prompt starts from sampled embeddings."""
    if run.prompt_init != "sampled_vocab":
        raise UserError(
            f"PROMPT_INIT is {run.prompt_init!r}, but with METHOD=superpos a vector "
            "starts as one of the sampled embeddings: set PROMPT_INIT=sampled_vocab"
        )
