"""Each part against the same thing written out in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_tuning.t5 import attention, layers

RNG = np.random.default_rng(0)
X_BxTxD = RNG.normal(size=(2, 5, 6)).astype(np.float32)


def initialised(module, *args, method=None):
    def init(rng):
        return layers.nn.unbox(module.init(rng, *args, method=method)["params"])

    return jax.tree.map(np.asarray, jax.jit(init)(jax.random.key(0)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_rms_norm():
    scale = RNG.normal(size=6).astype(np.float32)
    for epsilon in (1e-6, 0.1):
        norm = layers.RMSNorm(jnp.dtype("float32"), epsilon)
        square = (X_BxTxD**2).mean(-1, keepdims=True)
        expected = X_BxTxD / np.sqrt(square + epsilon) * scale
        got = norm.apply({"params": {"scale": scale}}, X_BxTxD)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_gated_mlp():
    mlp = layers.MLP(7, jnp.dtype("float32"), "float32", 0.0)
    params = initialised(mlp, X_BxTxD)
    h = X_BxTxD @ params["wi_0"]["kernel"]
    gelu = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    expected = gelu * (X_BxTxD @ params["wi_1"]["kernel"]) @ params["wo"]["kernel"]
    got = mlp.apply({"params": params}, X_BxTxD)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert all(set(dense) == {"kernel"} for dense in params.values()), "no biases"


ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu_exact": lambda h: h / 2 * (1 + ERF(h / np.sqrt(2))),
    "silu": lambda h: h / (1 + np.exp(-h)),
    "relu": lambda h: h * (h > 0),
}


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlps_of_other_kinds(activation, gated):
    mlp = layers.MLP(7, jnp.dtype("float32"), "float32", 0.0, activation, gated)
    params = initialised(mlp, X_BxTxD)
    into = ["wi_0", "wi_1"] if gated else ["wi"]
    assert set(params) == {*into, "wo"}
    h, *gate = (X_BxTxD @ params[name]["kernel"] for name in into)
    expected = math.prod(gate, start=ACTIVATIONS[activation](h))
    got = mlp.apply({"params": params}, X_BxTxD)
    np.testing.assert_allclose(got, expected @ params["wo"]["kernel"], atol=1e-5)


def attend(module, x, source, bias):
    return module(x, module.keys_values(source), bias)


@pytest.fixture(scope="module")
def module():
    """(A function (x, source, bias) -> what x attends to in source, its parameters)."""
    module = layers.Attention(2, 4, 6, jnp.dtype("float32"), "float32", 0.0)
    bias = jnp.zeros((1, 1, 1, 5))
    params = initialised(module, X_BxTxD, X_BxTxD, bias, method=attend)

    def apply(x, source, bias):
        return module.apply({"params": params}, x, source, bias, method=attend)

    return apply, params


def test_attention_has_heads_a_bias_and_no_scale(module):
    apply, params = module
    source_BxLxD = RNG.normal(size=(2, 3, 6)).astype(np.float32)
    bias = RNG.normal(size=(1, 2, 5, 3)).astype(np.float32)
    expected = 0.0
    for head in range(2):
        of = slice(4 * head, 4 * head + 4)
        query = X_BxTxD @ params["query"]["kernel"][:, of]
        key = source_BxLxD @ params["key"]["kernel"][:, of]
        value = source_BxLxD @ params["value"]["kernel"][:, of]
        weights = softmax(query @ key.transpose(0, 2, 1) + bias[:, head])
        expected += weights @ value @ params["out"]["kernel"][of]
    got = apply(X_BxTxD, source_BxLxD, bias)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_masked_position_cannot_be_seen(module):
    apply, _ = module
    mask = np.array([[[[True, True, False, True, True]]]])
    other = X_BxTxD.copy()
    other[:, 2] = 100.0
    first = apply(X_BxTxD, X_BxTxD, attention.visible(mask))
    second = apply(X_BxTxD, other, attention.visible(mask))
    np.testing.assert_array_equal(first, second)
    assert (
        np.abs(first - apply(X_BxTxD, other, attention.visible(mask | True))).max() > 1
    )


def test_a_row_masked_throughout_is_not_nan(module):
    apply, params = module
    got = apply(X_BxTxD, X_BxTxD, attention.visible(np.zeros((1, 1, 1, 5), bool)))
    mean_Bx1xD = X_BxTxD.mean(1, keepdims=True)
    expected = mean_Bx1xD @ params["value"]["kernel"] @ params["out"]["kernel"]
    np.testing.assert_allclose(got, np.repeat(expected, 5, axis=1), atol=1e-5)


def test_relative_bias_looks_up_its_buckets():
    module = layers.RelativeBias(2, 32, 128, bidirectional=False)
    embedding = RNG.normal(size=(2, 32)).astype(np.float32)
    got = module.apply({"params": {"rel_embedding": embedding}}, 4, 4)
    assert got.shape == (1, 2, 4, 4)
    np.testing.assert_array_equal(got[0, :, 3], embedding[:, [3, 2, 1, 0]])


def test_dropout_drops_a_feature_at_all_positions_or_none():
    x = jnp.ones((2, 50, 64))
    rngs = {"dropout": jax.random.key(0)}
    got = layers.Dropout(0.25).apply({}, x, rngs=rngs)
    np.testing.assert_array_equal(got, jnp.broadcast_to(got[:, :1], x.shape))
    assert set(np.unique(got)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.1 < np.mean(got == 0) < 0.4
    np.testing.assert_array_equal(layers.Dropout(0.25).apply({}, x), x)


def test_kernels_start_as_t5s():
    """Normal, with the query smaller by sqrt(K), which stands for 1/sqrt(K)."""
    emb_dim, heads, head_dim, mlp_dim = 64, 4, 16, 96
    x = jnp.zeros((1, 2, emb_dim))
    kept = jnp.dtype("float32"), "float32", 0.0
    module = layers.Attention(heads, head_dim, emb_dim, *kept)
    params = initialised(module, x, x, jnp.zeros((1, 1, 1, 2)), method=attend)
    params |= initialised(layers.MLP(mlp_dim, *kept), x)
    expected = {
        "query": (emb_dim * head_dim) ** -0.5,
        "key": emb_dim**-0.5,
        "value": emb_dim**-0.5,
        "out": (heads * head_dim) ** -0.5,
        "wi_0": emb_dim**-0.5,
        "wi_1": emb_dim**-0.5,
        "wo": mlp_dim**-0.5,
    }
    got = {name: np.std(dense["kernel"]) for name, dense in params.items()}
    assert got == pytest.approx(expected, rel=0.05)


def test_int8_moves_no_value_by_more_than_half_its_channels_scale():
    values = RNG.normal(size=(6, 4)).astype(np.float32) * [1, 10, 0, 0.001]
    for axis in (0, 1):
        rounded, scale = layers.quantize(jnp.asarray(values), axis)
        assert rounded.dtype == jnp.int8 and scale.shape == (values.shape[1 - axis],)
        scale = np.expand_dims(scale, axis)
        error = np.abs(np.asarray(rounded) * scale - values)
        assert (error <= scale / 2 * 1.001).all()
        largest = np.abs(values).max(axis)
        assert (np.abs(rounded).max(axis) == 127 * (largest > 0)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_int8_product_is_that_of_the_rounded_kernel(dtype):
    kernel, scale = layers.quantize(RNG.normal(size=(4, 6)) * np.arange(1, 7), 0)
    dense = layers.Dense(4, 6, 1.0, ("embed", "mlp"), jnp.dtype(dtype), "int8")
    params = {"kernel": kernel, "kernel_scale": scale}
    expected = X_BxTxD[..., :4] @ (np.asarray(kernel) * np.asarray(scale))
    got = dense.apply({"params": params}, X_BxTxD[..., :4])
    assert got.dtype == jnp.float32  # on a CPU; see products.py
    tolerance = 1e-5 if dtype == "float32" else 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(got.astype("float32"), expected, atol=tolerance)


def test_an_int8_embedding_has_a_scale_for_each_row():
    table, scale = layers.quantize(
        RNG.normal(size=(5, 3)) * np.arange(1, 6)[:, None], 1
    )
    embed = layers.Embed(5, 3, jnp.dtype("float32"), "int8")
    params = {"embedding": table, "embedding_scale": scale}
    got = embed.apply({"params": params}, jnp.array([[4, 0, 4]]))
    expected = np.asarray(table)[[4, 0, 4]] * np.asarray(scale)[[4, 0, 4], None]
    np.testing.assert_allclose(got[0], expected, rtol=1e-6)
    rows_VxD = np.asarray(table) * np.asarray(scale)[:, None]
    got = embed.apply({"params": params}, X_BxTxD[..., :3], method="attend")
    np.testing.assert_allclose(got, X_BxTxD[..., :3] @ rows_VxD.T, atol=1e-5)


def test_random_int8_weights_have_the_spread_of_random_floats():
    dense = layers.Dense(128, 64, 0.5, ("embed", "mlp"), jnp.dtype("float32"), "int8")
    params = initialised(dense, jnp.zeros((1, 128)))
    values = params["kernel"] * params["kernel_scale"][None]
    assert np.std(values) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("param_dtype", ["float32", "int8"])
@pytest.mark.parametrize("queries", [3, 9])
def test_few_queries_attend_to_the_encoder_as_to_its_keys_and_values(
    queries, param_dtype
):
    module = layers.Attention(2, 8, 6, jnp.dtype("float32"), param_dtype, 0.0)
    x_BxQxD, encoded_BxLxD = (
        jnp.asarray(RNG.normal(size=(2, length, 6)), jnp.float32)
        for length in (queries, 5)
    )
    bias = attention.visible(jnp.array([[True] * 5, [True] * 3 + [False] * 2]))
    bias = bias[:, None, None, :]
    params = initialised(module, x_BxQxD, encoded_BxLxD, bias, method="across")
    kept = module.bind({"params": params})

    def through_keys_and_values(encoded_BxLxD):
        return kept(x_BxQxD, kept.keys_values(encoded_BxLxD), bias)

    expected, gradient = jax.vjp(through_keys_and_values, encoded_BxLxD)
    got, got_gradient = jax.vjp(
        lambda encoded_BxLxD: kept.across(x_BxQxD, encoded_BxLxD, bias), encoded_BxLxD
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(got_gradient(got)[0], gradient(got)[0], atol=1e-5)


def test_encoder_attention_is_plain_where_it_must_be(monkeypatch):
    """With dropout, keys in front, or as set; else what the platform chooses."""
    calls = []
    monkeypatch.setattr(
        attention, "best_here", lambda keys, dtype: calls.append(keys.shape)
    )
    x, bias = jnp.asarray(X_BxTxD), jnp.zeros((1, 2, 5, 5))
    mask = jnp.ones((2, 5), bool)
    rngs = {"dropout": jax.random.key(0)}
    for chosen, rate, expected in (("auto", 0.0, 1), ("plain", 0.0, 0)):
        module = layers.Attention(
            2, 4, 6, jnp.dtype("float32"), "float32", rate, chosen
        )
        params = initialised(module, x, bias, mask, method="within")
        calls.clear()
        module.apply({"params": params}, x, bias, mask, method="within")
        assert len(calls) == expected
    module = layers.Attention(2, 4, 6, jnp.dtype("float32"), "float32", 0.5)
    module.apply({"params": params}, x, bias, mask, method="within", rngs=rngs)
    front = jnp.ones((1, 2, 4)), jnp.ones((1, 2, 4))
    bias, mask = (jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(1, 0)]) for a in (bias, mask))
    module.apply({"params": params}, x, bias, mask, front, method="within")
    assert not calls
