"""Placing the vectors of a prompt in an embedded input."""

import jax
import jax.numpy as jnp

from prompt_tuning.t5.extra import END, Prompt

PAD_ID = 0
EOS_ID = 1


def prefix(vectors: jax.Array) -> Prompt:
    """Vectors [P, D] or [B, P, D] in front of the input (paper section 2)."""
    return Prompt(vectors, jnp.zeros(vectors.shape[-2], jnp.int32))


def suffix(vectors: jax.Array) -> Prompt:
    """Vectors [P, D] or [B, P, D] after the input, before its final EOS."""
    return Prompt(vectors, jnp.full(vectors.shape[-2], END, jnp.int32))


def around(vectors: jax.Array, in_front: int) -> Prompt:
    """The first vectors in front of the input, the others after it, before its EOS."""
    places = jnp.arange(vectors.shape[-2], dtype=jnp.int32)
    return Prompt(vectors, jnp.where(places < in_front, 0, END))


def combine(
    prompt: Prompt, x_BxTxD: jax.Array, tokens_BxT: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Inserts the prompt into an embedded input.

    Vectors before the same token keep their order. Padding and masked vectors come
    last.

    Args:
      x_BxTxD: the embedded tokens.
      tokens_BxT: int32, PAD_ID where padded.

    Returns:
      (x [B, P+T, D] of the input's type; its mask [B, P+T], True at tokens and vectors;
      the position of each vector in it, int32 [B, P])
    """
    key_BxP, key_BxT = _keys(prompt, tokens_BxT)
    key_BxL = jnp.concatenate([key_BxP, key_BxT], axis=1)
    source_BxL = jnp.argsort(key_BxL, axis=1, stable=True)
    target_BxL = jnp.argsort(source_BxL, axis=1)  # the inverse permutation
    targets = jnp.split(target_BxL, [key_BxP.shape[1]], axis=1)
    vectors_BxPxD = jnp.broadcast_to(
        prompt.vectors, (len(tokens_BxT), *prompt.vectors.shape[-2:])
    )
    both = vectors_BxPxD.astype(x_BxTxD.dtype), x_BxTxD
    mask_BxL = _taken(key_BxL, source_BxL) < _last(tokens_BxT)
    return _permuted(both, source_BxL, targets), mask_BxL, targets[0]


def shifted(
    x_BxLxD: jax.Array, shift: jax.Array, positions_BxP: jax.Array
) -> jax.Array:
    """x [B, L, D] with `shift` [P, D] or [B, P, D] added at `positions_BxP`."""
    shift_BxPxD = jnp.broadcast_to(shift, (*positions_BxP.shape, shift.shape[-1]))

    def add(x_LxD: jax.Array, position_P: jax.Array, shift_PxD: jax.Array) -> jax.Array:
        place = x_LxD.at[position_P]
        return place.add(shift_PxD, mode="promise_in_bounds", unique_indices=True)

    return jax.vmap(add)(x_BxLxD, positions_BxP, shift_BxPxD.astype(x_BxLxD.dtype))


def moved(x_BxTxD: jax.Array, shift_SxD: jax.Array) -> jax.Array:
    """x with a row of `shift_SxD` added to each of its first S positions."""
    shift_TxD = shift_SxD[: x_BxTxD.shape[1]].astype(x_BxTxD.dtype)
    missing = x_BxTxD.shape[1] - len(shift_TxD)
    return x_BxTxD + jnp.pad(shift_TxD, ((0, missing), (0, 0)))[None]


def _keys(prompt: Prompt, tokens_BxT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sort keys of the vectors [B, P] and tokens [B, T]: 2i+1 for token i."""
    batch, length = tokens_BxT.shape
    here_BxT = tokens_BxT != PAD_ID
    size_Bx1 = jnp.sum(here_BxT, axis=1, keepdims=True)
    closing_Bx1 = jnp.take_along_axis(tokens_BxT, jnp.maximum(size_Bx1 - 1, 0), axis=1)
    end_Bx1 = size_Bx1 - (closing_Bx1 == EOS_ID)
    before_BxP = jnp.broadcast_to(prompt.before, (batch, prompt.before.shape[-1]))
    inside_BxP = (before_BxP >= 0) & (before_BxP < size_Bx1)
    key_BxP = 2 * jnp.where(inside_BxP, before_BxP, end_Bx1)
    key_BxT = jnp.where(here_BxT, 2 * jnp.arange(length)[None] + 1, _last(tokens_BxT))
    if prompt.mask is not None:
        mask_BxP = jnp.broadcast_to(prompt.mask, key_BxP.shape)
        key_BxP = jnp.where(mask_BxP, key_BxP, _last(tokens_BxT))
    return key_BxP, key_BxT


def _last(tokens_BxT: jax.Array) -> int:
    """The sort key of padding and of masked vectors."""
    return 2 * tokens_BxT.shape[1] + 1


def _taken(x_BxL: jax.Array, index_BxL: jax.Array) -> jax.Array:
    """x [B, L] or [B, L, D] at `index_BxL` along L; all indices are in bounds."""
    index_BxL = index_BxL.reshape(*index_BxL.shape, *(1,) * (x_BxL.ndim - 2))
    return jnp.take_along_axis(x_BxL, index_BxL, axis=1, mode="promise_in_bounds")


@jax.custom_vjp
def _permuted(
    parts: tuple[jax.Array, jax.Array],
    source_BxL: jax.Array,
    targets: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """The two parts [B, P, D] and [B, T, D], concatenated and permuted: [B, P+T, D].

    The gradient gathers each part by the inverse permutation. XLA would scatter, which
    is much slower on a CPU.
    """
    del targets
    return _taken(jnp.concatenate(parts, axis=1), source_BxL)


def _permuted_forward(
    parts: tuple[jax.Array, jax.Array],
    source_BxL: jax.Array,
    targets: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _permuted(parts, source_BxL, targets), targets


def _permuted_backward(
    targets: tuple[jax.Array, jax.Array], gradient_BxLxD: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], None, None]:
    vectors_BxPxD, x_BxTxD = (_taken(gradient_BxLxD, target) for target in targets)
    return (vectors_BxPxD, x_BxTxD), None, None


_permuted.defvjp(_permuted_forward, _permuted_backward)
