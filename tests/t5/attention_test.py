"""Each platform's kernel against plain attention; T5's buckets by integers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_tuning.t5 import attention

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (4, 8), (16, 60)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_by_integer_arithmetic(buckets, max_distance, bidirectional):
    """Bucket exact + k starts where (d/exact)^span reaches (max_distance/exact)^k."""
    got = attention.relative_position_buckets(
        300,
        310,
        bidirectional=bidirectional,
        buckets=buckets,
        max_distance=max_distance,
    )
    half = buckets // 2 if bidirectional else buckets
    exact = half // 2
    span = half - exact

    def bucket(d):
        if d < exact:
            return d
        reached = [
            k
            for k in range(span)
            if d**span * exact**k >= max_distance**k * exact**span
        ]
        return exact + max(reached)

    table = [bucket(d) for d in range(310)]
    assert max(table) == half - 1, "the lengths must reach the last bucket"
    for q, row in enumerate(got):
        for key, value in enumerate(row):
            after = key > q
            if bidirectional:
                expected = table[abs(key - q)] + half * after
            else:
                expected = 0 if after else table[q - key]
            assert value == expected, (q, key)


def attention_inputs(dtype, length=6):
    """Query, keys, values [B, L, H, K], a bias [H, L, L], a mask with padding last."""
    query, keys, values = (
        jnp.asarray(RNG.normal(size=(3, length, 2, 8)), dtype) for _ in range(3)
    )
    bias = jnp.asarray(RNG.normal(size=(2, length, length)), jnp.float32)
    sizes = np.array([[length], [3], [1]])
    return query, keys, values, bias, jnp.asarray(np.arange(length)[None] < sizes)


def plain(query, keys, values, bias, mask):
    bias = bias[None] + attention.visible(mask)[:, None, None]
    return attention.attend(query, keys, values, bias, query.dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kernel", ["attend_by_example", "attend_fused"])
def test_each_platforms_attention_is_the_plain_one(kernel, dtype):
    """cuDNN's by the function it stands behind, which is not plain attention's code."""
    other = getattr(attention, kernel)
    if kernel == "attend_fused":
        other = functools.partial(other, implementation="xla")
    inputs = attention_inputs(dtype)
    found = {}
    for name, fn in (("plain", plain), ("other", other)):
        out, gradient = jax.vjp(fn, *inputs[:4], inputs[4])
        # Of keys and values that cannot be seen, and of the bias too.
        found[name] = (out, *gradient(jnp.ones_like(out))[:4])
    for expected, got in zip(found["plain"], found["other"], strict=True):
        expected, got = (np.asarray(x, np.float32) for x in (expected, got))
        scale = np.abs(expected).max() + 1e-6
        tolerance = 1e-5 if dtype == "float32" else 0.04
        np.testing.assert_allclose(got, expected, atol=tolerance * scale)


@pytest.mark.parametrize("lengths", [(6, 6, 6), (1, 1, 1), (64, 40, 0)])
def test_rounded_attention_is_float32s_up_to_rounding(lengths):
    """Every gradient, the bias's too, against autodiff of the plain one."""
    longest = max(lengths)
    query, keys, values, bias, _ = attention_inputs("float32", longest)
    mask = jnp.arange(longest)[None] < jnp.array(lengths)[:, None]

    def of(fn):
        out, vjp = jax.vjp(lambda *x: fn(*x, mask), 0.3 * query, keys, values, bias)
        return out, *vjp(jnp.cos(jnp.arange(out.size)).reshape(out.shape))

    for got, expected in zip(of(attention.attend_rounded), of(plain), strict=True):
        assert got.dtype == jnp.float32
        scale = np.abs(expected).max() + 1  # of one key, two gradients are zero
        np.testing.assert_allclose(got, expected, atol=0.02 * scale)
    found = of(attention.attend_rounded)[0]
    assert longest == 1 or np.abs(found - of(plain)[0]).max() > 1e-5, "not rounded"


@pytest.mark.parametrize("kernel", ["attend_by_example", "attend_rounded"])
def test_attention_by_example_keeps_no_weights(kernel):
    inputs = attention_inputs("float32", length=64)

    def saved(fn):
        _, residuals = jax.eval_shape(lambda *x: jax.vjp(fn, *x), *inputs)
        return max(np.prod(x.shape) for x in jax.tree.leaves(residuals))

    weights = 3 * 2 * 64 * 64
    assert saved(plain) >= weights > saved(getattr(attention, kernel))


@pytest.mark.parametrize(
    "platform, dtype, length, expected",
    [
        ("cpu", "float32", 300, "attend_by_example"),
        ("cpu", "bfloat16", 300, "attend_rounded"),
        ("cpu", "float32", 100, None),  # too little work
        ("gpu", "bfloat16", 612, "attend_fused"),
        ("gpu", "bfloat16", 613, None),  # cuDNN's gradient wants it even
        ("gpu", "float32", 612, None),
        ("tpu", "bfloat16", 612, None),
    ],
)
def test_the_platform_chooses_its_attention(
    monkeypatch, platform, dtype, length, expected
):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    keys = jax.ShapeDtypeStruct((4, length, 6, 64), jnp.float32)
    with jax.set_mesh(jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])):
        chosen = attention.best_here(keys, jnp.dtype(dtype))
    assert chosen == (expected and getattr(attention, expected))
    with jax.set_mesh(jax.make_mesh((8,), ("data",))):
        if platform == "cpu":  # its loop would be over a split axis
            assert attention.best_here(keys, jnp.dtype(dtype)) is None
