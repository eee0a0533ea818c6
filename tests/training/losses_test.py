"""Against a computation by hand, and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prompt_tuning.t5 import layers, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import losses


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    logits_BxSxV = rng.normal(size=(3, 4, 7), scale=3).astype(np.float32)
    targets_BxS = rng.integers(1, 7, (3, 4))
    weights_BxS = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    return logits_BxSxV, targets_BxS * weights_BxS, weights_BxS


def test_cross_entropy_is_the_sum_over_target_tokens_plus_z_loss(example):
    loss, z = losses.cross_entropy(*example, z_loss=0.01)
    expected, expected_z = 0.0, 0.0
    for logits_V, target, weight in zip(
        example[0].reshape(-1, 7), example[1].ravel(), example[2].ravel(), strict=True
    ):
        log_z = np.log(np.sum(np.exp(logits_V.astype(np.float64))))
        expected += weight * (log_z - logits_V[target])
        expected_z += weight * 0.01 * log_z**2
    np.testing.assert_allclose(z, expected_z, rtol=1e-5)
    np.testing.assert_allclose(loss, expected + expected_z, rtol=1e-5)


def test_without_z_loss_it_is_optax(example):
    logits, targets, weights = example
    each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    loss, z = losses.cross_entropy(*example, z_loss=0.0)
    np.testing.assert_allclose(loss, jnp.sum(each * weights), rtol=1e-6)
    assert z == 0


def test_z_loss_is_the_released_codes_unless_told(example):
    _, z = losses.cross_entropy(*example)
    np.testing.assert_allclose(z, losses.cross_entropy(*example, z_loss=1e-4)[1])


def test_padding_has_no_gradient(example):
    logits, targets, weights = example
    grads = jax.grad(lambda x: losses.cross_entropy(x, targets, weights)[0])(logits)
    moved = np.abs(grads).sum(-1) > 0
    np.testing.assert_array_equal(moved, weights > 0)


def test_large_logits_stay_finite():
    logits = jnp.array([[[1e4, -1e4]]])
    loss, _ = losses.cross_entropy(logits, jnp.array([[1]]), jnp.array([[1]]), 0.0)
    np.testing.assert_allclose(loss, 2e4)


def test_correct_tokens_counts_weighted_hits():
    logits = jnp.array([[[0.0, 2, 1], [3.0, 2, 1]], [[0.0, 1, 2], [1.0, 0, 0]]])
    targets, weights = jnp.array([[1, 2], [2, 0]]), jnp.array([[1, 1], [1, 0]])
    assert losses.correct_tokens(logits, targets, weights) == 2


@pytest.mark.parametrize("kept", ["float32", "int8"])
def test_a_text_pulls_at_its_own_positions(kept):
    rng = np.random.default_rng(0)
    table_VxD = rng.normal(size=(9, 4)).astype(np.float32)
    params = {"token_embedder": {"embedding": table_VxD}}
    if kept == "int8":
        values, scale = layers.quantize(jnp.asarray(table_VxD), axis=1)
        params = {"token_embedder": {"embedding": values, "embedding_scale": scale}}
        table_VxD = np.asarray(values) * np.asarray(scale)[:, None]
    prompt_PxD = rng.normal(size=(3, 4)).astype(np.float32)
    penalty = losses.near_text([5, 2], 0.5)

    def found(vectors):
        return penalty(params, Extra(placing.prefix(vectors)))

    apart = np.concatenate([prompt_PxD[:2] - table_VxD[[5, 2]], np.zeros((1, 4))])
    value, slope = jax.value_and_grad(found)(prompt_PxD)
    assert value == pytest.approx(0.5 * (apart**2).sum() / 2, rel=1e-5)
    np.testing.assert_allclose(slope, 0.5 * apart, rtol=1e-5)
