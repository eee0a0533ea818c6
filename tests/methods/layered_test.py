"""The sizes of a frozen model are read from its arrays."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning.methods import layered
from prompt_tuning.t5 import network

CONFIG = dataclasses.replace(tiny.CONFIG, num_encoder_layers=3)


@pytest.mark.parametrize("changes", [{}, {"scan_layers": True}, {"gated_mlp": False}])
def test_sizes_are_those_of_the_config(changes):
    config = dataclasses.replace(CONFIG, **changes)
    found = layered.sizes(tiny.params(network.Transformer(config)))
    assert (found.encoder, found.decoder) == (3, 2)
    assert found.stacks == {"encoder": 3, "decoder": 2}
    for field in ("emb_dim", "num_heads", "head_dim", "mlp_dim"):
        assert getattr(found, field) == getattr(config, field)


def test_a_linear_layer_starts_as_torchs():
    drawn = np.asarray(layered.uniform(jax.random.key(0), (100, 50), 16))
    assert 0.24 < drawn.max() <= 0.25 and -0.25 <= drawn.min() < -0.24
    assert abs(drawn.mean()) < 0.01
