"""Decoding with a KV cache, greedy or sampled, and label scoring.

All of them run the encoder once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.t5.placing import EOS_ID, PAD_ID

# (logits [B, V], index of the token) -> arrays [B] to be kept, the token ids first
Choose = Callable[[jax.Array, jax.Array], tuple[jax.Array, ...]]


class Sampling(NamedTuple):
    """How the tokens of each row are chosen; all are arrays [B].

    most: int32, the most tokens, EOS included.
    temperature: float32; 0: the likeliest token.
    top_p: float32 in (0, 1]; only the likeliest tokens that together have this
      probability are drawn (nucleus sampling, Holtzman et al. 2020); 1: all.
    seed, number: uint32; which random numbers are drawn. They do not depend on the
      other rows of the batch.
    """

    most: jax.Array
    temperature: jax.Array
    top_p: jax.Array
    seed: jax.Array
    number: jax.Array


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
    encoded_BxLxD, mask_BxL = _encoded(model, params, inputs_BxT, extra)
    most_B = jnp.full(len(inputs_BxT), length)

    def choose(logits_BxV: jax.Array, index: jax.Array) -> tuple[jax.Array]:
        del index
        return (jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32),)

    return _decoded(
        *(model, params, encoded_BxLxD, mask_BxL, extra, length, most_B, choose)
    )[0]


def sampled(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    sampling: Sampling,
    length: int,
    cut: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Decodes until EOS or `sampling.most` tokens, at most `length`.

    Args:
      cut: positions of prompt and input together; see `Transformer.encode`.

    Returns:
      (token ids [B, length], EOS included, 0 after it; the log-probability of each
      token (nats) under the model itself, whatever the temperature, 0 after EOS)
    """
    encoded_BxLxD, mask_BxL = _encoded(model, params, inputs_BxT, extra, cut)

    def choose(logits_BxV: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_p_BxV = jax.nn.log_softmax(logits_BxV)
        best_B = jnp.argmax(logits_BxV, axis=-1)
        # Of the two only one is computed: a greedy batch pays nothing for sampling.
        token_B = jax.lax.cond(
            jnp.any(sampling.temperature > 0),
            lambda: jnp.where(
                sampling.temperature > 0, _drawn(log_p_BxV, index, sampling), best_B
            ),
            lambda: best_B,
        ).astype(jnp.int32)
        return token_B, jnp.take_along_axis(log_p_BxV, token_B[:, None], axis=1)[:, 0]

    tokens_BxS, log_probs_BxS = _decoded(
        *(model, params, encoded_BxLxD, mask_BxL, extra, length, sampling.most, choose)
    )
    return tokens_BxS, log_probs_BxS


def _drawn(log_p_BxV: jax.Array, index: jax.Array, sampling: Sampling) -> jax.Array:
    """Tokens [B] drawn at each row's temperature from its nucleus."""
    cold_B = jnp.where(sampling.temperature > 0, sampling.temperature, 1.0)
    scores_BxV = log_p_BxV / cold_B[:, None]
    scores_BxV = jax.lax.cond(
        jnp.any(sampling.top_p < 1),
        lambda: nucleus(scores_BxV, sampling.top_p),
        lambda: scores_BxV,
    )

    def draw(scores_V: jax.Array, seed: jax.Array, number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), number)
        return jax.random.categorical(jax.random.fold_in(key, index), scores_V)

    return jax.vmap(draw)(scores_BxV, sampling.seed, sampling.number)


def nucleus(scores_BxV: jax.Array, top_p_B: jax.Array) -> jax.Array:
    """The scores (logits), -inf at the tokens outside the nucleus.

    The nucleus is the fewest likeliest tokens whose probabilities sum to `top_p`.
    """
    sorted_BxV = -jnp.sort(-scores_BxV, axis=-1)
    p_BxV = jax.nn.softmax(sorted_BxV)
    inside_BxV = jnp.cumsum(p_BxV, axis=-1) - p_BxV < top_p_B[:, None]
    least_Bx1 = jnp.min(
        jnp.where(inside_BxV, sorted_BxV, jnp.inf), axis=-1, keepdims=True
    )
    kept_BxV = (scores_BxV >= least_Bx1) | (top_p_B >= 1)[:, None]
    return jnp.where(kept_BxV, scores_BxV, -jnp.inf)


def label_scores(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    labels: jax.Array,
    cut: int | None = None,
) -> jax.Array:
    """Log-probability (nats) of each label as the whole target of each input.

    Args:
      labels: the token ids of C labels with EOS, 0 where padded: [C, S], or [B, C, S]
        where each input has its own.
      cut: positions of prompt and input together; see `Transformer.encode`.

    Returns:
      [B, C], summed over each label's tokens.
    """
    encoded_BxLxD, mask_BxL = _encoded(model, params, inputs_BxT, extra, cut)
    labels_BxCxS = jnp.broadcast_to(labels, (len(inputs_BxT), *labels.shape[-2:]))

    def score(label_BxS: jax.Array) -> jax.Array:
        inputs_BxS = jnp.pad(label_BxS[:, :-1], ((0, 0), (1, 0)))
        logits_BxSxV = model.apply(
            *({"params": params}, inputs_BxS, encoded_BxLxD, mask_BxL, extra),
            method="decode",
        )
        # Take the label's logits first: log_softmax would make another [B, S, V] array.
        own_BxSx1 = jnp.take_along_axis(logits_BxSxV, label_BxS[..., None], axis=-1)
        log_p_BxS = own_BxSx1[..., 0] - jax.nn.logsumexp(logits_BxSxV, axis=-1)
        return jnp.sum(log_p_BxS * (label_BxS != PAD_ID), axis=1)

    return jax.vmap(score, in_axes=1, out_axes=1)(labels_BxCxS)


def _encoded(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    cut: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    variables = {"params": params}
    return model.apply(variables, inputs_BxT, extra, cut, method="encode")


def _decoded(
    model: Transformer,
    params: dict,
    encoded_BxLxD: jax.Array,
    mask_BxL: jax.Array,
    extra: Extra,
    length: int,
    most_B: jax.Array,
    choose: Choose,
) -> tuple[jax.Array, ...]:
    """What `choose` gave at each position, each [B, length], 0 after a row's end.

    A row ends with EOS, or after `most_B` tokens.
    """
    variables, batch = {"params": params}, len(encoded_BxLxD)
    cache = model.apply(variables, encoded_BxLxD, length, extra, method="start_cache")

    def unfinished(state):
        index, _, done_B, _, _ = state
        return (index < length) & ~jnp.all(done_B)

    def step(state):
        index, token_B, done_B, kept, cache = state
        logits_BxV, cache = model.apply(
            variables, token_B, cache, mask_BxL, index, extra, method="decode_step"
        )
        new = [jnp.where(done_B, 0, x_B) for x_B in choose(logits_BxV, index)]
        kept = tuple(
            jax.lax.dynamic_update_slice_in_dim(old, x_B[:, None], index, axis=1)
            for old, x_B in zip(kept, new, strict=True)
        )
        done_B |= (new[0] == EOS_ID) | (index + 1 >= most_B)
        return index + 1, new[0], done_B, kept, cache

    first_B = jnp.full(batch, PAD_ID, jnp.int32)  # T5's decoder starts with padding
    like = jax.eval_shape(
        lambda: choose(jnp.zeros((batch, model.config.vocab_size)), jnp.int32(0))
    )
    kept = tuple(jnp.zeros((batch, length), x.dtype) for x in like)
    state = (jnp.int32(0), first_B, jnp.zeros(batch, bool), kept, cache)
    return jax.lax.while_loop(unfinished, step, state)[3]
