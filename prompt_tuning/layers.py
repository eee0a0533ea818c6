"""The parts of a T5 1.1 layer. Parameters name their logical axes (partitioning.py).

Names and array layouts are those of the public T5X checkpoints. The shape legend is at
the top of network.py; in attention Q is the length that asks, L the one that answers.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

# What a masked position adds to an attention score: exp of it is 0 in every format, and
# a row that is masked throughout becomes uniform rather than NaN.
MASKED = -1e10

KeysValues = tuple[jax.Array, jax.Array]


def normal(stddev: float, axes: tuple[str, ...]) -> Callable[..., jax.Array]:
    """A normal initialiser whose parameter carries the names of its logical axes."""
    return nn.with_logical_partitioning(nn.initializers.normal(stddev), axes)


def quantize(values: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Rounds to int8 with one scale a channel: values are about int8 * scale.

    Args:
      values: floats [..., in, out], of a kernel; or an embedding's [V, D].
      axis: what a product sums over, -2 for a kernel; the others are the channels.

    Returns:
      (int8 of the same shape, float32 scale without `axis`). No value moves by more
      than half its scale.
    """
    values = values.astype(jnp.float32)
    scale = jnp.max(jnp.abs(values), axis, keepdims=True) / 127
    scale = jnp.where(scale == 0, 1.0, scale)
    return jnp.round(values / scale).astype(jnp.int8), jnp.squeeze(scale, axis)


def _weights(
    module: nn.Module,
    name: str,
    shape: tuple[int, int],
    stddev: float,
    axes: tuple[str, str],
    channel: int,
) -> tuple[jax.Array, jax.Array | None]:
    """A matrix as module.param_dtype keeps it, and its scales [channels] if int8."""
    if module.param_dtype != "int8":
        dtype = jnp.dtype(module.param_dtype)
        return module.param(name, normal(stddev, axes), shape, dtype), None
    # A random one is a normal distribution cut at four standard deviations.
    step = 4 / 127

    def init(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        values = jnp.round(jax.random.normal(key, shape) / step)
        return jnp.clip(values, -127, 127).astype(jnp.int8)

    scale_init = nn.initializers.constant(stddev * step)
    scale_axis = axes[channel] if axes[channel] != "embed" else "features"
    return (
        module.param(name, nn.with_logical_partitioning(init, axes), shape),
        module.param(
            f"{name}_scale",
            nn.with_logical_partitioning(scale_init, (scale_axis,)),
            shape[channel : channel + 1],
        ),
    )


class Dense(nn.Module):
    """x @ kernel; the scales of an int8 kernel are applied to the product.

    So no float copy of an int8 kernel is needed, here or in the gradient.
    """

    inputs: int
    features: int
    stddev: float
    axes: tuple[str, str]
    dtype: jnp.dtype
    param_dtype: str

    def setup(self):
        shape = (self.inputs, self.features)
        self._kernel = _weights(self, "kernel", shape, self.stddev, self.axes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., features]"""
        kernel, _ = self._kernel
        return self._scaled(jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype)))

    def backwards(self, y_BxQxHxK: jax.Array) -> jax.Array:
        """Each head's features through its part of the kernel, [B, Q, H, inputs]."""
        y_BxQxHK = self._scaled(y_BxQxHxK.reshape(*y_BxQxHxK.shape[:2], -1))
        y_BxQxHxK = y_BxQxHK.reshape(y_BxQxHxK.shape)
        return jnp.einsum("bqhk,dhk->bqhd", y_BxQxHxK, self._by_head(y_BxQxHxK))

    def of_heads(self, x_BxQxHxD: jax.Array) -> jax.Array:
        """Each head's inputs to its own features: [B, Q, features]."""
        kernel_DxHxK = self._by_head(x_BxQxHxD)
        y_BxQxHxK = jnp.einsum("bqhd,dhk->bqhk", x_BxQxHxD, kernel_DxHxK)
        return self._scaled(y_BxQxHxK.reshape(*y_BxQxHxK.shape[:2], -1))

    def _by_head(self, x_BxQxHxX: jax.Array) -> jax.Array:
        kernel, _ = self._kernel
        return kernel.astype(self.dtype).reshape(self.inputs, x_BxQxHxX.shape[2], -1)

    def _scaled(self, y: jax.Array) -> jax.Array:
        _, scale = self._kernel
        if scale is None:
            return y
        return y * scale.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class Embed(nn.Module):
    """Rows of a table, one for each token."""

    rows: int
    features: int
    dtype: jnp.dtype
    param_dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[...] int32 -> [..., features]"""
        shape = (self.rows, self.features)
        axes = ("vocab", "embed")
        table, scale = _weights(self, "embedding", shape, 1.0, axes, 0)
        x = jnp.take(table, tokens, axis=0).astype(self.dtype)
        if scale is None:
            return x
        return x * jnp.take(scale, tokens).astype(self.dtype)[..., None]


class Dropout(nn.Module):
    """Dropout whose mask is shared along the length axis, as T5 does it.

    It drops where the model is applied with an rng "dropout", and nowhere else.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        drop = nn.Dropout(self.rate, broadcast_dims=(-2,))
        return drop(x, deterministic=not self.has_rng("dropout"))


class RMSNorm(nn.Module):
    """Root-mean-square norm, no mean, no bias, computed in float32."""

    dtype: jnp.dtype
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale_D = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("features",)),
            (x.shape[-1],),
        )
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(
            jnp.mean(jnp.square(x32), -1, keepdims=True) + self.epsilon
        )
        scale = scale_D.reshape((1,) * (x.ndim - 1) + (-1,))
        return (x32 * inverse).astype(self.dtype) * scale.astype(self.dtype)


class GatedMLP(nn.Module):
    """GEGLU: gelu(x wi_0) * (x wi_1), then wo."""

    mlp_dim: int
    dtype: jnp.dtype
    param_dtype: str
    dropout_rate: float

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> jax.Array:
        emb_dim = x_BxTxD.shape[-1]

        def into(name: str) -> jax.Array:
            return Dense(
                emb_dim,
                self.mlp_dim,
                emb_dim**-0.5,
                ("embed", "mlp"),
                self.dtype,
                self.param_dtype,
                name=name,
            )(x_BxTxD)

        h_BxTxF = nn.gelu(into("wi_0"), approximate=True) * into("wi_1")
        h_BxTxF = Dropout(self.dropout_rate)(h_BxTxF)
        return Dense(
            self.mlp_dim,
            emb_dim,
            self.mlp_dim**-0.5,
            ("mlp", "embed"),
            self.dtype,
            self.param_dtype,
            name="wo",
        )(h_BxTxF)


def attend(
    query_QxHxK: jax.Array,
    keys_LxHxK: jax.Array,
    values_LxHxK: jax.Array,
    bias_HxQxL: jax.Array,
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """Multi-head attention, softmax(q k + bias) v: [..., Q, H, K].

    Args:
      query_QxHxK, keys_LxHxK, values_LxHxK: of one example, or [B, ...] of many.
      bias_HxQxL: float32 [H or 1, Q or 1, L], or with a B or 1 in front.
      drop: applied to the weights [..., H, Q, L].
    """
    query_HxQxK, keys_HxLxK, values_HxLxK = (
        x.swapaxes(-2, -3) for x in (query_QxHxK, keys_LxHxK, values_LxHxK)
    )
    scores_HxQxL = jnp.einsum("...qk,...lk->...ql", query_HxQxK, keys_HxLxK)
    weights_HxQxL, sums_HxQx1 = _exponentials(scores_HxQxL, bias_HxQxL)
    weights_HxQxL = drop(weights_HxQxL.astype(values_HxLxK.dtype))
    x_HxQxK = jnp.einsum("...ql,...lk->...qk", weights_HxQxL, values_HxLxK)
    x_HxQxK = checkpoint_name(x_HxQxK, SMALL)
    return (x_HxQxK / sums_HxQx1).astype(values_HxLxK.dtype).swapaxes(-2, -3)


def _exponentials(scores: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The softmax before its division: weights [..., L] up to 1, and sums [..., 1].

    What is made of the weights is divided, as it is smaller than they are.
    """
    scores = scores.astype(jnp.float32) + bias
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - checkpoint_name(largest, SMALL))
    sums = jnp.sum(weights, axis=-1, keepdims=True)
    return weights, checkpoint_name(sums, SMALL)


SMALL = "small beside the attention weights"


def attend_by_example(
    query_BxLxHxK: jax.Array,
    keys_BxLxHxK: jax.Array,
    values_BxLxHxK: jax.Array,
    bias_HxLxL: jax.Array,
    mask_BxL: jax.Array,
) -> jax.Array:
    """Attention of one example after the other, whose weights are not kept.

    On a CPU they then stay in its cache, where those of a batch do not fit: to compute
    them again in the backward pass costs less than to fetch them.
    """
    kept = jax.checkpoint_policies.save_only_these_names(SMALL)

    @functools.partial(jax.checkpoint, policy=kept)
    def one(example: tuple[jax.Array, ...]) -> jax.Array:
        *query_keys_values, mask_L = example
        return attend(*query_keys_values, bias_HxLxL + visible(mask_L)[None, None])

    return jax.lax.map(one, (query_BxLxHxK, keys_BxLxHxK, values_BxLxHxK, mask_BxL))


def attend_fused(
    query_BxLxHxK: jax.Array,
    keys_BxLxHxK: jax.Array,
    values_BxLxHxK: jax.Array,
    bias_HxLxL: jax.Array,
    mask_BxL: jax.Array,
    implementation: str = "cudnn",
) -> jax.Array:
    """Attention in one kernel, which writes no weights. Padding must come last."""
    sizes_B = jnp.sum(mask_BxL, axis=1, dtype=jnp.int32)
    # All queries count; but under vmap (of prompts) JAX's rule reshapes both sizes, so
    # this one must be mapped like the other.
    all_B = 0 * sizes_B + mask_BxL.shape[1]
    return jax.nn.dot_product_attention(
        query_BxLxHxK,
        keys_BxLxHxK,
        values_BxLxHxK,
        bias_HxLxL[None].astype(query_BxLxHxK.dtype),
        scale=1.0,
        query_seq_lengths=all_B,
        key_value_seq_lengths=sizes_B,
        implementation=implementation,
    )


def best_here(keys_BxLxHxK: jax.Array) -> Callable[..., jax.Array] | None:
    """Which attention of whole sequences is best on this platform; None: the plain one.

    cuDNN asks for half precision and an even length. A CPU's loop over examples is
    worth it where one example has work enough, and on one device, as its axis is split.
    """
    _, length, heads, head_dim = keys_BxLxHxK.shape
    if jax.default_backend() == "gpu":
        fits = keys_BxLxHxK.dtype == jnp.bfloat16 and length % 2 == head_dim % 8 == 0
        return attend_fused if fits else None
    mesh = jax.sharding.get_abstract_mesh()
    one = jax.default_backend() == "cpu" and (mesh.empty or mesh.size == 1)
    return attend_by_example if one and heads * length**2 >= WORTH_A_LOOP else None


WORTH_A_LOOP = 2**17  # weights of an example, half a MB


class Attention(nn.Module):
    """Multi-head attention without biases and without 1/sqrt(K).

    The query kernel starts smaller by that factor instead. Keys and values are made by
    a method of their own, so that decoding can keep them.
    """

    num_heads: int
    head_dim: int
    emb_dim: int
    dtype: jnp.dtype
    param_dtype: str
    dropout_rate: float
    attention: str = "auto"

    def setup(self):
        heads, std = self.num_heads * self.head_dim, self.emb_dim**-0.5
        into, out = ("embed", "joined_kv"), ("joined_kv", "embed")
        kept = self.dtype, self.param_dtype
        self.query = Dense(self.emb_dim, heads, std * self.head_dim**-0.5, into, *kept)
        self.key = Dense(self.emb_dim, heads, std, into, *kept)
        self.value = Dense(self.emb_dim, heads, std, into, *kept)
        self.out = Dense(heads, self.emb_dim, heads**-0.5, out, *kept)
        self.dropout = Dropout(self.dropout_rate)

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)

    def _joined(self, x_BxQxHxK: jax.Array) -> jax.Array:
        return self.out(x_BxQxHxK.reshape(*x_BxQxHxK.shape[:-2], -1))

    def keys_values(self, x_BxLxD: jax.Array) -> KeysValues:
        """Keys and values [B, L, H, K] of the positions that can be attended to."""
        return self._split(self.key(x_BxLxD)), self._split(self.value(x_BxLxD))

    def __call__(
        self,
        x_BxQxD: jax.Array,
        keys_values: KeysValues,
        bias: jax.Array,
    ) -> jax.Array:
        """Attends from x to `keys_values`.

        Args:
          bias: added to the scores; [B or 1, H or 1, Q or 1, L], MASKED where a
            position must not be seen.

        Returns:
          [B, Q, D]
        """
        query_BxQxHxK = self._split(self.query(x_BxQxD))
        return self._joined(attend(query_BxQxHxK, *keys_values, bias, self.dropout))

    def within(
        self, x_BxLxD: jax.Array, bias_1xHxLxL: jax.Array, mask_BxL: jax.Array
    ) -> jax.Array:
        """Attends from each position of x to all that `mask_BxL` shows: [B, L, D].

        As its platform does that best, unless `attention` is "plain" or weights are
        dropped. Where padding does not come last, `attention` must be "plain".
        """
        keys_values = self.keys_values(x_BxLxD)
        drops = self.dropout_rate > 0 and self.has_rng("dropout")
        best = None
        if self.attention == "auto" and not drops:
            best = best_here(keys_values[0])
        if best is None:
            bias = bias_1xHxLxL + visible(mask_BxL)[:, None, None]
            return self(x_BxLxD, keys_values, bias)
        query_BxLxHxK = self._split(self.query(x_BxLxD))
        return self._joined(
            best(query_BxLxHxK, *keys_values, bias_1xHxLxL[0], mask_BxL)
        )

    def across(
        self, x_BxQxD: jax.Array, encoded_BxLxD: jax.Array, bias: jax.Array
    ) -> jax.Array:
        """Attends from x to what `keys_values` would make of `encoded_BxLxD`.

        Few queries, as the short targets of a classification task, are cheaper to bring
        to the encoder's width than many positions to the heads': q (W x) is (q W) x.
        """
        if x_BxQxD.shape[1] >= self.head_dim:
            return self(x_BxQxD, self.keys_values(encoded_BxLxD), bias)
        query_BxQxHxD = self.key.backwards(self._split(self.query(x_BxQxD)))
        scores_BxHxQxL = jnp.einsum("bqhd,bld->bhql", query_BxQxHxD, encoded_BxLxD)
        weights_BxHxQxL, sums_BxHxQx1 = _exponentials(scores_BxHxQxL, bias)
        weights_BxHxQxL = self.dropout(weights_BxHxQxL.astype(self.dtype))
        x_BxQxHxD = jnp.einsum("bhql,bld->bqhd", weights_BxHxQxL, encoded_BxLxD)
        x_BxQxHxD = (x_BxQxHxD / sums_BxHxQx1.swapaxes(1, 2)).astype(self.dtype)
        return self.out(self.value.of_heads(x_BxQxHxD))


def relative_position_buckets(
    queries: int, keys: int, *, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """T5's bucket [queries, keys] of the distance from each query to each key.

    Half of the buckets hold exact distances, the other half grow logarithmically up to
    `max_distance`, beyond which all share the last. Bidirectional stacks keep one set
    of buckets for keys after the query and one for the rest.
    """
    distance = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    # The float32 epsilon keeps exact powers from rounding down into the bucket below.
    ratio = np.maximum(distance, 1) / exact + np.finfo(np.float32).eps
    far = exact + (
        np.log(ratio) / math.log(max_distance / exact) * (buckets - exact)
    ).astype(int)
    return offset + np.where(distance < exact, distance, np.minimum(far, buckets - 1))


class RelativeBias(nn.Module):
    """A learned bias for each head and distance bucket, shared by a stack's layers."""

    num_heads: int
    buckets: int
    max_distance: int
    bidirectional: bool

    @nn.compact
    def __call__(self, queries: int, keys: int) -> jax.Array:
        """The bias [1, H, queries, keys] in float32."""
        embedding_HxN = self.param(
            "rel_embedding",
            normal(self.num_heads**-0.5, ("heads", "relpos_buckets")),
            (self.num_heads, self.buckets),
        )
        buckets_QxL = relative_position_buckets(
            queries,
            keys,
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return jnp.take(embedding_HxN, buckets_QxL, axis=1)[None].astype(jnp.float32)


def visible(mask: jax.Array) -> jax.Array:
    """The bias of a boolean mask: 0 where True, MASKED where False; shape kept."""
    return jnp.where(mask, 0.0, MASKED)
