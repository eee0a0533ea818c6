"""The prompt: how its P vectors start (paper section 3.2).

An initialiser is a function (rng, (P, D)) -> float32 array [P, D].
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning.errors import UserError

COMMON = 5_000  # ids; the most common tokens are first (paper section 3.2)
Initializer = Callable[[jax.Array, tuple[int, int]], jax.Array]


def random_uniform(scale: float = 0.5) -> Initializer:
    """Each value drawn from U[-scale, scale] (paper section 3.2: [-0.5, 0.5])."""

    def init(rng: jax.Array, shape: tuple[int, int]) -> jax.Array:
        return jax.random.uniform(rng, shape, minval=-scale, maxval=scale)

    return init


def sampled_vocab(embedding_VxD: jax.Array, population: int = COMMON) -> Initializer:
    """Embeddings of tokens drawn from the `population` most common ones.

    SentencePiece orders its pieces by likelihood, so these are the first ids (paper
    section 3.2: 5,000). They are drawn without replacement unless P > population.
    """
    population = min(population, embedding_VxD.shape[0])

    def init(rng: jax.Array, shape: tuple[int, int]) -> jax.Array:
        length, _ = _fitting(shape, embedding_VxD)
        replace = length > population
        ids_P = jax.random.choice(rng, population, (length,), replace=replace)
        return jnp.asarray(embedding_VxD)[ids_P].astype(jnp.float32)

    return init


def class_labels(
    embedding_VxD: jax.Array,
    labels: Sequence[Sequence[int]],
    population: int = COMMON,
) -> Initializer:
    """One position for each label; the rest is sampled from the vocabulary.

    A label of several tokens starts as the mean of their embeddings; labels beyond P
    are left out (paper section 3.2).
    """
    if not labels or not all(len(label) for label in labels):
        raise UserError(
            f"class-label initialisation got the labels {list(labels)}; it needs one "
            "or more words for each class: set CLASS_LABELS, or another PROMPT_INIT"
        )
    embedding_VxD = jnp.asarray(embedding_VxD)
    rows_CxD = jnp.stack(
        [embedding_VxD[np.asarray(label)].mean(0) for label in labels]
    ).astype(jnp.float32)
    sample = sampled_vocab(embedding_VxD, population)

    def init(rng: jax.Array, shape: tuple[int, int]) -> jax.Array:
        return jnp.concatenate([rows_CxD, sample(rng, shape)])[: shape[0]]

    return init


def string(
    embedding_VxD: jax.Array, tokens: Sequence[int], population: int = COMMON
) -> Initializer:
    """The embeddings of a text's tokens, cut at P; the rest is sampled."""
    return class_labels(embedding_VxD, [[token] for token in tokens], population)


def from_array(prompt_PxD: np.ndarray) -> Initializer:
    """An existing prompt, such as one read from a file; its shape must fit."""

    def init(rng: jax.Array, shape: tuple[int, int]) -> jax.Array:
        del rng
        if prompt_PxD.shape != tuple(shape):
            raise UserError(
                f"the prompt's shape is {prompt_PxD.shape} (length, width); this run "
                f"needs {tuple(shape)}: set PROMPT_LENGTH to its length, and take a "
                "prompt that was trained on a frozen model of the same width"
            )
        return jnp.asarray(prompt_PxD, jnp.float32)

    return init


def _fitting(shape: tuple[int, int], embedding_VxD: jax.Array) -> tuple[int, int]:
    if shape[1] != embedding_VxD.shape[1]:
        raise UserError(
            f"the prompt is {shape[1]} wide, the embedding {embedding_VxD.shape[1]}: "
            "both must have the frozen model's emb_dim"
        )
    return shape
