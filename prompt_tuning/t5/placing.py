"""Where a prompt's vectors go in an embedded input (paper section 2: in front).

A combine function puts a prompt into an embedded input: (prompt [P, D] or [B, P, D],
x [B, T, D], tokens [B, T]) -> (x [B, P+T, D], mask [B, P+T]), the mask False at
padding.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

PAD_ID = 0
EOS_ID = 1

Combine = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


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
