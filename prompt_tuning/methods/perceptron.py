"""Dense layers with biases, of which methods make the small networks they train.

They start as torch's do, which the papers' own code is written in.
"""

from typing import Any

import jax
import jax.numpy as jnp

# A fold must give the prompt that was trained, whatever device made it; on some the
# default precision of a product is less than float32's.
PRECISION = jax.lax.Precision.HIGHEST


def dense_init(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """A kernel [inputs, outputs] and a bias, from U[-1, 1] / sqrt(inputs)."""
    shapes = {"kernel": (inputs, outputs), "bias": (outputs,)}
    return uniform(key, shapes, inputs**-0.5)


def uniform(
    key: jax.Array, shapes: dict[str, tuple[int, ...]], most: float
) -> dict[str, jax.Array]:
    """Arrays of these shapes, from U[-most, most]."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.uniform(own, shape, minval=-most, maxval=most)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def dense(layer: dict[str, Any], x_PxI: jax.Array) -> jax.Array:
    """x kernel + bias: [P, outputs]."""
    return product(x_PxI, layer["kernel"]) + layer["bias"][None]


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of two matrices in full float32."""
    return jnp.dot(a, b, precision=PRECISION)
