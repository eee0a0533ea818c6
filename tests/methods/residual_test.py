"""Residual prompt tuning, by the paper's formula and its own counts."""

import jax
import numpy as np
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.methods import residual
from prompt_tuning.settings import Run, Settings

START = methods.Start(class_words=(), encode=list)


def begun(length=3, hidden=5):
    own = method_settings.Residual(hidden)
    run = Run(method="residual", prompt_length=length, prompt_init="sampled_vocab")
    method = methods.of(Settings(run, residual=own))
    return method, method.init(jax.random.key(0), tiny.params(), START)


def test_a_vector_is_itself_and_the_norm_of_an_mlp_of_it():
    """In float64, by hand."""
    _, trained = begun()
    rng = np.random.default_rng(0)
    trained = jax.tree.map(lambda x: rng.normal(size=x.shape), trained)
    x_PxD, down, up, norm = (trained[k] for k in ("vectors", "down", "up", "norm"))
    h_PxM = np.maximum(x_PxD @ down["kernel"] + down["bias"], 0)
    y_PxD = h_PxM @ up["kernel"] + up["bias"]
    centred = y_PxD - y_PxD.mean(1, keepdims=True)
    y_PxD = centred / np.sqrt(y_PxD.var(1, keepdims=True) + 1e-5)
    expected = x_PxD + y_PxD * norm["scale"] + norm["bias"]
    found = residual.prompt_of(jax.tree.map(np.float32, trained))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_its_vectors_start_as_the_prompt_does_and_the_mlp_moves_each_by_one_norm():
    _, trained = begun()
    table_VxD = tiny.params()["token_embedder"]["embedding"]
    rows = np.asarray(trained["vectors"])[:, None] == table_VxD[None]
    assert rows.all(-1).any(1).all(), "sampled from the vocabulary"
    moved = residual.prompt_of(trained) - trained["vectors"]
    np.testing.assert_allclose(np.square(moved).mean(1), 1, rtol=1e-3)


def test_its_parameters_are_those_of_the_paper():
    """Xiao et al. (2023), Figure 1: 925K with T5-Large, P = 100 and M = 400."""

    def count(length, width, hidden):
        return length * width + 2 * width * hidden + hidden + 3 * width

    assert count(100, 1024, 400) == 925_072
    _, trained = begun(3, 5)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(trained))
    assert sizes == count(3, tiny.CONFIG.emb_dim, 5)
