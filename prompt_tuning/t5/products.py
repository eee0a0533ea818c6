"""Products of matrices in the type that the user asks for.

Products of bfloat16 have bfloat16 results on a GPU or TPU, where the memory's traffic
decides. A CPU multiplies bfloat16 twice as fast as float32 too, but only if it sums and
gives float32, and only if both matrices lie in memory in the order of their axes.
There, both factors of every product are rounded, backward the gradient with them, and
all else is float32.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal

Dtype = str | jnp.dtype
CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def native() -> str:
    """The flag of a CPU that multiplies bfloat16 in hardware; "" if this one does not.

    The flag is Linux's on x86. A GPU or TPU has none.
    """
    if jax.default_backend() != "cpu" or not CPU_INFO.is_file():
        return ""
    found = CPU_INFO.read_text(errors="replace").split()
    return next((flag for flag in ("amx_bf16", "avx512_bf16") if flag in found), "")


def chosen(dtype: str) -> str:
    """T5Config.dtype with "auto" replaced: bfloat16 if this CPU has it, or float32."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if native() else "float32"


def told(dtype: str) -> str:
    """What T5Config.dtype means here, for the introduction of a run."""
    name = chosen(dtype)
    sums = ", float32 sums" if result(name) != name else ""
    if dtype != "auto":
        return name + sums
    return f"{name}{sums}; auto, as this machine has {native() or 'no avx512_bf16'}"


def factors(dtype: Dtype) -> jnp.dtype:
    """The type of the factors of products, as T5Config.dtype asks for it."""
    return jnp.dtype(chosen(dtype) if isinstance(dtype, str) else dtype)


def result(dtype: Dtype) -> jnp.dtype:
    """The type of the results of products of `dtype`, and so of activations."""
    dtype = factors(dtype)
    wide = dtype == jnp.bfloat16 and jax.default_backend() == "cpu"
    return jnp.dtype("float32") if wide else dtype


def of_logits(dtype: Dtype) -> jnp.dtype:
    """The type of the factors of logits, which are float32 whatever `dtype` is."""
    exact = jnp.dtype("float32")
    return factors(dtype) if result(dtype) == exact else exact


def dot(x: jax.Array, kernel: jax.Array, dtype: Dtype) -> jax.Array:
    """x [..., M] times a kernel [M, N], which may be int8: [..., N].

    The factors are cast to `dtype`; the product is of type `result(dtype)`.
    """
    if result(dtype) == dtype:
        return jnp.dot(x.astype(dtype), kernel.astype(dtype))
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        kernel = rounded(kernel)  # exact, and never differentiated
    return _dot(x, kernel)


def matmul(x: jax.Array, y: jax.Array, dtype: Dtype) -> jax.Array:
    """[..., M, N] times [..., N, L], of the same batch: [..., M, L].

    The factors are cast to `dtype`; the product is of type `result(dtype)`.
    """
    if result(dtype) == dtype:
        return jnp.einsum("...mn,...nl->...ml", x.astype(dtype), y.astype(dtype))
    return _matmul(x, y)


def matmul_transposed(x: jax.Array, y: jax.Array, dtype: Dtype) -> jax.Array:
    """[..., M, N] times [..., L, N], of the same batch: [..., M, L]. As matmul."""
    if result(dtype) == dtype:
        return jnp.einsum("...mn,...ln->...ml", x.astype(dtype), y.astype(dtype))
    return _matmul_transposed(x, y)


def rounded(x: jax.Array) -> jax.Array:
    """x in bfloat16, a factor of a product."""
    return x.astype(jnp.bfloat16)


def swapped(x: jax.Array, first: int, second: int) -> jax.Array:
    """x with two axes exchanged in memory too.

    XLA would rather note another order of the axes, in which its CPU multiplies no
    faster than in float32. It does not see that across a barrier and a reshape.
    """
    return jax.lax.optimization_barrier(x.swapaxes(first, second)[None])[0]


def times(x: jax.Array, y: jax.Array) -> jax.Array:
    """[..., M, N] times [..., N, L], both rounded: float32 [..., M, L]."""
    return _product(x, y, -2)


def times_transposed(x: jax.Array, y: jax.Array) -> jax.Array:
    """[..., M, N] times [..., L, N], both rounded: float32 [..., M, L]."""
    return _product(x, y, -1)


def _product(x: jax.Array, y: jax.Array, axis: int) -> jax.Array:
    """Sums over x's last axis and y's `axis`; the axes before y's last two are a batch.

    The barrier keeps what follows, such as a transposition, from becoming part of it.
    """
    batch = tuple(range(y.ndim - 2))
    summed = (x.ndim - 1,), (y.ndim + axis,)
    found = jax.lax.dot_general(
        x, y, (summed, (batch, batch)), preferred_element_type=jnp.float32
    )
    return jax.lax.optimization_barrier(found)


@jax.custom_vjp
def _dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return times(rounded(x), rounded(kernel))


def _dot_forward(x: CustomVJPPrimal, kernel: CustomVJPPrimal) -> tuple:
    # What is frozen has no gradient, for which x would be kept.
    kept_x = x.value if kernel.perturbed else None
    return _dot(x.value, kernel.value), (kept_x, kernel.value)


def _dot_backward(kept: tuple, grad: jax.Array) -> tuple:
    x, kernel = kept
    grad = rounded(grad)
    of_x = times_transposed(grad, rounded(kernel))
    if x is None:
        return of_x, None
    rows, grads = (rounded(y.reshape(-1, y.shape[-1])) for y in (x, grad))
    return of_x, times(swapped(rows, 0, 1), grads).astype(kernel.dtype)


_dot.defvjp(_dot_forward, _dot_backward, symbolic_zeros=True)


@jax.custom_vjp
def _matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    return times(rounded(x), rounded(y))


def _matmul_forward(x: jax.Array, y: jax.Array) -> tuple:
    return _matmul(x, y), (x, y)


def _matmul_backward(kept: tuple, grad: jax.Array) -> tuple:
    x, y, grad = map(rounded, (*kept, grad))
    return times_transposed(grad, y), times(swapped(x, -1, -2), grad)


_matmul.defvjp(_matmul_forward, _matmul_backward)


@jax.custom_vjp
def _matmul_transposed(x: jax.Array, y: jax.Array) -> jax.Array:
    return times_transposed(rounded(x), rounded(y))


def _matmul_transposed_forward(x: jax.Array, y: jax.Array) -> tuple:
    return _matmul_transposed(x, y), (x, y)


def _matmul_transposed_backward(kept: tuple, grad: jax.Array) -> tuple:
    x, y, grad = map(rounded, (*kept, grad))
    return times(grad, y), times(swapped(grad, -1, -2), x)


_matmul_transposed.defvjp(_matmul_transposed_forward, _matmul_transposed_backward)
