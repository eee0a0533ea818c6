"""A decoder layer gives position by position what it gives of all at once."""

import jax.numpy as jnp
import numpy as np
import tiny

from prompt_tuning.t5 import attention, blocks
from prompt_tuning.t5.extra import AttentionExtra, LayerExtra, LowRank

CONFIG, LENGTH, FRONT = tiny.CONFIG, 3, 2
DIM, FEATURES = CONFIG.emb_dim, CONFIG.num_heads * CONFIG.head_dim
LAYER = blocks.DecoderLayer(CONFIG)


def random(seed, *shape, mean=0.0):
    values = np.random.default_rng(seed).normal(mean, 0.5, shape)
    return jnp.asarray(values, jnp.float32)


def changes(seed):
    """Of one layer, without the axis of layers."""
    return AttentionExtra(
        LowRank(random(seed, DIM, 2), random(seed + 1, 2, FEATURES)),
        LowRank(random(seed + 2, DIM, 2), random(seed + 3, 2, FEATURES)),
        random(seed + 4, FEATURES, mean=1),
        random(seed + 5, FEATURES, mean=1),
    )


EXTRA = LayerExtra(
    keys=random(0, FRONT, CONFIG.num_heads, CONFIG.head_dim),
    values=random(1, FRONT, CONFIG.num_heads, CONFIG.head_dim),
    self_attention=changes(2),
    cross_attention=changes(8),
    mlp_scale=random(14, CONFIG.mlp_dim, mean=1),
)


def test_a_decoder_layer_steps_as_it_reads():
    params = {"params": tiny.params()["decoder"]["layers_0"]}
    x_BxSxD, encoded_BxLxD = random(20, 2, LENGTH, DIM), random(21, 2, 5, DIM)
    seen_SxL = np.tri(LENGTH, FRONT + LENGTH, FRONT, dtype=bool)
    bias = attention.visible(jnp.asarray(seen_SxL))[None, None]
    nothing = jnp.zeros((2, 1, 1, 5))
    context = blocks.DecoderContext(encoded_BxLxD, bias, nothing)
    expected, _ = LAYER.apply(params, x_BxSxD, EXTRA, context)

    _, cache = LAYER.apply(params, encoded_BxLxD, EXTRA, (), method="start")
    free = (0, 0), (0, LENGTH), (0, 0), (0, 0)
    cache = cache._replace(own=tuple(jnp.pad(x, free) for x in cache.own))
    for i in range(LENGTH):
        at = blocks.StepContext(jnp.int32(i), bias[:, :, i : i + 1], nothing)
        kept = cache, EXTRA
        got, own = LAYER.apply(params, x_BxSxD[:, i : i + 1], kept, at, method="step")
        cache = cache._replace(own=own)
        np.testing.assert_allclose(got[:, 0], expected[:, i], atol=1e-5)
