"""On the eight virtual devices of conftest.py."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from flax import traverse_util
from jax.sharding import PartitionSpec as P

from prompt_tuning import network, partitioning
from prompt_tuning.errors import UserError


def test_a_mesh_takes_every_device():
    assert dict(partitioning.mesh().shape) == {"data": 8, "model": 1}
    assert dict(partitioning.mesh(model=2).shape) == {"data": 4, "model": 2}
    assert dict(partitioning.mesh(data=1, model=8).shape) == {"data": 1, "model": 8}


@pytest.mark.parametrize("sizes", [(3, 1), (-1, 3), (16, 1), (-1, 0)])
def test_a_mesh_that_leaves_devices_out_is_an_error(sizes):
    with pytest.raises(UserError, match="the 8 devices"):
        partitioning.mesh(*sizes)


def test_every_parameter_is_split_as_its_axes_say():
    shardings = partitioning.param_shardings(tiny.MODEL, partitioning.mesh(4, 2))
    flat = traverse_util.flatten_dict(shardings, sep="/")
    shapes = traverse_util.flatten_dict(partitioning.param_shapes(tiny.MODEL), sep="/")
    assert flat.keys() == shapes.keys()
    expected = {
        "embedding": P("model", None),
        "rel_embedding": P("model", None),
        "scale": P(None),
        "out/kernel": P("model", None),
        "wo/kernel": P("model", None),
        "kernel": P(None, "model"),  # into the heads, the MLP and the vocabulary
    }
    for name, sharding in flat.items():
        ending = next(end for end in expected if name.endswith(end))
        assert sharding.spec == expected[ending], name


def test_random_parameters_are_made_where_they_live():
    mesh = partitioning.mesh(4, 2)
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, num_decoder_layers=1))
    params = partitioning.init_params(model, jax.random.key(0), mesh)
    kernel = params["decoder"]["logits_dense"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (16, 20)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    expected = partitioning.param_shapes(model)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), expected)
    embedding = np.asarray(params["token_embedder"]["embedding"])
    assert embedding.std() == pytest.approx(1, abs=0.1)


def test_a_batch_is_split_over_data_and_repeated_over_model():
    batch = {"x": np.arange(16).reshape(8, 2)}
    x = partitioning.shard_batch(batch, partitioning.mesh(4, 2))["x"]
    np.testing.assert_array_equal(x, batch["x"])
    parts = [tuple(shard.data.ravel().tolist()) for shard in x.addressable_shards]
    quarters = [tuple(range(4 * i, 4 * i + 4)) for i in range(4)]
    assert sorted(parts) == sorted(2 * quarters)


def test_replicated_is_whole_on_every_device():
    x = jax.device_put(np.ones((3, 5)), partitioning.replicated(partitioning.mesh()))
    assert [s.data.shape for s in x.addressable_shards] == [(3, 5)] * 8


@pytest.mark.parametrize(
    ("size", "microbatches", "advice"),
    [(12, 1, "multiple of 8.*: 8 would do"), (24, 2, "16.*: 16"), (0, 1, "8.*: 8")],
)
def test_a_batch_that_cannot_be_split_evenly_is_an_error(size, microbatches, advice):
    mesh = partitioning.mesh()
    with pytest.raises(UserError, match=f"BATCH_SIZE is {size}.*{advice}"):
        partitioning.check_batch_size(size, mesh, microbatches)
    partitioning.check_batch_size(32, mesh, microbatches)
