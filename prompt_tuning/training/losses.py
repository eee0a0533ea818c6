"""What is minimised: cross-entropy with z-loss, and a penalty; and token accuracy.

Summed over target tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra

# (parameters, the network's other inputs) -> what is added to a target token's loss.
Penalty = Callable[[Any, Extra], jax.Array]


def cross_entropy(
    logits_BxSxV: jax.Array,
    targets_BxS: jax.Array,
    weights_BxS: jax.Array,
    z_loss: float = 1e-4,
) -> tuple[jax.Array, jax.Array]:
    """T5's training loss (paper section 3: the standard cross-entropy).

    Args:
      logits_BxSxV: float32 scores.
      targets_BxS: token ids.
      weights_BxS: 1 for target tokens, 0 for padding.
      z_loss: weight of log(Z)^2, which keeps the softmax's normaliser near 1 (1e-4 in
        the released code).

    Returns:
      (the loss in nats, summed over the weighted tokens; the z-loss that is part of it)
    """
    log_z_BxS = jax.nn.logsumexp(logits_BxSxV, axis=-1)
    target_BxS = jnp.take_along_axis(logits_BxSxV, targets_BxS[..., None], -1)[..., 0]
    weights_BxS = weights_BxS.astype(jnp.float32)
    z = jnp.sum(z_loss * jnp.square(log_z_BxS) * weights_BxS)
    return jnp.sum((log_z_BxS - target_BxS) * weights_BxS) + z, z


def correct_tokens(
    logits_BxSxV: jax.Array, targets_BxS: jax.Array, weights_BxS: jax.Array
) -> jax.Array:
    """The number of weighted target tokens whose logit is the largest."""
    # The loss has the largest logit at hand; a CPU finds its place far more slowly.
    target_BxS = jnp.take_along_axis(logits_BxSxV, targets_BxS[..., None], -1)[..., 0]
    hits_BxS = target_BxS == jnp.max(logits_BxSxV, axis=-1)
    return jnp.sum(hits_BxS * weights_BxS.astype(jnp.float32))


def near_text(ids: Sequence[int], weight: float) -> Penalty:
    """weight ||p - e||^2 / n: a prompt p is held near the embeddings e of n tokens.

    So Khashabi et al. (2022) add it to a mean loss. The prompt's further positions are
    free.
    """
    ids_P = np.asarray(ids, np.int32)

    def penalty(params: Any, extra: Extra) -> jax.Array:
        text_PxD = layers.embeddings_of(params, ids_P)
        assert extra.prompt is not None
        apart_PxD = extra.prompt.vectors[: len(ids_P)] - text_PxD
        return weight * jnp.sum(jnp.square(apart_PxD)) / len(ids_P)

    return penalty
