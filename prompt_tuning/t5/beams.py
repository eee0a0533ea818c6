"""Beam search with a KV cache; the encoder runs once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.t5.placing import EOS_ID, PAD_ID


class Beams(NamedTuple):
    """K hypotheses of each of B inputs, and the cache of all.

    position: of the next token. scores: log-probabilities (nats). done: it has ended.
    tokens, log_p: so far, 0 after the end. last: the token before the next.
    """

    position: jax.Array
    scores_BxK: jax.Array
    done_BxK: jax.Array
    tokens_BxKxS: jax.Array
    log_p_BxKxS: jax.Array
    last_BxK: jax.Array
    cache: Any


def search(
    model: Transformer,
    params: dict,
    inputs_BxT: jax.Array,
    extra: Extra,
    most_B: jax.Array,
    beams: int,
    length: int,
    cut: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The likeliest answers found with `beams` hypotheses, K below.

    At each position the K likeliest continuations of all hypotheses are kept; one that
    has ended has itself as its only continuation. As probabilities only fall, the best
    is found once all K have ended. There is no penalty for length.

    Args:
      extra: may have nothing for the decoder that differs between rows.
      most_B: int32, the most tokens of a row's answers, EOS included.
      length: the largest of them may be.
      cut: positions of prompt and input together; see `Transformer.encode`.

    Returns:
      (token ids [B, K, length], the likeliest answer first, EOS included, 0 after it;
      the log-probability of each token (nats), 0 after EOS)
    """
    variables, batch = {"params": params}, len(inputs_BxT)
    encoded_BxLxD, mask_BxL = model.apply(
        variables, inputs_BxT, extra, cut, method="encode"
    )
    cache = model.apply(variables, encoded_BxLxD, length, extra, method="start_cache")
    cache = jax.tree.map(lambda x: jnp.repeat(x, beams, axis=-4), cache)
    mask_BKxL = jnp.repeat(mask_BxL, beams, axis=0)

    def unfinished(current: Beams) -> jax.Array:
        return (current.position < length) & ~jnp.all(current.done_BxK)

    def step(current: Beams) -> Beams:
        logits_BKxV, cache = model.apply(
            *(variables, current.last_BxK.reshape(-1), current.cache, mask_BKxL),
            *(current.position, extra),
            method="decode_step",
        )
        next_BxKxV = jax.nn.log_softmax(logits_BKxV).reshape(batch, beams, -1)
        return _continued(current._replace(cache=cache), next_BxKxV, most_B)

    found = jax.lax.while_loop(unfinished, step, _first(batch, beams, length, cache))
    return found.tokens_BxKxS, found.log_p_BxKxS


def _first(batch: int, beams: int, length: int, cache: Any) -> Beams:
    """The hypotheses before the first token, all the same.

    One of them alone has a probability, so that it alone is continued.
    """
    shape = batch, beams
    return Beams(
        position=jnp.int32(0),
        scores_BxK=jnp.broadcast_to(
            jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf), shape
        ),
        done_BxK=jnp.zeros(shape, bool),
        tokens_BxKxS=jnp.zeros((*shape, length), jnp.int32),
        log_p_BxKxS=jnp.zeros((*shape, length), jnp.float32),
        last_BxK=jnp.full(shape, PAD_ID, jnp.int32),
        cache=cache,
    )


def _continued(before: Beams, next_BxKxV: jax.Array, most_B: jax.Array) -> Beams:
    """The K likeliest continuations, by the log-probabilities of next tokens."""
    scores_BxK, parent_BxK, last_BxK, gained_BxK = _best(
        before.scores_BxK, before.done_BxK, next_BxKxV
    )
    was_done_BxK, tokens_BxKxS, log_p_BxKxS = (
        _of_parents(x, parent_BxK)
        for x in (before.done_BxK, before.tokens_BxKxS, before.log_p_BxKxS)
    )
    ended_BxK = (last_BxK == EOS_ID) | (before.position + 1 >= most_B)[:, None]
    changing = before.cache.own, before.cache.mixed
    own, mixed = _cached_of_parents(changing, parent_BxK)
    return Beams(
        position=before.position + 1,
        scores_BxK=scores_BxK,
        done_BxK=was_done_BxK | ended_BxK,
        tokens_BxKxS=tokens_BxKxS.at[:, :, before.position].set(last_BxK),
        log_p_BxKxS=log_p_BxKxS.at[:, :, before.position].set(gained_BxK),
        last_BxK=last_BxK,
        cache=before.cache._replace(own=own, mixed=mixed),
    )


def _best(
    scores_BxK: jax.Array, done_BxK: jax.Array, next_BxKxV: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of the K likeliest continuations, each [B, K]:

    (scores, parents, tokens, the tokens' log-probabilities)
    """
    batch, beams, size = next_BxKxV.shape
    ended_V = jnp.where(jnp.arange(size) == PAD_ID, 0.0, -jnp.inf)
    next_BxKxV = jnp.where(done_BxK[..., None], ended_V[None, None], next_BxKxV)
    all_BxKV = (scores_BxK[..., None] + next_BxKxV).reshape(batch, -1)
    best_BxK, place_BxK = jax.lax.top_k(all_BxKV, beams)
    gained_BxK = jnp.take_along_axis(next_BxKxV.reshape(batch, -1), place_BxK, axis=1)
    token_BxK = (place_BxK % size).astype(jnp.int32)
    return best_BxK, place_BxK // size, token_BxK, gained_BxK


def _of_parents(x: jax.Array, parent_BxK: jax.Array) -> jax.Array:
    """x [B, K, ...] of each hypothesis's parent."""
    index = parent_BxK.reshape(*parent_BxK.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)


def _cached_of_parents(changing: Any, parent_BxK: jax.Array) -> Any:
    """What differs between hypotheses in the cache, [..., B K, _, _, _], of parents."""
    batch, beams = parent_BxK.shape
    rows_BK = (jnp.arange(batch)[:, None] * beams + parent_BxK).reshape(-1)
    return jax.tree.map(lambda x: jnp.take(x, rows_BK, axis=-4), changing)
