"""Attention kernels for each platform, and T5's relative positions.

The shape legend is at the top of network.py.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import CustomVJPPrimal

from prompt_tuning.t5 import products

# Added to the attention score of a masked position: its exp is 0 in every float type,
# and a fully masked row becomes uniform rather than NaN.
MASKED = -1e10


def visible(mask: jax.Array) -> jax.Array:
    """A boolean mask as a bias of the same shape: 0 where True, MASKED where False."""
    return jnp.where(mask, 0.0, MASKED)


def attend(
    query_QxHxK: jax.Array,
    keys_LxHxK: jax.Array,
    values_LxHxK: jax.Array,
    bias_HxQxL: jax.Array,
    dtype: products.Dtype,
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """Multi-head attention, softmax(q k + bias) v: [..., Q, H, K].

    Args:
      query_QxHxK, keys_LxHxK, values_LxHxK: of one example, or of a batch, [B, ...].
      bias_HxQxL: float32 [H or 1, Q or 1, L], or with B or 1 in front.
      dtype: of the factors of products.
      drop: applied to the weights [..., H, Q, L].
    """
    query_HxQxK, keys_HxLxK, values_HxLxK = (
        x.swapaxes(-2, -3) for x in (query_QxHxK, keys_LxHxK, values_LxHxK)
    )
    scores_HxQxL = products.matmul_transposed(query_HxQxK, keys_HxLxK, dtype)
    weights_HxQxL, sums_HxQx1 = exponentials(scores_HxQxL, bias_HxQxL)
    weights_HxQxL = drop(weights_HxQxL.astype(values_HxLxK.dtype))
    x_HxQxK = products.matmul(weights_HxQxL, values_HxLxK, dtype)
    x_HxQxK = checkpoint_name(x_HxQxK, SMALL)
    return (x_HxQxK / sums_HxQx1).astype(values_HxLxK.dtype).swapaxes(-2, -3)


def exponentials(scores: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The softmax before its division: weights [..., L] of at most 1, sums [..., 1].

    The caller divides the product of weights and values, which is smaller.
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
    """Attention to one example after another, without keeping attention weights.

    A CPU's cache holds the weights of one example, not of a batch. Recomputing them in
    the backward pass is then cheaper than fetching them from memory.
    """
    kept = jax.checkpoint_policies.save_only_these_names(SMALL)

    @functools.partial(jax.checkpoint, policy=kept)
    def one(example: tuple[jax.Array, ...]) -> jax.Array:
        query_LxHxK, keys_LxHxK, values_LxHxK, mask_L = example
        bias = bias_HxLxL + visible(mask_L)[None, None]
        return attend(query_LxHxK, keys_LxHxK, values_LxHxK, bias, query_LxHxK.dtype)

    return jax.lax.map(one, (query_BxLxHxK, keys_BxLxHxK, values_BxLxHxK, mask_BxL))


@jax.custom_vjp
def attend_rounded(
    query_BxLxHxK: jax.Array,
    keys_BxLxHxK: jax.Array,
    values_BxLxHxK: jax.Array,
    bias_HxLxL: jax.Array,
    mask_BxL: jax.Array,
) -> jax.Array:
    """As attend_by_example, with the factors of products rounded to bfloat16."""
    inputs = query_BxLxHxK, keys_BxLxHxK, values_BxLxHxK, bias_HxLxL, mask_BxL
    return _rounded_forward(*(CustomVJPPrimal(x, False) for x in inputs))[0]


def _rounded_forward(*inputs: CustomVJPPrimal) -> tuple[jax.Array, tuple]:
    """What attend_rounded returns, and what its gradient needs."""
    query, keys, values, bias_HxLxL, mask = (x.value for x in inputs)

    def one(example: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        query_HxQxK, keys_HxLxK, values_HxLxK = map(_by_head, example[:3])
        scores_HxQxL = _scores(query_HxQxK, keys_HxLxK, bias_HxLxL, example[3])
        largest_HxQ = jnp.max(scores_HxQxL, axis=-1)
        weights_HxQxL = products.rounded(jnp.exp(scores_HxQxL - largest_HxQ[..., None]))
        sums_HxQ = jnp.sum(weights_HxQxL.astype(jnp.float32), axis=-1)
        x_HxQxK = products.times(weights_HxQxL, values_HxLxK)
        x_QxHxK = (x_HxQxK / sums_HxQ[..., None]).swapaxes(0, 1)
        return x_QxHxK, largest_HxQ, sums_HxQ

    examples = query, keys, values, mask
    x_BxLxHxK, *softmax = jax.lax.map(one, examples)
    # A frozen bias has no gradient.
    first = jnp.zeros_like(bias_HxLxL) if inputs[3].perturbed else None
    return x_BxLxHxK, (*examples, x_BxLxHxK, *softmax, bias_HxLxL, first)


def _rounded_backward(kept: tuple, grad_BxLxHxK: jax.Array) -> tuple:
    """The gradients; the scores are computed again."""
    *examples, bias_HxLxL, first = kept

    def one(bias_grad_HxLxL: jax.Array | None, example: tuple[jax.Array, ...]) -> tuple:
        *factors, mask_L, x_QxHxK, largest_HxQ, sums_HxQ, grad_QxHxK = example
        query_HxQxK, keys_HxLxK, values_HxLxK = map(_by_head, factors)
        grad_QxHxK /= sums_HxQ.T[..., None]
        mean_HxQ = jnp.sum(grad_QxHxK * x_QxHxK, axis=-1).T
        grad_HxQxK = _by_head(grad_QxHxK)
        scores_HxQxL = _scores(query_HxQxK, keys_HxLxK, bias_HxLxL, mask_L)
        weights_HxQxL = products.rounded(jnp.exp(scores_HxQxL - largest_HxQ[..., None]))
        by_weight_HxQxL = products.times_transposed(grad_HxQxK, values_HxLxK)
        by_score_HxQxL = weights_HxQxL.astype(jnp.float32) * (
            by_weight_HxQxL - mean_HxQ[..., None]
        )
        rounded_HxQxL = products.rounded(by_score_HxQxL)
        by_query_HxQxK = products.times(rounded_HxQxL, keys_HxLxK)
        # In this order no array of weights has to be transposed.
        by_keys_HxKxL, by_values_HxKxL = (
            products.times(products.swapped(y_HxQxK, 1, 2), z_HxQxL)
            for y_HxQxK, z_HxQxL in (
                (query_HxQxK, rounded_HxQxL),
                (grad_HxQxK, weights_HxQxL),
            )
        )
        grads = (
            by_query_HxQxK.swapaxes(0, 1),
            *(
                y_HxKxL.transpose(2, 0, 1)
                for y_HxKxL in (by_keys_HxKxL, by_values_HxKxL)
            ),
        )
        if bias_grad_HxLxL is not None:
            bias_grad_HxLxL += by_score_HxQxL
        return bias_grad_HxLxL, grads

    bias_grad_HxLxL, grads = jax.lax.scan(one, first, (*examples, grad_BxLxHxK))
    return *grads, bias_grad_HxLxL, None


attend_rounded.defvjp(_rounded_forward, _rounded_backward, symbolic_zeros=True)


def _scores(
    query_HxQxK: jax.Array, keys_HxLxK: jax.Array, bias_HxQxL: jax.Array, mask_L: Any
) -> jax.Array:
    scores_HxQxL = products.times_transposed(query_HxQxK, keys_HxLxK)
    return scores_HxQxL + bias_HxQxL + visible(mask_L)[None, None]


def _by_head(x_LxHxK: jax.Array) -> jax.Array:
    """[L, H, K], float32 -> [H, L, K], a factor of products."""
    return products.swapped(products.rounded(x_LxHxK), 0, 1)


def attend_fused(
    query_BxLxHxK: jax.Array,
    keys_BxLxHxK: jax.Array,
    values_BxLxHxK: jax.Array,
    bias_HxLxL: jax.Array,
    mask_BxL: jax.Array,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """Attention in one kernel, without storing weights. Padding must come last."""
    sizes_B = jnp.sum(mask_BxL, axis=1, dtype=jnp.int32)
    # All queries count. Under vmap (over prompts) JAX reshapes both sizes alike: make
    # this one from the other, so that both are mapped.
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


def best_here(
    keys_BxLxHxK: jax.Array, dtype: jnp.dtype
) -> Callable[..., jax.Array] | None:
    """The fastest attention over whole sequences on this platform; None: the plain one.

    Args:
      dtype: of the factors of products.

    cuDNN needs half precision and an even length. On a CPU a loop over examples pays if
    each has enough work, and only on one device, as meshes split the axis it runs over.
    """
    _, length, heads, head_dim = keys_BxLxHxK.shape
    if jax.default_backend() == "gpu":
        fits = dtype == jnp.bfloat16 and length % 2 == head_dim % 8 == 0
        return attend_fused if fits else None
    mesh = jax.sharding.get_abstract_mesh()
    one = jax.default_backend() == "cpu" and (mesh.empty or mesh.size == 1)
    if not one or heads * length**2 < WORTH_A_LOOP:
        return None
    return attend_by_example if dtype == jnp.float32 else attend_rounded


WORTH_A_LOOP = 2**17  # attention weights of an example: half a MB


def relative_position_buckets(
    queries: int, keys: int, *, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """T5's bucket [queries, keys] of the distance from each query to each key.

    Half of the buckets hold exact distances; the other half grow logarithmically up to
    `max_distance`, and all longer distances share the last. Bidirectional stacks have
    one set of buckets for keys after the query and one for the rest.
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
