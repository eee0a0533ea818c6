"""Attention paid to a prompt, by layer, head and position.

The network's attention kernels keep no weights. Here its own layers compute queries and
keys once more, beside each call of theirs, and the softmax is written out.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from prompt_tuning.runs import parts
from prompt_tuning.t5 import attention, layers, placing
from prompt_tuning.t5.extra import Extra, Prompt
from prompt_tuning.t5.network import Transformer

# The method of layers.Attention that a stack looks at the prompt by.
_LOOKS = {"within": "encoder", "across": "decoder"}


class Paid(NamedTuple):
    """The mean share of its attention that a token pays to a prompt's positions.

    weights: [layers, H, P]: of the encoder from the tokens of the input, of the decoder
      from those of the answer (cross-attention). uniform: what each position would have
      if every one that is seen had the same.
    """

    weights: np.ndarray
    uniform: float


def read(
    model: parts.Model, params: Any, prompt: Prompt, batches: Iterable[Mapping]
) -> dict[str, Paid]:
    """{"encoder", "decoder": what is paid}, over the examples of some batches.

    Args:
      model: its network is not scanned.
      batches: under teacher forcing, on the model's devices.
    """
    total: Any = None
    sums_of = jax.jit(sums(model.network))
    for batch in batches:
        with jax.set_mesh(model.mesh):
            found = jax.device_get(sums_of(params, prompt, batch))
        total = found if total is None else jax.tree.map(np.add, total, found)
    assert total is not None
    return {
        stack: Paid(weights / queries, float(uniform / queries))
        for stack, (weights, uniform, queries) in total.items()
    }


def sums(network: Transformer) -> Callable[[Any, Prompt, Mapping], dict[str, tuple]]:
    """Makes (params, prompt, batch) -> {stack: sums over its tokens}.

    The sums are of weights [layers, H, P], of what a uniform weight would be, and of 1.
    """

    def of_batch(params: Any, prompt: Prompt, batch: Mapping) -> dict[str, tuple]:
        tokens_BxT = batch["encoder_input_tokens"]
        blank_BxTx1 = jnp.zeros((*tokens_BxT.shape, 1))
        thin = prompt._replace(vectors=prompt.vectors[..., :1])
        _, mask_BxL, place_BxP = placing.combine(thin, blank_BxTx1, tokens_BxT)
        input_BxL = _without(mask_BxL, place_BxP)
        asking = {"encoder": input_BxL, "decoder": batch["decoder_loss_weights"] > 0}
        with nn.intercept_methods(_kept(place_BxP, asking)):
            _, kept = network.apply(
                {"params": params}, batch, Extra(prompt), mutable=["intermediates"]
            )
        seen_B = jnp.sum(mask_BxL, axis=1)
        found = {}
        for stack, asking_BxQ in asking.items():
            stacked = _by_layer(kept["intermediates"][stack])
            uniform = jnp.sum(jnp.sum(asking_BxQ, axis=1) / seen_B)
            found[stack] = stacked, uniform, jnp.sum(asking_BxQ)
        return found

    return of_batch


def _without(mask_BxL: jax.Array, place_BxP: jax.Array) -> jax.Array:
    """The mask without the prompt's positions."""
    rows_Bx1 = jnp.arange(len(mask_BxL))[:, None]
    return mask_BxL.at[rows_Bx1, place_BxP].set(False)


def _by_layer(kept: Mapping[str, Any]) -> jax.Array:
    """[layers, H, P] of what the layers of a stack kept."""
    each = [jax.tree.leaves(kept[f"layers_{i}"]) for i in range(len(kept))]
    return jnp.stack([leaf for (leaf,) in each])


def _kept(place_BxP: jax.Array, asking: Mapping[str, jax.Array]) -> Callable:
    """An interceptor: attention keeps the sum of its weights, [H, P]."""

    def intercept(call: Callable, args: tuple, options: dict, context: Any) -> Any:
        module, stack = context.module, _LOOKS.get(context.method_name)
        if isinstance(module, layers.Attention) and stack:
            weights_BxHxQxL = _weights(module, stack, *args, **options)
            index_Bx1x1xP = place_BxP[:, None, None]
            paid_BxHxQxP = jnp.take_along_axis(weights_BxHxQxL, index_Bx1x1xP, axis=-1)
            counted_BxQ = asking[stack].astype(jnp.float32)
            summed_HxP = jnp.einsum("bhqp,bq->hp", paid_BxHxQxP, counted_BxQ)
            module.sow("intermediates", "paid", summed_HxP)
        return call(*args, **options)

    return intercept


def _weights(module: layers.Attention, stack: str, x_BxQxD: jax.Array, *of: Any) -> Any:
    """The attention weights [B, H, Q, L] of a call of `within` or `across`.

    Args:
      of: what the call is given besides x.
    """
    if stack == "encoder":
        bias_1xHxQxL, mask_BxL, *_ = of  # the rest is trained, and nothing here
        bias = bias_1xHxQxL + attention.visible(mask_BxL)[:, None, None]
        source_BxLxD = x_BxQxD
    else:
        source_BxLxD, bias, *_ = of
    keys_BxLxHxK, _ = module.keys_values(source_BxLxD)
    query_BxQxHK = module.query(x_BxQxD)
    query_BxQxHxK = query_BxQxHK.reshape(
        *x_BxQxD.shape[:2], module.num_heads, module.head_dim
    )
    factors = (x.astype(jnp.float32) for x in (query_BxQxHxK, keys_BxLxHxK))
    scores_BxHxQxL = jnp.einsum("bqhk,blhk->bhql", *factors)
    return jax.nn.softmax(scores_BxHxQxL + bias, axis=-1)
