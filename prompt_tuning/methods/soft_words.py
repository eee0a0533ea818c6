"""Soft words (Qin and Eisner, 2021): a written prompt, shifted in every layer.

    --gin.METHOD=soft_words --gin.PROMPT_INIT=string --gin.PROMPT_STRING="the topic is"

The vectors start as the text's embeddings, as PROMPT_INIT says. At the input of each
further layer of the encoder a trained shift is added to their states, and starts at 0
("deep perturbation"). The paper's mixture of several prompts is not done.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import layered, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra, LayerExtra


def method(settings: Settings) -> methods.Method:
    """Trains {"vectors": [P, D], "shift": [encoder layers - 1, P, D]}.

    The first layer's input is the vectors, which are trained already; with one layer
    there is nothing more.
    """
    run = settings.run

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, jax.Array]:
        vectors_PxD = prompt.first_prompt(run, key, frozen, start)
        further = layered.sizes(frozen).encoder - 1
        shift = {"shift": jnp.zeros((further, *vectors_PxD.shape))} if further else {}
        return {"vectors": vectors_PxD} | shift

    def made(trained: dict[str, jax.Array], frozen: Any) -> Extra:
        del frozen
        placed = prompt.placed(run, trained["vectors"])
        if "shift" not in trained:
            return placed
        first = jnp.zeros_like(trained["vectors"])[None]
        shift = jnp.concatenate([first, trained["shift"]])
        return placed._replace(encoder=LayerExtra(shift=shift))

    return prompt.folding(init, made)
