"""Greedy decoding with a KV cache, and label scoring; both run the encoder once."""

import jax
import jax.numpy as jnp

from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.t5.placing import EOS_ID, PAD_ID


def greedy(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    length: int,
) -> jax.Array:
    """Decodes the likeliest next token until EOS, or for `length` tokens.

    It stops as soon as every example has ended.

    Returns:
      [B, length] token ids, EOS included, 0 after it.
    """
    variables = {"params": params}
    encoded_BxLxD, mask_BxL = model.apply(variables, inputs_BxT, extra, method="encode")
    cache = model.apply(variables, encoded_BxLxD, length, extra, method="start_cache")
    batch = inputs_BxT.shape[0]

    def unfinished(state):
        index, _, done_B, _, _ = state
        return (index < length) & ~jnp.all(done_B)

    def step(state):
        index, token_B, done_B, tokens_BxS, cache = state
        logits_BxV, cache = model.apply(
            variables, token_B, cache, mask_BxL, index, extra, method="decode_step"
        )
        token_B = jnp.where(done_B, PAD_ID, jnp.argmax(logits_BxV, axis=-1))
        token_B = token_B.astype(jnp.int32)
        tokens_BxS = jax.lax.dynamic_update_slice_in_dim(
            tokens_BxS, token_B[:, None], index, axis=1
        )
        return index + 1, token_B, done_B | (token_B == EOS_ID), tokens_BxS, cache

    # In T5 the decoder's first input is the padding id.
    state = (
        jnp.int32(0),
        jnp.full((batch,), PAD_ID, jnp.int32),
        jnp.zeros((batch,), bool),
        jnp.full((batch, length), PAD_ID, jnp.int32),
        cache,
    )
    return jax.lax.while_loop(unfinished, step, state)[3]


def label_scores(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    labels_CxS: jax.Array,
) -> jax.Array:
    """Log-probability (nats) of each label as the whole target of each input.

    Args:
      labels_CxS: the C labels' token ids with EOS, 0 where padded.

    Returns:
      [B, C], summed over each label's tokens.
    """
    variables = {"params": params}
    encoded_BxLxD, mask_BxL = model.apply(variables, inputs_BxT, extra, method="encode")
    batch = inputs_BxT.shape[0]

    def score(label_S: jax.Array) -> jax.Array:
        inputs_S = jnp.concatenate([jnp.full((1,), PAD_ID), label_S[:-1]])
        inputs_BxS = jnp.broadcast_to(inputs_S[None], (batch, inputs_S.shape[0]))
        logits_BxSxV = model.apply(
            variables, inputs_BxS, encoded_BxLxD, mask_BxL, extra, method="decode"
        )
        # Take the label's logits first: log_softmax would make another [B, S, V] array.
        own_BxSx1 = jnp.take_along_axis(logits_BxSxV, label_S[None, :, None], axis=-1)
        log_p_BxS = own_BxSx1[..., 0] - jax.nn.logsumexp(logits_BxSxV, axis=-1)
        return jnp.sum(log_p_BxS * (label_S != PAD_ID)[None], axis=1)

    return jax.vmap(score, out_axes=1)(labels_CxS)
