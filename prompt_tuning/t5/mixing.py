"""A mixture of N prompts (Qin and Eisner, 2021): p(y | x) = sum_n w_n p_n(y | x).

p_n is the frozen model's probability with prompt n. Inside the network an example is N
rows of the batch, side by side. Outside it has one row: its encodings, and what is
cached of them, stand one after another along their length, so that decoding need not
know of prompts. What it is given as logits are log-probabilities,

    p(y_t | y_<t, x) = sum_n r_n(t) p_n(y_t | y_<t, x)
    r_n(t) proportional to w_n prod_{s<t} p_n(y_s | y_<s, x)

whose product over t is p(y | x). As they are normalised, their z-loss is 0.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning.t5.extra import Extra


def check(extra: Extra) -> None:
    """Raises ValueError unless there is a prompt, and a shift, for each weight."""
    weights = extra.prompt_weights
    if weights is None:
        return
    found = {"prompt": extra.prompt and extra.prompt.vectors.shape[:-2]}
    if extra.encoder is not None and extra.encoder.shift is not None:
        found["encoder.shift"] = extra.encoder.shift.shape[1:-2]
    for name, shape in found.items():
        if weights.ndim != 1 or shape != weights.shape:
            raise ValueError(
                f"extra.prompt_weights has the shape {weights.shape}, but extra.{name} "
                f"is for {shape} prompts"
            )


def rows(tokens_BxT: jax.Array, extra: Extra) -> tuple[jax.Array, Extra]:
    """Each example once for each prompt, [B N, T], and the prompt of each such row."""
    if extra.prompt_weights is None:
        return tokens_BxT, extra
    copies, encoder = (len(tokens_BxT), 1, 1), extra.encoder
    assert extra.prompt is not None  # see check
    prompt = extra.prompt._replace(vectors=jnp.tile(extra.prompt.vectors, copies))
    if encoder is not None and encoder.shift is not None:
        encoder = encoder._replace(shift=jnp.tile(encoder.shift, copies))
    tokens_BNxT = repeated(tokens_BxT, extra.encodings)
    own = {"prompt": prompt, "encoder": encoder, "prompt_weights": None}
    return tokens_BNxT, extra._replace(**own)


def repeated(tokens: jax.Array, encodings: int) -> jax.Array:
    """Tokens [B, ...] of each of an example's rows, [B N, ...]."""
    return tokens if encodings == 1 else jnp.repeat(tokens, encodings, axis=0)


def in_rows(x: jax.Array, number: int, axis: int = 0) -> jax.Array:
    """x [B N, L, ...] as [B, N L, ...] or back: with so many rows along `axis`."""
    if x.shape[axis] == number:
        return x
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], number, -1, *x.shape[axis + 2 :])


def cache_in_rows(cache: Any, number: int) -> Any:
    """The same of all that layers keep, arrays [..., B, L, H, K]."""
    return jax.tree.map(lambda x: in_rows(x, number, axis=-4), cache)


def forced(
    logits_BNxSxV: jax.Array, tokens_BxS: jax.Array, weights_N: jax.Array
) -> jax.Array:
    """Log-probabilities [B, S, V] under teacher forcing.

    Args:
      tokens_BxS: the decoder's inputs: the targets, one position later.
      weights_N: the logarithms of w, up to a constant.
    """
    log_p_BNxSxV = jax.nn.log_softmax(logits_BNxSxV)
    log_p_BxNxSxV = log_p_BNxSxV.reshape(
        len(tokens_BxS), len(weights_N), *logits_BNxSxV.shape[1:]
    )
    targets_Bx1xSx1 = tokens_BxS[:, None, 1:, None]
    own_BxNxS = jnp.take_along_axis(log_p_BxNxSxV[:, :, :-1], targets_Bx1xSx1, -1)
    so_far_BxNxS = jnp.cumsum(own_BxNxS[..., 0], axis=-1)
    so_far_BxNxS = jnp.pad(so_far_BxNxS, ((0, 0), (0, 0), (1, 0)))
    joint_BxNxSxV = _joint(log_p_BxNxSxV, so_far_BxNxS + weights_N[None, :, None])
    return jax.nn.logsumexp(joint_BxNxSxV, axis=1)


def first(weights_N: jax.Array, batch: int, vocab_size: int) -> jax.Array:
    """What `step` is given at the first position, where every token tells nothing."""
    shape = batch, len(weights_N), 1, vocab_size
    return jnp.broadcast_to(weights_N.astype(jnp.float32)[None, :, None, None], shape)


def step(
    logits_BNxV: jax.Array, token_B: jax.Array, before_BxNx1xV: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities [B, V] after `token_B`, and each prompt's part in them.

    Args:
      before_BxNx1xV: the latter, of the position before.
    """
    index_Bx1x1x1 = token_B[:, None, None, None]
    so_far_BxNx1 = jnp.take_along_axis(before_BxNx1xV, index_Bx1x1x1, -1)[..., 0]
    log_p_BNxV = jax.nn.log_softmax(logits_BNxV)
    joint_BxNx1xV = _joint(log_p_BNxV.reshape(before_BxNx1xV.shape), so_far_BxNx1)
    return jax.nn.logsumexp(joint_BxNx1xV, axis=1)[:, 0], joint_BxNx1xV


def _joint(log_p_BxNxSxV: jax.Array, so_far_BxNxS: jax.Array) -> jax.Array:
    """log(r_n p_n), from the logarithm of w_n times what the tokens so far have."""
    return log_p_BxNxSxV + jax.nn.log_softmax(so_far_BxNxS, axis=1)[..., None]
