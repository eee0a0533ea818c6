"""AutoPrompt (Shin et al., 2020): a search for the pieces of a prompt.

A step takes a position at random, and the gradient g of the loss at its embedding e. To
first order, another piece's embedding e' lowers the loss by -(e' - e) g. The pieces
that gain most are tried, each in the prompt on the same batch; the best is kept if its
loss is less than the present one's (section 2.2). The authors take the gradient of
several batches and try the pieces on others.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import perceptron, pieces, prompt
from prompt_tuning.settings import Adafactor, Schedule, Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra

Tree = dict[str, jax.Array]


def worded(settings: Settings, vocabulary: methods.Vocabulary) -> Settings:
    """The settings with autoprompt.ids."""
    return pieces.worded(settings, vocabulary, "autoprompt")


def method(settings: Settings) -> methods.Method:
    """Searches {"ids": int32 [P]}, which start as the pieces nearest to a prompt.

    Raises:
      UserError: an option of the optimizer is set.
    """
    run, options = settings.run, settings.autoprompt
    _check_no_optimizer(settings)

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        allowed_V = pieces.allowed(options.ids, pieces.rows(frozen))
        if options.candidates >= allowed_V.sum():
            raise UserError(
                f"autoprompt.candidates is {options.candidates}, but there are "
                f"{allowed_V.sum()} pieces to choose from: give it a smaller number"
            )
        first_PxD = pieces.first_prompt(run, key, frozen, start, options.ids)
        return {"ids": pieces.nearest(first_PxD, frozen, allowed_V).astype(jnp.int32)}

    def made(trained: Tree, frozen: Any) -> Extra:
        return prompt.placed(run, layers.embeddings_of(frozen, trained["ids"]))

    def step(
        trained: Tree, frozen: Any, loss: methods.Loss, key: jax.Array
    ) -> tuple[Tree, jax.Array, dict[str, jax.Array]]:
        ids_P = trained["ids"]
        place = jax.random.randint(key, (), 0, len(ids_P))
        others_V = jnp.asarray(pieces.allowed(options.ids, pieces.rows(frozen)))
        others_V = others_V.at[ids_P[place]].set(False)

        def of_vectors(vectors_PxD: jax.Array) -> tuple[jax.Array, dict]:
            return loss(prompt.placed(run, vectors_PxD))

        found = swapped(ids_P, place, of_vectors, frozen, others_V, options.candidates)
        return {"ids": found[0]}, *found[1:]

    folding = prompt.folding(init, made)
    search = methods.Search(step, options.candidates)
    return folding._replace(tokens=lambda trained, _: trained["ids"], search=search)


def swapped(
    ids_P: jax.Array,
    place: jax.Array,
    loss: Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]],
    frozen: Any,
    others_V: jax.Array,
    count: int,
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """The ids with a better one in a place, if one of `count` is better.

    Args:
      loss: vectors [P, D] -> (the loss, sums for the log).
      others_V: the ids that may be chosen, without the present one.

    Returns:
      (ids [P], the gradient [P, D] and the sums before)
    """

    def with_piece(candidate: jax.Array) -> jax.Array:
        changed_P = ids_P.at[place].set(candidate)
        return loss(layers.embeddings_of(frozen, changed_P))[0]

    vectors_PxD = layers.embeddings_of(frozen, ids_P)
    found = jax.value_and_grad(loss, has_aux=True)(vectors_PxD)
    (present, sums), gradient_PxD = found
    gain_V = gains(frozen, gradient_PxD[place], vectors_PxD[place])
    _, tried_K = jax.lax.top_k(jnp.where(others_V, gain_V, -jnp.inf), count)
    # One after another, so that no more than one forward pass is held.
    losses_K = jax.lax.map(with_piece, tried_K)
    best = jnp.argmin(jnp.where(jnp.isnan(losses_K), jnp.inf, losses_K))
    kept = jnp.where(losses_K[best] < present, tried_K[best], ids_P[place])
    return ids_P.at[place].set(kept), gradient_PxD, sums


def gains(frozen: Any, gradient_D: jax.Array, present_D: jax.Array) -> jax.Array:
    """How much less the loss is, to first order, with each row in a vector's place [V].

    Args:
      gradient_D: the loss's, at that vector.
      present_D: the vector.
    """
    table_VxD = layers.embedding_table(frozen)
    present = perceptron.product(present_D, gradient_D)
    return present - perceptron.product(table_VxD, gradient_D)


def _check_no_optimizer(settings: Settings) -> None:
    for name, usual in (("schedule", Schedule()), ("adafactor", Adafactor())):
        if getattr(settings, name) != usual:
            raise UserError(
                f"an option of {name} is set, but METHOD is 'autoprompt', a search "
                "that has no optimizer: leave it out"
            )
