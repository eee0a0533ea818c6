"""Rounded products against those of the rounded matrices in float64, and autodiff."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_tuning import partitioning
from prompt_tuning.t5 import products

RNG = np.random.default_rng(0)
PRODUCTS = {
    "dot": (products.dot, (3, 5, 8), (8, 6), "bmn,nl->bml"),
    "dot of a row": (products.dot, (1, 1, 8), (8, 1), "bmn,nl->bml"),
    "matmul": (products.matmul, (2, 3, 5, 8), (2, 3, 8, 6), "abmn,abnl->abml"),
    "matmul_transposed": (
        *(products.matmul_transposed, (4, 5, 8), (4, 6, 8)),
        "bmn,bln->bml",
    ),
    "of one": (products.matmul_transposed, (1, 1, 1), (1, 1, 1), "bmn,bln->bml"),
}


def exact(x):
    """x rounded to bfloat16, in float64."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16)).astype(np.float64)


@functools.cache
def case(name):
    product, *shapes, axes = PRODUCTS[name]
    x, y = (RNG.normal(size=shape).astype(np.float32) for shape in shapes)
    return product, x, y, axes


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_cpu_rounds_factors_and_sums_in_float32(name):
    product, x, y, axes = case(name)
    got = jax.jit(functools.partial(product, dtype="bfloat16"))(x, y)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.einsum(axes, exact(x), exact(y)), atol=1e-5)
    wide = jax.jit(functools.partial(product, dtype="float32"))(x, y)
    np.testing.assert_allclose(wide, np.einsum(axes, x, y), atol=1e-5)
    assert np.abs(got - wide).max() > 1e-4, "nothing was rounded"


@pytest.mark.parametrize("name", PRODUCTS)
def test_gradients_are_products_of_rounded_matrices(name):
    product, x, y, axes = case(name)

    @jax.jit
    def of(x, y, grad):
        _, vjp = jax.vjp(functools.partial(product, dtype="bfloat16"), x, y)
        return vjp(grad)

    inputs, result = axes.split("->")
    one, other = inputs.split(",")
    grad = RNG.normal(size=np.einsum(axes, x, y).shape).astype(np.float32)
    got_x, got_y = of(x, y, grad)
    assert got_x.dtype == got_y.dtype == jnp.float32
    expected = np.einsum(f"{result},{other}->{one}", exact(grad), exact(y))
    np.testing.assert_allclose(got_x, expected, atol=1e-5)
    expected = np.einsum(f"{result},{one}->{other}", exact(grad), exact(x))
    np.testing.assert_allclose(got_y, expected, atol=1e-5)


def test_what_is_frozen_keeps_no_input():
    _, x, kernel, _ = case("dot")

    def kept(fn, *differentiated):
        _, residuals = jax.eval_shape(lambda *z: jax.vjp(fn, *z), *differentiated)
        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(residuals))

    dot = functools.partial(products.dot, dtype="bfloat16")
    assert kept(lambda x: dot(x, kernel), x) <= kernel.size
    assert kept(dot, x, kernel) >= kernel.size + x.size


def test_a_kernel_of_integers_is_exact():
    x, kernel = RNG.normal(size=(3, 8)), RNG.integers(-127, 128, (8, 6), np.int8)
    got = products.dot(jnp.asarray(x), jnp.asarray(kernel), "bfloat16")
    np.testing.assert_allclose(got, exact(x) @ kernel, rtol=1e-5, atol=1e-3)
    grad = jax.grad(lambda x: products.dot(x, kernel, "bfloat16").sum())(x)
    np.testing.assert_allclose(grad, kernel.sum(1)[None].repeat(3, 0), atol=1e-3)


@pytest.mark.parametrize("devices", [(8, 1), (2, 4)])
def test_devices_share_rounded_products(devices):
    mesh = partitioning.mesh(*devices)
    x, kernel = RNG.normal(size=(8, 5, 8)), RNG.normal(size=(8, 12))
    x, kernel = x.astype(np.float32), kernel.astype(np.float32)

    def of(x, kernel):
        def fn(x, kernel):
            y = products.dot(x, kernel, "bfloat16")
            return (products.matmul_transposed(y, y, "bfloat16") ** 2).sum()

        return jax.value_and_grad(fn, (0, 1))(x, kernel)

    expected = jax.jit(of)(x, kernel)
    split = (
        jax.device_put(y, jax.NamedSharding(mesh, jax.P(*axes)))
        for y, axes in ((x, ("data",)), (kernel, (None, "model")))
    )
    got = jax.jit(of)(*split)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2 * np.abs(b).max())


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_elsewhere_results_are_bfloat16(monkeypatch, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    _, x, kernel, _ = case("dot")
    assert products.result("bfloat16") == jnp.bfloat16
    assert products.of_logits("bfloat16") == products.of_logits("float32") == "float32"
    assert products.dot(x, kernel, jnp.dtype("bfloat16")).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("flags", "chosen", "told"),
    [
        ("fpu avx512_bf16 amx_bf16", "bfloat16", "bfloat16, .*has amx_bf16"),
        ("fpu avx512_bf16", "bfloat16", "bfloat16, float32 sums; auto, .*avx512_bf16"),
        ("fpu avx512f", "float32", "float32; auto, .*has no avx512_bf16"),
        (None, "float32", "float32; auto"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(
    monkeypatch, tmp_path, flags, chosen, told
):
    info = tmp_path / "cpuinfo"
    if flags:
        info.write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(products, "CPU_INFO", info)
    products.native.cache_clear()
    try:
        assert products.chosen("auto") == chosen
        assert re.search(told, products.told("auto"))
        assert products.chosen("float32") == products.told("float32") == "float32"
        assert products.chosen("bfloat16") == "bfloat16"
    finally:
        products.native.cache_clear()
