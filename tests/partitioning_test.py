"""On the eight virtual devices of conftest.py."""

import dataclasses
import functools
import os

import jax
import numpy as np
import optax
import pytest
import tiny
from flax import traverse_util
from jax.sharding import PartitionSpec as P

from prompt_tuning import last_word, methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import step


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
        "rel_embedding": P("model", None),
        "embedding": P("model", None),
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


# The same step on every mesh

WIDE = network.Transformer(dataclasses.replace(tiny.CONFIG, num_heads=8, head_dim=2))
MESHES = [(8, 1), (4, 2), (2, 4), (1, 8)]


@functools.cache
def stepped(data, model, fully_sharded=False, method="prompt"):
    """One step on a mesh of some of the devices: (metrics, what was trained)."""
    devices = jax.devices()[: data * model]
    mesh = jax.make_mesh(
        (data, model),
        ("data", "model"),
        (jax.sharding.AxisType.Auto,) * 2,
        devices=devices,
    )
    shardings = partitioning.param_shardings(WIDE, mesh, fully_sharded)
    params = jax.device_put(tiny.params(WIDE), shardings)
    trained, frozen = tiny.prompt(), params
    if method == "whole":
        trained, frozen = params, None
    # A gradient step, which a small error of the gradient moves by as little.
    sgd = optax.sgd(0.3)
    states = partitioning.placed((step.new_state(trained, sgd),), mesh)
    take = jax.jit(
        step.make_step(WIDE, methods.of(Settings(Run(method=method))), [sgd])
    )
    batch = partitioning.shard_batch(tiny.joint(tiny.batch()), mesh)
    with jax.set_mesh(mesh):
        found = take(states, frozen, batch, jax.random.key(0)[None])
    ((state,), (metrics,)) = found
    metrics = {name: value.item() for name, value in metrics.items()}
    return metrics, jax.device_get(state.trained)


@pytest.mark.parametrize("sizes", MESHES)
@pytest.mark.parametrize("fully_sharded", [False, True])
def test_loss_gradient_and_step_are_those_of_one_device(sizes, fully_sharded):
    expected, prompt = stepped(1, 1)
    got, moved = stepped(*sizes, fully_sharded)
    assert got == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(moved, prompt, atol=1e-5)
    assert np.abs(prompt - tiny.prompt()).max() > 0.1, "the step moves it"


def test_model_tuning_is_the_same_fully_sharded():
    (expected, params), (got, sharded) = (
        stepped(*sizes, fully_sharded, "whole")
        for sizes, fully_sharded in (((1, 1), False), ((4, 2), True))
    )
    assert got == pytest.approx(expected, rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), sharded, params
    )


def test_fully_sharded_weights_are_split_over_both_axes():
    mesh = partitioning.mesh(4, 2)
    shardings = partitioning.param_shardings(WIDE, mesh, fully_sharded=True)
    kernel = shardings["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
    assert kernel.spec == P("data", "model")
    assert kernel.shard_shape((16, 24)) == (4, 12)
    norm = shardings["encoder"]["encoder_norm"]["scale"]
    assert norm.is_fully_replicated


def test_fully_sharded_weights_leave_each_device_its_part_of_the_batch():
    """Without the constraint in each layer the compiler splits features instead."""
    mesh = partitioning.mesh(8, 1)
    shardings = partitioning.param_shardings(WIDE, mesh, fully_sharded=True)
    structs = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        partitioning.param_shapes(WIDE),
        shardings,
    )
    batch = partitioning.shard_batch(tiny.batch(examples=64, inputs=33), mesh)

    def loss(prompt, params, batch):
        return WIDE.apply({"params": params}, batch, tiny.extra(prompt)).sum()

    with jax.set_mesh(mesh):
        compiled = (
            jax.jit(jax.grad(loss)).lower(tiny.prompt(), structs, batch).compile()
        )
    text = compiled.as_text()
    assert "f32[8,36,16]" in text, "8 examples of 36 positions on each device"
    assert "f32[64,36," not in text, "no device has all examples"
    assert "all-gather" in text


@pytest.mark.parametrize(
    ("sizes", "fully_sharded", "words"),
    [
        ((1, 8), False, "8 devices along 'model', which do not divide num_heads 2"),
        ((8, 1), True, "8 devices along 'data', which do not divide emb_dim 12"),
    ],
)
def test_a_mesh_that_does_not_divide_the_model_is_an_error(sizes, fully_sharded, words):
    config = dataclasses.replace(tiny.CONFIG, emb_dim=12)
    mesh = partitioning.mesh(*sizes)
    with pytest.raises(UserError, match=words):
        partitioning.check_mesh(network.Transformer(config), mesh, fully_sharded)
    partitioning.check_mesh(WIDE, mesh, fully_sharded)


# Hosts


@pytest.mark.parametrize(("sizes", "batch"), [((8, 1), 16), ((4, 2), 8), ((1, 8), 4)])
def test_one_host_holds_all_rows(sizes, batch):
    rows = partitioning.host_rows(partitioning.mesh(*sizes), batch)
    np.testing.assert_array_equal(rows, np.arange(batch))


@pytest.fixture
def started(monkeypatch):
    """The arguments of each jax.distributed.initialize, which does not run."""
    calls = []
    monkeypatch.setattr(last_word, "start", lambda: None)  # stderr is the tests'
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **kwargs: calls.append(args)
    )
    for name in list(os.environ):
        if name.startswith("SLURM"):
            monkeypatch.delenv(name)
    return calls


def test_one_process_waits_for_nobody(started, monkeypatch):
    partitioning.start_hosts()
    monkeypatch.setenv("SLURM_PROCID", "0")  # a shell under Slurm, a step of one task
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    partitioning.start_hosts()
    assert not started


def test_a_slurm_step_and_flags_start_several(started, monkeypatch):
    partitioning.start_hosts("localhost:1", 2, 0)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    partitioning.start_hosts()
    assert started == [("localhost:1", 2, 0), (None, None, None)]


def test_flags_of_hosts_belong_together(started):
    with pytest.raises(UserError, match=r"belong together; .* localhost:1, None, None"):
        partitioning.start_hosts("localhost:1")
    assert not started


def test_processes_that_do_not_meet_are_told(started, monkeypatch):
    def initialize(*args, **kwargs):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody came")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match=r"did not meet within 60 s .*nobody came"):
        partitioning.start_hosts("localhost:1", 2, 0)


def test_a_lost_process_is_told_from_our_own_faults(monkeypatch):
    gone = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: closed by peer")
    assert not partitioning.is_lost_process(gone), "there is only one"
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert partitioning.is_lost_process(gone)
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    for ours in (full, ValueError("UNKNOWN")):
        assert not partitioning.is_lost_process(ours)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (("localhost", 2, 0), "'localhost'; it must be HOST:PORT"),
        (("localhost:x", 2, 0), "must be HOST:PORT"),
        (("localhost:99999", 2, 0), "must be HOST:PORT"),
        ((":1", 2, 0), "must be HOST:PORT"),
        (("no.such.host.invalid:1", 2, 0), "no host 'no.such.host.invalid'"),
        (("localhost:1", 2, 2), r"--process_id is 2 of --num_processes=2; .* 0 to 1"),
        (("localhost:1", 0, 0), "--process_id is 0 of --num_processes=0"),
    ],
)
def test_what_cannot_be_a_host_is_told_at_once(started, told, problem):
    with pytest.raises(UserError, match=problem):
        partitioning.start_hosts(*told)
    assert not started
