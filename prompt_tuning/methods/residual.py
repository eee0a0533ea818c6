"""Residual prompt tuning: each vector plus a shared MLP of it (Razdaibiedina et al.).

    p = v + LayerNorm(relu(v down) up), of a trained vector v (section 3.1)

After training the MLP is dropped: what is shipped is the prompt p.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.methods import perceptron, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra

EPSILON = 1e-5  # of torch's LayerNorm, as in the authors' code


def method(settings: Settings) -> methods.Method:
    """Trains vectors [P, D] that start as a prompt does, and the MLP with its norm."""
    run = settings.run

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        of_vectors, *of_mlp = jax.random.split(key, 3)
        vectors_PxD = prompt.first_prompt(run, of_vectors, frozen, start)
        width, hidden = vectors_PxD.shape[1], settings.residual.bottleneck
        return {
            "vectors": vectors_PxD,
            "down": perceptron.dense_init(of_mlp[0], width, hidden),
            "up": perceptron.dense_init(of_mlp[1], hidden, width),
            "norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
        }

    def made(trained: dict[str, Any], frozen: Any) -> Extra:
        del frozen
        return prompt.placed(run, prompt_of(trained))

    return prompt.folding(init, made)


def prompt_of(trained: dict[str, Any]) -> jax.Array:
    """The prompt [P, D] that the trained vectors and their MLP make."""
    vectors_PxD, norm = trained["vectors"], trained["norm"]
    hidden_PxM = jax.nn.relu(perceptron.dense(trained["down"], vectors_PxD))
    x_PxD = perceptron.dense(trained["up"], hidden_PxM)
    x_PxD -= x_PxD.mean(axis=1, keepdims=True)
    variance_Px1 = jnp.square(x_PxD).mean(axis=1, keepdims=True)
    x_PxD *= jax.lax.rsqrt(variance_Px1 + EPSILON) * norm["scale"][None]
    return vectors_PxD + x_PxD + norm["bias"][None]
