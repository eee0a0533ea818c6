"""Against T5X with the released prompt code, on T5X's own tiny checkpoint in ../shared."""

import json

import jax
import numpy as np
import optax
import pytest
from flax import serialization, traverse_util

from prompt_tuning import losses, network, optimizer

CONFIG = network.T5Config(
    vocab_size=32_128,
    emb_dim=4,
    num_heads=2,
    head_dim=2,
    mlp_dim=8,
    num_encoder_layers=2,
    num_decoder_layers=2,
    relpos_buckets=4,
    relpos_max_distance=8,
)


def t5x_params(checkpoint):
    """The tree of a T5X checkpoint: arrays in msgpack, or each in a Zarr folder."""
    import tensorstore

    def array(path, leaf):
        if not isinstance(leaf, str):
            return np.asarray(leaf)
        folder = checkpoint / ".".join(("target", *path))
        kvstore = {"driver": "file", "path": str(folder)}
        return tensorstore.open({"driver": "zarr", "kvstore": kvstore}).result()[...]

    tree = serialization.msgpack_restore((checkpoint / "checkpoint").read_bytes())
    flat = traverse_util.flatten_dict(
        tree["optimizer"]["target"],
        is_leaf=lambda _, node: "kvstore" in node,
    )
    return flat
