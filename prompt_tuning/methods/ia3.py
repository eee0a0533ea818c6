"""IA3 (Liu et al., 2022): factors of keys, values and the MLP's hidden activation.

Every attention has its own, cross-attention too. All start at 1: nothing changes.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import layered, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import AttentionExtra, Extra, LayerExtra

UNREAD = ("PROMPT_",)  # there is no prompt


def method(settings: Settings) -> methods.Method:
    """Trains {stack: {attention: {"key", "value"}, "mlp"}}, factors of every layer."""
    del settings

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        del key, start
        sizes = layered.sizes(frozen)
        features = sizes.num_heads * sizes.head_dim
        return {
            stack: {
                name: {kind: jnp.ones((layers, features)) for kind in ("key", "value")}
                for name in layered.ATTENTIONS[stack]
            }
            | {"mlp": jnp.ones((layers, sizes.mlp_dim))}
            for stack, layers in sizes.stacks.items()
        }

    def factors(trained: dict[str, Any], stack: str) -> LayerExtra:
        own: dict[str, Any] = {
            name: AttentionExtra(
                key_scale=trained[name]["key"], value_scale=trained[name]["value"]
            )
            for name in layered.ATTENTIONS[stack]
        }
        return LayerExtra(**own, mlp_scale=trained["mlp"])

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        return layered.extra(lambda stack: factors(trained[stack], stack))

    return prompt.folding(init, made)
