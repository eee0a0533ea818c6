"""The parts of a T5 1.1 layer. Parameters name their logical axes (partitioning.py).

Names and array layouts match the public T5X checkpoints. The shape legend is at the top
of network.py.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from prompt_tuning.t5 import attention, products
from prompt_tuning.t5.extra import Adapter, AttentionExtra, LowRank

KeysValues = tuple[jax.Array, jax.Array]
FROZEN = AttentionExtra()  # as the kernels are


def named(init: Callable[..., jax.Array], axes: tuple[str, ...]) -> Callable[..., Any]:
    """An initialiser whose parameter carries the names of its logical axes.

    It returns a boxed array, which Module.param unboxes.
    """
    return nn.with_logical_partitioning(init, axes)


def normal(stddev: float, axes: tuple[str, ...]) -> Callable[..., Any]:
    """A normal initialiser whose parameter carries the names of its logical axes."""
    return named(nn.initializers.normal(stddev), axes)


def quantize(values: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Rounds to int8 with one scale per channel: values are about int8 * scale.

    Args:
      values: floats: kernels [..., in, out], or an embedding [V, D].
      axis: the axis that a product sums over, -2 for a kernel.

    Returns:
      (int8 of the same shape, float32 scale without `axis`). The error of a value is at
      most half its scale.
    """
    values = values.astype(jnp.float32)
    scale = jnp.max(jnp.abs(values), axis, keepdims=True) / 127
    scale = jnp.where(scale == 0, 1.0, scale)
    return jnp.round(values / scale).astype(jnp.int8), jnp.squeeze(scale, axis)


# The axis of an int8 matrix along which each index has a scale: a kernel's outputs, an
# embedding's rows. Products sum over the other axis.
CHANNELS = {"kernel": 1, "embedding": 0}


def _weights(
    module: nn.Module,
    name: str,
    shape: tuple[int, int],
    stddev: float,
    axes: tuple[str, str],
) -> tuple[jax.Array, jax.Array | None]:
    """A matrix of type module.param_dtype, and its scales [channels] if int8."""
    if module.param_dtype != "int8":
        dtype = jnp.dtype(module.param_dtype)
        return module.param(name, normal(stddev, axes), shape, dtype), None
    # Random int8 weights are normal, clipped at four standard deviations.
    step = 4 / 127

    def init(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        values = jnp.round(jax.random.normal(key, shape) / step)
        return jnp.clip(values, -127, 127).astype(jnp.int8)

    channel = CHANNELS[name]
    scale_init = nn.initializers.constant(stddev * step)
    scale_axis = axes[channel] if axes[channel] != "embed" else "features"
    return (
        module.param(name, named(init, axes), shape),
        module.param(
            f"{name}_scale",
            named(scale_init, (scale_axis,)),
            shape[channel : channel + 1],
        ),
    )


class Dense(nn.Module):
    """x @ kernel; the scales of an int8 kernel are applied to the product.

    This needs no scaled copy of an int8 kernel, forward or backward.
    """

    inputs: int
    features: int
    stddev: float
    axes: tuple[str, str]
    dtype: jnp.dtype
    param_dtype: str

    def setup(self):
        shape = (self.inputs, self.features)
        self._kernel = _weights(self, "kernel", shape, self.stddev, self.axes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., features]"""
        kernel, _ = self._kernel
        return self._scaled(products.dot(x, kernel, self.dtype))

    def backwards(self, y_BxQxHxK: jax.Array) -> jax.Array:
        """Each head's features times its part of kernel.T: [B, Q, H, inputs]."""
        y_BxQxHK = self._scaled(y_BxQxHxK.reshape(*y_BxQxHxK.shape[:2], -1))
        y_BxQxHxK = y_BxQxHK.reshape(y_BxQxHxK.shape)
        return jnp.einsum("bqhk,dhk->bqhd", y_BxQxHxK, self._by_head(y_BxQxHxK))

    def of_heads(self, x_BxQxHxD: jax.Array) -> jax.Array:
        """Each head's inputs times its part of the kernel: [B, Q, features]."""
        kernel_DxHxK = self._by_head(x_BxQxHxD)
        y_BxQxHxK = jnp.einsum("bqhd,dhk->bqhk", x_BxQxHxD, kernel_DxHxK)
        return self._scaled(y_BxQxHxK.reshape(*y_BxQxHxK.shape[:2], -1))

    def _by_head(self, x_BxQxHxX: jax.Array) -> jax.Array:
        kernel, _ = self._kernel
        return kernel.astype(x_BxQxHxX.dtype).reshape(
            self.inputs, x_BxQxHxX.shape[2], -1
        )

    def _scaled(self, y: jax.Array) -> jax.Array:
        _, scale = self._kernel
        if scale is None:
            return y
        return y * scale.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class Embed(nn.Module):
    """A row of a table for each token; a tied head multiplies with all of them."""

    rows: int
    features: int
    dtype: jnp.dtype
    param_dtype: str

    def setup(self):
        shape, axes = (self.rows, self.features), ("vocab", "embed")
        self._table = _weights(self, "embedding", shape, 1.0, axes)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[...] int32 -> [..., features]"""
        table, scale = self._table
        x = jnp.take(table, tokens, axis=0).astype(self.dtype)
        if scale is None:
            return x
        return x * jnp.take(scale, tokens).astype(self.dtype)[..., None]

    def attend(self, x_BxSxD: jax.Array) -> jax.Array:
        """Logits [B, S, V] in float32: the product of x with every row."""
        table_VxD, scale_V = self._table
        x_BxSxD, table_VxD = (y.astype(jnp.float32) for y in (x_BxSxD, table_VxD))
        logits_BxSxV = jnp.einsum("bsd,vd->bsv", x_BxSxD, table_VxD)
        return logits_BxSxV if scale_V is None else logits_BxSxV * scale_V[None, None]


class Dropout(nn.Module):
    """Dropout with one mask along the length axis, as in T5.

    It is active only if the model is applied with an rng "dropout".
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        drop = nn.Dropout(self.rate, broadcast_dims=(-2,))
        return drop(x, deterministic=not self.has_rng("dropout"))


class RMSNorm(nn.Module):
    """Root-mean-square norm without mean and bias, computed in float32."""

    dtype: jnp.dtype
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale_D = self.param(
            "scale",
            named(nn.initializers.ones, ("features",)),
            (x.shape[-1],),
            jnp.float32,  # under JAX_ENABLE_X64, too
        )
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(
            jnp.mean(jnp.square(x32), -1, keepdims=True) + self.epsilon
        )
        scale = scale_D.reshape((1,) * (x.ndim - 1) + (-1,))
        return (x32 * inverse).astype(self.dtype) * scale.astype(self.dtype)


ACTIVATIONS = {
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "gelu_exact": functools.partial(nn.gelu, approximate=False),
    "silu": nn.silu,
    "relu": nn.relu,
}


class MLP(nn.Module):
    """(activation(x wi_0) * (x wi_1)) wo; without a gate, activation(x wi) wo."""

    mlp_dim: int
    dtype: jnp.dtype
    param_dtype: str
    dropout_rate: float
    activation: str = "gelu_tanh"
    gated: bool = True

    @nn.compact
    def __call__(
        self, x_BxTxD: jax.Array, scale_F: jax.Array | None = None
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D]; `scale_F` are factors of wo's input."""
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

        h_BxTxF = ACTIVATIONS[self.activation](into("wi_0" if self.gated else "wi"))
        if self.gated:
            h_BxTxF *= into("wi_1")
        h_BxTxF = scaled(Dropout(self.dropout_rate)(h_BxTxF), scale_F)
        return Dense(
            self.mlp_dim,
            emb_dim,
            self.mlp_dim**-0.5,
            ("mlp", "embed"),
            self.dtype,
            self.param_dtype,
            name="wo",
        )(h_BxTxF)


def adapted(x_BxTxD: jax.Array, adapter: Adapter | None) -> jax.Array:
    """x + relu(x down) up, with one layer's adapter; x if there is none."""
    if adapter is None:
        return x_BxTxD
    down_DxR, up_RxD = (kernel.astype(x_BxTxD.dtype) for kernel in adapter)
    return x_BxTxD + jnp.dot(jax.nn.relu(jnp.dot(x_BxTxD, down_DxR)), up_RxD)


def changed(y: jax.Array, x: jax.Array, by: LowRank | None) -> jax.Array:
    """y + x down up, with one layer's change; y [..., O] and x [..., I]."""
    if by is None:
        return y
    down_IxR, up_RxO = (kernel.astype(x.dtype) for kernel in by)
    return y + jnp.dot(jnp.dot(x, down_IxR), up_RxO)


def scaled(y: jax.Array, scale: jax.Array | None) -> jax.Array:
    """y [..., O] times one layer's factors [O]; y if there are none."""
    if scale is None:
        return y
    return y * scale.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class Attention(nn.Module):
    """Multi-head attention without biases and without 1/sqrt(K).

    Instead, the query kernel is initialised smaller by that factor. Keys and values
    have their own method, so that decoding can cache them.
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

    def _queries(self, x_BxQxD: jax.Array, extra: AttentionExtra) -> jax.Array:
        return self._split(changed(self.query(x_BxQxD), x_BxQxD, extra.query))

    def keys_values(
        self,
        x_BxLxD: jax.Array,
        front: KeysValues | None = None,
        extra: AttentionExtra = FROZEN,
    ) -> KeysValues:
        """Keys and values [B, L, H, K] of the positions that can be attended to.

        Those of `front`, [P, H, K] or [B, P, H, K], go in front of x's own.
        """
        key_BxLxHxK = self._split(scaled(self.key(x_BxLxD), extra.key_scale))
        value_BxLxHK = changed(self.value(x_BxLxD), x_BxLxD, extra.value)
        own = key_BxLxHxK, self._split(scaled(value_BxLxHK, extra.value_scale))
        if front is None:
            return own
        keys, values = (_in_front(*pair) for pair in zip(front, own, strict=True))
        return keys, values

    def __call__(
        self,
        x_BxQxD: jax.Array,
        keys_values: KeysValues,
        bias: jax.Array,
        extra: AttentionExtra = FROZEN,
    ) -> jax.Array:
        """Attends from x to `keys_values`.

        Args:
          bias: added to the scores; [B or 1, H or 1, Q or 1, L], MASKED where a
            position must not be attended to.
          extra: of its query alone; `keys_values` has seen to the rest.

        Returns:
          [B, Q, D]
        """
        query_BxQxHxK = self._queries(x_BxQxD, extra)
        return self._joined(
            attention.attend(
                query_BxQxHxK, *keys_values, bias, self.dtype, self.dropout
            )
        )

    def within(
        self,
        x_BxQxD: jax.Array,
        bias_1xHxQxL: jax.Array,
        mask_BxL: jax.Array,
        front: KeysValues | None = None,
        extra: AttentionExtra = FROZEN,
    ) -> jax.Array:
        """Attends from each position of x to all where `mask_BxL` is True: [B, Q, D].

        Uses the platform's best kernel unless `attention` is "plain", dropout is on, or
        there are keys in `front` (then L is P+Q). `attention` must be "plain" unless
        padding comes last.
        """
        keys_values = self.keys_values(x_BxQxD, front, extra)
        drops = self.dropout_rate > 0 and self.has_rng("dropout")
        best = None
        if self.attention == "auto" and not drops and front is None:
            best = attention.best_here(keys_values[0], self.dtype)
        if best is None:
            bias = bias_1xHxQxL + attention.visible(mask_BxL)[:, None, None]
            return self(x_BxQxD, keys_values, bias, extra)
        query_BxQxHxK = self._queries(x_BxQxD, extra)
        return self._joined(
            best(query_BxQxHxK, *keys_values, bias_1xHxQxL[0], mask_BxL)
        )

    def across(
        self,
        x_BxQxD: jax.Array,
        encoded_BxLxD: jax.Array,
        bias: jax.Array,
        extra: AttentionExtra = FROZEN,
    ) -> jax.Array:
        """Attends from x to the keys and values of `encoded_BxLxD`.

        With few queries, such as the short targets of a classification task, it is
        cheaper to map each head's queries to width D than all positions to keys:
        q (W x) = (q W) x.
        """
        if x_BxQxD.shape[1] >= self.head_dim:
            keys_values = self.keys_values(encoded_BxLxD, None, extra)
            return self(x_BxQxD, keys_values, bias, extra)
        batch, queries, _ = x_BxQxD.shape
        query_BxQxHxK = self._queries(x_BxQxD, extra)
        # A key's factors are as well its query's.
        query_BxQxHK = query_BxQxHxK.reshape(batch, queries, -1)
        query_BxQxHxK = self._split(scaled(query_BxQxHK, extra.key_scale))
        query_BxQxHxD = self.key.backwards(query_BxQxHxK)
        query_BxHQxD = query_BxQxHxD.swapaxes(1, 2).reshape(batch, -1, self.emb_dim)
        scores = products.matmul_transposed(query_BxHQxD, encoded_BxLxD, self.dtype)
        scores_BxHxQxL = scores.reshape(batch, self.num_heads, queries, -1)
        weights_BxHxQxL, sums_BxHxQx1 = attention.exponentials(scores_BxHxQxL, bias)
        weights_BxHxQxL = self.dropout(weights_BxHxQxL.astype(scores.dtype))
        weights_BxHQxL = weights_BxHxQxL.reshape(scores.shape)
        x_BxHQxD = products.matmul(weights_BxHQxL, encoded_BxLxD, self.dtype)
        x_BxHxQxD = x_BxHQxD.reshape(batch, self.num_heads, queries, self.emb_dim)
        x_BxHxQxD = (x_BxHxQxD / sums_BxHxQx1).astype(scores.dtype)
        x_BxQxHxD = x_BxHxQxD.swapaxes(1, 2)
        value_BxQxHK = self.value.of_heads(x_BxQxHxD)
        if extra.value is not None:
            value_BxQxHK += _of_heads(x_BxQxHxD, extra.value)
        return self.out(scaled(value_BxQxHK, extra.value_scale))


def _of_heads(x_BxQxHxD: jax.Array, by: LowRank) -> jax.Array:
    """Each head's inputs times its part of the change of a kernel: [B, Q, H*K]."""
    down_DxR, up_RxHK = (kernel.astype(x_BxQxHxD.dtype) for kernel in by)
    batch, queries, heads, _ = x_BxQxHxD.shape
    up_RxHxK = up_RxHK.reshape(len(up_RxHK), heads, -1)
    y_BxQxHxK = jnp.einsum("bqhr,rhk->bqhk", jnp.dot(x_BxQxHxD, down_DxR), up_RxHxK)
    return y_BxQxHxK.reshape(batch, queries, -1)


def _in_front(front: jax.Array, own_BxQxHxK: jax.Array) -> jax.Array:
    """[P, H, K] or [B, P, H, K], and [B, Q, H, K] -> [B, P+Q, H, K], typed as `own`."""
    batch, *_ = own_BxQxHxK.shape
    front_BxPxHxK = jnp.broadcast_to(front, (batch, *front.shape[-3:]))
    return jnp.concatenate(
        [front_BxPxHxK.astype(own_BxQxHxK.dtype), own_BxQxHxK], axis=1
    )


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
            jnp.float32,
        )
        buckets_QxL = attention.relative_position_buckets(
            queries,
            keys,
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return jnp.take(embedding_HxN, buckets_QxL, axis=1)[None].astype(jnp.float32)


def embedding_table(params: dict) -> jax.Array:
    """The frozen model's input embeddings [V, D] in float32, whatever their type."""
    kept = params["token_embedder"]
    table_VxD = kept["embedding"].astype(jnp.float32)
    if "embedding_scale" in kept:
        table_VxD *= kept["embedding_scale"][:, None]
    return table_VxD


def embeddings_of(params: dict, ids: Any) -> jax.Array:
    """The rows of `embedding_table` of these ids [N]: [N, D]; it makes no other."""
    rows = jax.tree.map(lambda kept: kept[ids], params["token_embedder"])
    return embedding_table({"token_embedder": rows})


def head_rows(params: dict, ids_C: jax.Array) -> jax.Array:
    """The frozen model's output embeddings [C, D] of some tokens, in float32."""
    if "logits_dense" not in params["decoder"]:
        return embedding_table(params)[ids_C]
    kept = params["decoder"]["logits_dense"]
    rows_CxD = kept["kernel"][:, ids_C].T.astype(jnp.float32)
    if "kernel_scale" in kept:
        rows_CxD *= kept["kernel_scale"][ids_C][:, None]
    return rows_CxD
