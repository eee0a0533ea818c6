"""LoRA (Hu et al., 2022): low-rank changes of every attention's query and value.

They are computed beside the frozen product, x W + (alpha / r) x A B, so that the frozen
kernels have no gradient. A starts as in the authors' code, and B at zero: at first
nothing changes. Those of keys, outputs and the MLP are left alone, as in PEFT for T5.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import layered, perceptron, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import AttentionExtra, Extra, LayerExtra, LowRank

_KERNELS = "query", "value"
UNREAD = ("PROMPT_",)  # there is no prompt


def method(settings: Settings) -> methods.Method:
    """Trains {stack: {attention: {kernel: {"down": A, "up": B}}}}."""
    rank, scale = settings.lora.rank, settings.lora.alpha / settings.lora.rank

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        del start
        sizes = layered.sizes(frozen)
        keys = iter(jax.random.split(key, 6))
        width, out = sizes.emb_dim, sizes.num_heads * sizes.head_dim

        def first(layers: int) -> dict[str, jax.Array]:
            down = perceptron.uniform(next(keys), (layers, width, rank), width)
            return {"down": down, "up": jnp.zeros((layers, rank, out))}

        return {
            stack: {
                name: {kernel: first(layers) for kernel in _KERNELS}
                for name in layered.ATTENTIONS[stack]
            }
            for stack, layers in sizes.stacks.items()
        }

    def changes(trained: dict[str, Any]) -> AttentionExtra:
        query, value = (
            LowRank(trained[kernel]["down"], scale * trained[kernel]["up"])
            for kernel in _KERNELS
        )
        return AttentionExtra(query, value)

    def of_stack(trained: dict[str, Any]) -> LayerExtra:
        own: dict[str, Any] = {name: changes(one) for name, one in trained.items()}
        return LayerExtra(**own)

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        return layered.extra(lambda stack: of_stack(trained[stack]))

    return prompt.folding(init, made)
