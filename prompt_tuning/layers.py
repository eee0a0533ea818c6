"""The parts of a T5 1.1 layer. Parameters name their logical axes (partitioning.py).

Names and array layouts are those of the public T5X checkpoints. The shape legend is at
the top of network.py; in attention Q is the length that asks, L the one that answers.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

# What a masked position adds to an attention score: exp of it is 0 in every format, and
# a row that is masked throughout becomes uniform rather than NaN.
MASKED = -1e10

KeysValues = tuple[jax.Array, jax.Array]


def normal(stddev: float, axes: tuple[str, ...]) -> Callable[..., jax.Array]:
    """A normal initialiser whose parameter carries the names of its logical axes."""
    return nn.with_logical_partitioning(nn.initializers.normal(stddev), axes)


def _dense(
    features: int, stddev: float, axes: tuple[str, str], dtype: jnp.dtype
) -> nn.Dense:
    return nn.Dense(features, False, dtype, kernel_init=normal(stddev, axes))


class Dropout(nn.Module):
    """Dropout whose mask is shared along the length axis, as T5 does it."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        return nn.Dropout(self.rate, broadcast_dims=(-2,))(x, deterministic)


class RMSNorm(nn.Module):
    """Root-mean-square norm, no mean, no bias, computed in float32."""

    dtype: jnp.dtype
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale_D = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("embed",)),
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
    dropout_rate: float

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, deterministic: bool) -> jax.Array:
        emb_dim = x_BxTxD.shape[-1]

        def into(name: str) -> jax.Array:
            kernel_init = normal(emb_dim**-0.5, ("embed", "mlp"))
            return nn.Dense(
                self.mlp_dim, False, self.dtype, kernel_init=kernel_init, name=name
            )(x_BxTxD)

        h_BxTxF = nn.gelu(into("wi_0"), approximate=True) * into("wi_1")
        h_BxTxF = Dropout(self.dropout_rate)(h_BxTxF, deterministic)
        kernel_init = normal(self.mlp_dim**-0.5, ("mlp", "embed"))
        return nn.Dense(emb_dim, False, self.dtype, kernel_init=kernel_init, name="wo")(
            h_BxTxF
        )


class Attention(nn.Module):
    """Multi-head attention without biases and without 1/sqrt(K).

    The query kernel starts smaller by that factor instead. Keys and values are made by
    a method of their own, so that decoding can keep them.
    """

    num_heads: int
    head_dim: int
    emb_dim: int
    dtype: jnp.dtype
    dropout_rate: float

    def setup(self):
        heads, std = self.num_heads * self.head_dim, self.emb_dim**-0.5
        into = ("embed", "joined_kv")
        self.query = _dense(heads, std * self.head_dim**-0.5, into, self.dtype)
        self.key = _dense(heads, std, into, self.dtype)
        self.value = _dense(heads, std, into, self.dtype)
        self.out = _dense(self.emb_dim, heads**-0.5, ("joined_kv", "embed"), self.dtype)
        self.dropout = Dropout(self.dropout_rate)

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)

    def keys_values(self, x_BxLxD: jax.Array) -> KeysValues:
        """Keys and values [B, L, H, K] of the positions that can be attended to."""
        return self._split(self.key(x_BxLxD)), self._split(self.value(x_BxLxD))

    def __call__(
        self,
        x_BxQxD: jax.Array,
        keys_values: KeysValues,
        bias: jax.Array,
        deterministic: bool,
    ) -> jax.Array:
        """Attends from x to `keys_values`.

        Args:
          bias: added to the scores; [B or 1, H or 1, Q or 1, L], MASKED where a
            position must not be seen.

        Returns:
          [B, Q, D]
        """
        keys_BxLxHxK, values_BxLxHxK = keys_values
        query_BxQxHxK = self._split(self.query(x_BxQxD))
        scores_BxHxQxL = jnp.einsum("bqhk,blhk->bhql", query_BxQxHxK, keys_BxLxHxK)
        weights_BxHxQxL = nn.softmax(scores_BxHxQxL.astype(jnp.float32) + bias)
        weights_BxHxQxL = self.dropout(
            weights_BxHxQxL.astype(self.dtype), deterministic
        )
        x_BxQxHxK = jnp.einsum("bhql,blhk->bqhk", weights_BxHxQxL, values_BxLxHxK)
        return self.out(x_BxQxHxK.reshape(*x_BxQxD.shape[:-1], -1))


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
