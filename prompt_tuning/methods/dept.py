"""DePT (Shi and Lipani, 2024): a shorter prompt, and a low-rank shift of the input.

A [S, r] B [r, D] is added to the embedded input, its first row to the first token. A
starts at random and B at zero: at first nothing is shifted. In the paper the pair has a
learning rate of its own, far below the prompt's. Adafactor's steps are as large as the
learning rate, whatever the gradient's size; so the pair is trained in units of
dept.rate, which makes each of its steps as much smaller, and needs no second optimizer.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import layered, perceptron, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra


def method(settings: Settings) -> methods.Method:
    """Trains {"vectors": [P, D], "down": [S, r], "up": [r, D]}."""
    run, options = settings.run, settings.dept

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        shape = options.positions, options.rank
        width = layered.sizes(frozen).emb_dim
        own = jax.random.fold_in(key, 1)
        return {
            "vectors": prompt.first_prompt(run, key, frozen, start),
            "down": perceptron.uniform(own, shape, options.rank) / options.rate,
            "up": jnp.zeros((options.rank, width)),
        }

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        down, up = (options.rate * trained[name] for name in ("down", "up"))
        placed = prompt.placed(run, trained["vectors"])
        return placed._replace(input_shift=perceptron.product(down, up))

    return prompt.folding(init, made)
