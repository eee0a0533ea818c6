"""Prefix tuning (Li and Liang, 2021): keys and values in front of each self-attention.

While training, an MLP makes those of all layers of both stacks from one vector for each
position, tanh(e W + a) U + b; what is shipped are the keys and values. Without the MLP
they are trained themselves (P-tuning v2, Liu et al., 2022). Keys and values of zero do
take attention from the rest, so that no start leaves the model as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import layered, perceptron, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra, LayerExtra

# There are no vectors in the input, and its own start.
UNREAD = "PROMPT_INIT", "PROMPT_PLACE", "PROMPT_STRING", "PROMPT_FILE"


def method(settings: Settings) -> methods.Method:
    """Trains {stack: [P, layers, 2, H, K]}, or what makes them.

    With the MLP that is "rows" [P, D], "hidden" (kernel [D, M], bias) and for each
    stack the kernel [M, layers, 2, H, K] and the bias of its outputs.
    """
    options, length = settings.prefix_tuning, settings.run.prompt_length
    make = _mlp_prefix if options.mlp else _free_prefix

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        del start
        sizes = layered.sizes(frozen)
        shapes = {
            stack: (layers, 2, sizes.num_heads, sizes.head_dim)
            for stack, layers in sizes.stacks.items()
        }
        rows, mlp, out = jax.random.split(key, 3)
        if not options.mlp:
            return {
                stack: jnp.zeros((length, *shape))
                if options.zero
                else jax.random.normal(one, (length, *shape))
                for one, (stack, shape) in zip(
                    jax.random.split(out), shapes.items(), strict=True
                )
            }
        width, hidden = sizes.emb_dim, options.hidden
        return {
            "rows": jax.random.normal(rows, (length, width)),
            "hidden": perceptron.dense_init(mlp, width, hidden),
        } | {
            stack: jax.tree.map(
                jnp.zeros_like if options.zero else lambda x: x,
                perceptron.dense_init(one, hidden, *shape),
            )
            for one, (stack, shape) in zip(
                jax.random.split(out), shapes.items(), strict=True
            )
        }

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        return layered.extra(lambda stack: make(trained, stack))

    return prompt.folding(init, made)


def _free_prefix(trained: dict[str, Any], stack: str) -> LayerExtra:
    return _in_front(trained[stack])


def _mlp_prefix(trained: dict[str, Any], stack: str) -> LayerExtra:
    hidden_PxM = jnp.tanh(perceptron.dense(trained["hidden"], trained["rows"]))
    return _in_front(perceptron.dense(trained[stack], hidden_PxM))


def _in_front(made: jax.Array) -> LayerExtra:
    """[P, layers, 2, H, K] -> keys and values [layers, P, H, K]."""
    keys, values = made.transpose(2, 1, 0, 3, 4)
    return LayerExtra(keys=keys, values=values)
