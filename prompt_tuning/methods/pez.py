"""PEZ (Wen et al., 2023): trained vectors that the network sees as the nearest pieces.

    p = E[argmax_i cos(v, E_i)], of a trained vector v and the embeddings E

The gradient at the pieces' embeddings is applied to the vectors (Algorithm 1). So a
vector wanders while its piece stays the same, and then the piece changes. Nearness is
by cosine, as in the authors' code.
"""

from typing import Any

import jax

from prompt_tuning import methods
from prompt_tuning.methods import pieces, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra

Tree = dict[str, jax.Array]


def worded(settings: Settings, vocabulary: methods.Vocabulary) -> Settings:
    """The settings with pez.ids."""
    return pieces.worded(settings, vocabulary, "pez")


def method(settings: Settings) -> methods.Method:
    """Trains {"vectors": [P, D]}; what it ships are rows of the embedding."""
    run, ids = settings.run, settings.pez.ids

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        return {"vectors": pieces.first_prompt(run, key, frozen, start, ids)}

    def tokens(trained: Tree, frozen: Any) -> jax.Array:
        allowed_V = pieces.allowed(ids, pieces.rows(frozen))
        return pieces.nearest(trained["vectors"], frozen, allowed_V)

    def made(trained: Tree, frozen: Any) -> Extra:
        rows_PxD = layers.embeddings_of(frozen, tokens(trained, frozen))
        return prompt.placed(run, _straight_through(rows_PxD, trained["vectors"]))

    return prompt.folding(init, made)._replace(tokens=tokens)


@jax.custom_vjp
def _straight_through(rows_PxD: jax.Array, vectors_PxD: jax.Array) -> jax.Array:
    """The rows, whose gradient is the vectors'."""
    del vectors_PxD
    return rows_PxD


_straight_through.defvjp(
    lambda rows_PxD, _: (rows_PxD, None),
    lambda _, gradient_PxD: (None, gradient_PxD),
)
