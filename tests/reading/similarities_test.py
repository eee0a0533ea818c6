"""Similarities of planted prompts, against scikit-learn and the network by hand."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from sklearn.metrics.pairwise import cosine_similarity

from prompt_tuning.reading import similarities
from prompt_tuning.t5 import network

PROMPTS = [tiny.prompt(3, seed=1), tiny.prompt(5, seed=2), -tiny.prompt(3, seed=1)]


def test_means_and_positions_are_scikit_learns():
    means = np.stack([one.mean(axis=0) for one in PROMPTS])
    found = similarities.of_means(PROMPTS)
    np.testing.assert_allclose(found, cosine_similarity(means), atol=1e-6)
    assert found[0, 2] == pytest.approx(-1)
    found = similarities.of_positions(PROMPTS)
    for i, one in enumerate(PROMPTS):
        for j, other in enumerate(PROMPTS):
            pairs = cosine_similarity(one, other)
            if i == j:
                pairs = pairs[np.triu_indices(len(one), 1)]
            assert found[i, j] == pytest.approx(pairs.mean(), abs=1e-6)


def test_same_positions_have_a_cosine_each():
    one, other = PROMPTS[0], tiny.prompt(3, seed=3)
    found = similarities.of_same_positions([one, other, -one])
    each = np.diag(cosine_similarity(one, other))
    assert found[0, 1] == found[1, 0] == pytest.approx(each.mean(), abs=1e-6)
    assert (found[0, 0], found[0, 2]) == (pytest.approx(1), pytest.approx(-1))


@pytest.mark.parametrize("gated", [True, False])
def test_active_neurons_are_those_whose_pre_activations_are_positive(gated):
    config = dataclasses.replace(tiny.CONFIG, gated_mlp=gated, num_decoder_layers=1)
    model = network.Transformer(config)
    params = tiny.params(model)
    active = similarities.active_neurons(model, params, PROMPTS[0])
    assert active.shape == (config.mlp_dim,)
    assert 0 < active.sum() < len(active)
    # A neuron that is shut off for good (its input kernel negated) flips.
    kernel = params["decoder"]["layers_0"]["mlp"]["wi_0" if gated else "wi"]
    kernel["kernel"][:, :5] *= -1
    flipped = similarities.active_neurons(model, params, PROMPTS[0])
    np.testing.assert_array_equal(flipped[:5], ~active[:5])
    np.testing.assert_array_equal(flipped[5:], active[5:])


def test_layers_follow_one_another_and_the_prompt_matters():
    params = jax.tree.map(np.asarray, tiny.params())
    one, other = (
        similarities.active_neurons(tiny.MODEL, params, p) for p in PROMPTS[:2]
    )
    assert one.shape == (2 * tiny.CONFIG.mlp_dim,)
    assert (one != other).any()


def test_overlap_by_hand():
    active = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1]], bool)
    found = similarities.overlap(active)
    np.testing.assert_allclose(np.diag(found), 1)
    assert found[0, 1] == pytest.approx(1 / (2 * 3) ** 0.5)
    assert found[0, 2] == 0


def test_similar_prompts_stand_together():
    near = np.array(
        [[1, 0.1, 0.9, 0], [0.1, 1, 0, 0.8], [0.9, 0, 1, 0], [0, 0.8, 0, 1]]
    )
    order = similarities.order(near)
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert similarities.order(np.ones((1, 1))) == [0]
