"""The sizes of a frozen model are read from its arrays."""

import dataclasses

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
