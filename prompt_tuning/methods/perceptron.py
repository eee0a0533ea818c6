"""Dense layers with biases, of which methods make the small networks they train.

They start as torch's do, which the papers' own code is written in.
"""

from typing import Any

import jax
import jax.numpy as jnp

# A fold must give the prompt that was trained, whatever device made it; on some the
# default precision of a product is less than float32's.
PRECISION = jax.lax.Precision.HIGHEST


def dense_init(key: jax.Array, inputs: int, *outputs: int) -> dict[str, jax.Array]:
    """A kernel [inputs, *outputs] and a bias, from U[-1, 1] / sqrt(inputs)."""
    return uniforms(key, {"kernel": (inputs, *outputs), "bias": outputs}, inputs)


def uniforms(
    key: jax.Array, shapes: dict[str, tuple[int, ...]], inputs: int
) -> dict[str, jax.Array]:
    """Arrays of these shapes, each as `uniform` draws it."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: uniform(own, shape, inputs)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def uniform(key: jax.Array, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """U[-1, 1] / sqrt(inputs), with which torch starts a layer of so many inputs."""
    most = inputs**-0.5
    return jax.random.uniform(key, shape, minval=-most, maxval=most)


def dense(layer: dict[str, Any], x_PxI: jax.Array) -> jax.Array:
    """x kernel + bias: [P, *outputs]."""
    return product(x_PxI, layer["kernel"]) + layer["bias"][None]


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product along a's last and b's first axis, in full float32."""
    return jnp.tensordot(a, b, axes=1, precision=PRECISION)
