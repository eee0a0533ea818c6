"""Cross-entropy with z-loss and token accuracy, summed over target tokens."""

import jax
import jax.numpy as jnp


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
