"""Devices as a mesh, and one table from logical parameter axes to mesh axes.

The mesh has two axes: "data", over which a batch is split, and "model", over which the
frozen weights are. jit with NamedSharding (what pjit became) does the rest.
"""

from typing import Any

import flax.linen as nn
import gin
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from prompt_tuning.errors import UserError

# Logical axis -> mesh axis. Parameters name their logical axes in layers.py.
RULES = (
    ("vocab", "model"),
    ("joined_kv", "model"),
    ("mlp", "model"),
    ("heads", None),  # only of the relative bias, which is small: 6 heads in T5 Small
    ("embed", None),
    ("relpos_buckets", None),
    ("layers", None),
)


@gin.configurable
def mesh(data: int = -1, model: int = 1) -> Mesh:
    """All devices as a (data, model) grid; -1 takes what the other axis leaves."""
    devices = jax.device_count()
    if data == -1 and model > 0:
        data = devices // model
    if data * model != devices:
        raise UserError(
            f"a mesh of data={data} x model={model} does not use the {devices} devices "
            "here exactly: their product must be the number of devices"
        )
    axis_types = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((data, model), ("data", "model"), axis_types)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole: the prompt, its optimizer."""
    return NamedSharding(mesh, PartitionSpec())


def placed(tree: Any, mesh: Mesh) -> Any:
    """Arrays on `mesh`: those that are there stay, others go whole to every device."""

    def place(x: Any) -> jax.Array:
        sharding = getattr(x, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
            return x
        return jax.device_put(x, replicated(mesh))

    return jax.tree.map(place, tree)


def param_shardings(model: nn.Module, mesh: Mesh) -> Any:
    """For each parameter of `model` its NamedSharding, as a tree."""
    specs = nn.get_partition_spec(_boxed(model))
    return nn.logical_to_mesh_sharding(specs, mesh, RULES)


def param_shapes(model: nn.Module) -> Any:
    """For each parameter of `model` its jax.ShapeDtypeStruct, as a tree."""
    return nn.unbox(_boxed(model))


def init_params(model: nn.Module, rng: jax.Array, mesh: Mesh) -> Any:
    """Random parameters (T5's initialisation), each made where it will live."""

    def init(rng):
        return nn.unbox(model.init(rng, _example())["params"])

    return jax.jit(init, out_shardings=param_shardings(model, mesh))(rng)


def _boxed(model: nn.Module) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), _example())["params"]


def _example() -> dict[str, jax.Array]:
    tokens = np.zeros((1, 1), np.int32)
    return {"encoder_input_tokens": tokens, "decoder_input_tokens": tokens}


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this host's part of a batch on its devices, split over "data"."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def check_batch_size(batch_size: int, mesh: Mesh, num_microbatches: int = 1) -> None:
    """Raises UserError unless every device gets the same number of examples."""
    parts = mesh.shape["data"] * num_microbatches
    if batch_size < 1 or batch_size % parts:
        raise UserError(
            f"BATCH_SIZE is {batch_size}; it must be a multiple of {parts} "
            f"({mesh.shape['data']} devices along 'data' x {num_microbatches} "
            f"microbatches): {max(1, batch_size // parts) * parts} would do"
        )
