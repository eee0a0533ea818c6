"""Adapters: a bottleneck in every layer, x + relu(x down) up, before the residual sum.

After self-attention and after the MLP (Houlsby et al., 2019), or after the MLP alone
(Pfeiffer et al., 2020). They have no biases, as T5 1.1 has none. They start near the
identity, as the first of these papers says: normal, of deviation 0.01, cut off at two.
"""

from typing import Any

import jax

from prompt_tuning import methods
from prompt_tuning.methods import layered, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Adapter, Extra, LayerExtra

DEVIATION = 0.01  # Houlsby et al., section 3.1
_PLACES = {
    "houlsby": ("attention_adapter", "mlp_adapter"),
    "pfeiffer": ("mlp_adapter",),
}

UNREAD = ("PROMPT_",)  # there is no prompt


def method(settings: Settings) -> methods.Method:
    """Trains {stack: {place: {"down", "up"}}}, matrices of every layer."""
    width, places = settings.adapters.width, _PLACES[settings.adapters.kind]

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        del start
        sizes = layered.sizes(frozen)
        keys = iter(jax.random.split(key, 8))

        def first(*shape: int) -> jax.Array:
            return DEVIATION * jax.random.truncated_normal(next(keys), -2, 2, shape)

        return {
            stack: {
                place: {
                    "down": first(layers, sizes.emb_dim, width),
                    "up": first(layers, width, sizes.emb_dim),
                }
                for place in places
            }
            for stack, layers in sizes.stacks.items()
        }

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        return layered.extra(lambda stack: _of_stack(trained[stack]))

    return prompt.folding(init, made)


def _of_stack(trained: dict[str, Any]) -> LayerExtra:
    by_place: dict[str, Any] = {name: Adapter(**own) for name, own in trained.items()}
    return LayerExtra(**by_place)
