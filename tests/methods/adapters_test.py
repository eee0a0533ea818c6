"""Adapters stand after both parts of a layer or after its MLP, near the identity."""

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.method_settings import Adapters
from prompt_tuning.settings import Run, Settings

START = methods.Start(class_words=(), encode=list)
FROZEN = tiny.params()


def begun(kind):
    chosen = Settings(Run(method="adapters"), adapters=Adapters(kind=kind, width=5))
    method = methods.of(chosen)
    return method, method.init(jax.random.key(0), FROZEN, START)


@pytest.mark.parametrize(("kind", "number"), [("houlsby", 2), ("pfeiffer", 1)])
def test_they_stand_where_their_paper_says(kind, number):
    """2 D R for each; the paper's biases are left out."""
    method, trained = begun(kind)
    layers = tiny.CONFIG.num_encoder_layers + tiny.CONFIG.num_decoder_layers
    count = sum(leaf.size for leaf in jax.tree.leaves(trained))
    assert count == number * layers * 2 * tiny.CONFIG.emb_dim * 5
    _, extra = method.fold(trained, None)
    for stack in (extra.encoder, extra.decoder):
        assert stack.mlp_adapter is not None
        assert (stack.attention_adapter is not None) == (kind == "houlsby")


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer"])
def test_they_start_near_the_identity(kind):
    method, trained = begun(kind)
    for leaf in jax.tree.leaves(trained):
        assert 0.005 < leaf.std() < 0.011 and np.abs(leaf).max() <= 0.02
    plain, bound = (
        np.asarray(tiny.MODEL.apply({"params": FROZEN}, tiny.batch(), extra))
        for extra in (tiny.extra(), method.bind(trained, FROZEN)[1])
    )
    assert 0 < np.abs(plain - bound).max() < 0.01 * plain.std()
