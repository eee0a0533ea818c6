"""Dense layers, by hand and as torch starts them."""

import jax
import numpy as np

from prompt_tuning.methods import perceptron


def test_a_layer_is_x_kernel_plus_bias():
    layer = {"kernel": np.float32([[1, 2], [3, 4]]), "bias": np.float32([10, 20])}
    found = perceptron.dense(layer, np.float32([[1, 1], [0, 2]]))
    np.testing.assert_array_equal(found, [[14, 26], [16, 28]])


def test_a_linear_layer_starts_as_torchs():
    drawn = np.asarray(perceptron.uniform(jax.random.key(0), (100, 50), 16))
    assert 0.24 < drawn.max() <= 0.25 and -0.25 <= drawn.min() < -0.24
    assert abs(drawn.mean()) < 0.01


def test_it_starts_within_one_over_the_root_of_its_inputs():
    layer = perceptron.dense_init(jax.random.key(0), 100, 50)
    assert layer["kernel"].shape == (100, 50) and layer["bias"].shape == (50,)
    for values in jax.tree.leaves(layer):
        assert 0.08 < np.abs(values).max() <= 0.1
        assert abs(values.std() - 0.1 / np.sqrt(3)) < 0.01
    assert (layer["bias"] != layer["kernel"][0]).all(), "each is drawn by itself"
