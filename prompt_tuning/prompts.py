"""The prompt: how its P vectors start (paper section 3.2) and where they go.

An initialiser is a function (rng, (P, D)) -> float32 array [P, D]. A combine function
puts a prompt into an embedded input: (prompt [P, D] or [B, P, D], x [B, T, D], tokens
[B, T]) -> (x [B, P+T, D], mask [B, P+T]), the mask False at padding.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning.errors import UserError

PAD_ID = 0
EOS_ID = 1

Initializer = Callable[[jax.Array, tuple[int, int]], jax.Array]
Combine = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def random_uniform(scale: float = 0.5) -> Initializer:
    """Each value drawn from U[-scale, scale] (paper section 3.2: [-0.5, 0.5])."""

    def init(rng: jax.Array, shape: tuple[int, int]) -> jax.Array:
        return jax.random.uniform(rng, shape, minval=-scale, maxval=scale)

    return init


def sampled_vocab(embedding_VxD: jax.Array, population: int = 5_000) -> Initializer:
    """Embeddings of tokens drawn from the `population` most common ones.

    SentencePiece orders its pieces by likelihood, so these are the first ids (paper
    section 3.2: 5,000). Drawn without replacement, unless P exceeds the population.
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
    population: int = 5_000,
) -> Initializer:
    """One position for each label's token ids, the rest from the sampled vocabulary.

    A label of several tokens is the mean of their embeddings; labels beyond P are left
    out (paper section 3.2).
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
    embedding_VxD: jax.Array, tokens: Sequence[int], population: int = 5_000
) -> Initializer:
    """The embeddings of a text's tokens, in order; the rest sampled, the excess cut."""
    return class_labels(embedding_VxD, [[token] for token in tokens], population)


def from_array(prompt_PxD: np.ndarray) -> Initializer:
    """A prompt made before, for instance read from a file. Its shape must fit."""

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


def prefix(
    prompt: jax.Array, x_BxTxD: jax.Array, tokens_BxT: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The prompt in front of the input (paper section 2: [P_e; X_e])."""
    prompt_BxPxD = _expanded(prompt, x_BxTxD)
    mask_BxP = jnp.ones(prompt_BxPxD.shape[:2], bool)
    return (
        jnp.concatenate([prompt_BxPxD, x_BxTxD], axis=1),
        jnp.concatenate([mask_BxP, tokens_BxT != PAD_ID], axis=1),
    )


def suffix(
    prompt: jax.Array, x_BxTxD: jax.Array, tokens_BxT: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The prompt behind the input, before the EOS that ends it (where there is one)."""
    prompt_BxPxD = _expanded(prompt, x_BxTxD)
    length = prompt_BxPxD.shape[1]
    size_Bx1 = jnp.sum(tokens_BxT != PAD_ID, axis=1, keepdims=True)
    last_Bx1 = jnp.take_along_axis(tokens_BxT, jnp.maximum(size_Bx1 - 1, 0), axis=1)
    start_Bx1 = size_Bx1 - (last_Bx1 == EOS_ID)
    position_1xL = jnp.arange(length + tokens_BxT.shape[1])[None, :]
    # Where each output position comes from in [x; prompt]: the text up to `start`, then
    # the prompt, then what the text still has.
    source_BxL = jnp.where(
        position_1xL < start_Bx1,
        position_1xL,
        jnp.where(
            position_1xL < start_Bx1 + length,
            tokens_BxT.shape[1] + position_1xL - start_Bx1,
            position_1xL - length,
        ),
    )
    both_BxLxD = jnp.concatenate([x_BxTxD, prompt_BxPxD], axis=1)
    return (
        jnp.take_along_axis(both_BxLxD, source_BxL[..., None], axis=1),
        position_1xL < size_Bx1 + length,
    )


def _expanded(prompt: jax.Array, x_BxTxD: jax.Array) -> jax.Array:
    batch, _, dim = x_BxTxD.shape
    return jnp.broadcast_to(prompt, (batch, prompt.shape[-2], dim)).astype(
        x_BxTxD.dtype
    )
