"""Devices as a mesh, and one table from logical parameter axes to mesh axes.

The mesh has two axes: a batch is split over "data", the frozen weights over "model" or,
fully sharded, over both. jit with NamedSharding does the rest, on one host or many.
"""

import functools
import hashlib
import importlib.util
import math
import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from prompt_tuning import last_word
from prompt_tuning.errors import UserError

# Logical axis -> mesh axis. Parameters name their logical axes in layers.py.
RULES = (
    ("vocab", "model"),
    ("joined_kv", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("embed", None),  # "data" if weights are fully sharded
    ("features", None),  # of scales, which are small: not split
    ("relpos_buckets", None),
    ("layers", None),
)


def start_hosts(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Connects the processes of a run; to be called before JAX is used.

    A Slurm step of several tasks and a TPU pod are detected. Elsewhere the arguments,
    which go to jax.distributed.initialize, say who the processes are. A single process
    needs no arguments and does not wait.

    Raises:
      UserError: only some of the arguments are given, or one of them is invalid, or the
        processes do not meet.
    """
    told = (coordinator_address, num_processes, process_id)
    if told.count(None) in (1, 2):
        raise UserError(
            "--coordinator_address, --num_processes and --process_id belong together; "
            f"they are {', '.join(map(str, told))}: give all three, or none on Slurm, "
            "a TPU pod or one host"
        )
    if coordinator_address and num_processes is not None and process_id is not None:
        _check_hosts(coordinator_address, num_processes, process_id)
    elif not _in_slurm_step() and not _on_tpu():
        return
    last_word.start()
    waiting = threading.Timer(10, _say_that_it_waits)
    waiting.start()
    try:
        jax.distributed.initialize(
            *told,
            initialization_timeout=TIMEOUT,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"the processes of this run did not meet within {TIMEOUT} s ({reason}); "
            "start all of them, each with the same --coordinator_address=HOST:PORT, a "
            "port on process 0's host that the others can reach"
        ) from None
    finally:
        waiting.cancel()


def _say_that_it_waits() -> None:
    text = f"waiting for the other processes of this run, at most {TIMEOUT} s"
    print(text, file=sys.stderr, flush=True)


TIMEOUT = 60  # seconds, from the start of the first process to that of the last
HEARTBEAT = 30  # seconds without a sign of another process, until it counts as dead


def _check_hosts(address: str, processes: int, number: int) -> None:
    """Raises UserError at once for what would only be waited for in vain."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator_address is {address!r}; it must be HOST:PORT, a port of "
            "process 0's host that the others can reach (10.0.0.1:1234)"
        )
    if not 0 <= number < processes:
        raise UserError(
            f"--process_id is {number} of --num_processes={processes}; they count from "
            f"0 to {max(processes, 1) - 1}"
        )
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--coordinator_address is {address!r}, but there is no host {host!r} "
            f"({error}); give the name or number of process 0's host"
        ) from None


def is_lost_process(error: Exception) -> bool:
    """Whether an error says that another process of the run is gone."""
    ours = "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"  # memory; the program
    return (
        isinstance(error, jax.errors.JaxRuntimeError)
        and jax.process_count() > 1
        and not str(error).startswith(ours)
    )


def meet(name: str) -> None:
    """Waits until all processes of the run are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def check_same(values: Mapping[str, str]) -> None:
    """Raises UserError on each of a run's processes unless all have the same values.

    Args:
      values: what must be the same, under what it is called in the message.
    """
    if jax.process_count() == 1:
        return
    digests = [hashlib.sha256(value.encode()).digest() for value in values.values()]
    own = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
    each = multihost_utils.process_allgather(own)  # [processes, values, bytes]
    differ = (each != each[:1]).any(axis=(0, 2))
    names = [name for name, different in zip(values, differ, strict=True) if different]
    if names:
        raise UserError(
            f"the processes of this run have different {' and '.join(names)}; start "
            "each with the same flags, files and data"
        )


def _in_slurm_step() -> bool:
    """Whether `srun` started several tasks; a shell under Slurm does not count."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    return "SLURM_PROCID" in os.environ and int(tasks) > 1


def _on_tpu() -> bool:
    devices = ("/dev/accel0", "/dev/vfio/0")
    return bool(importlib.util.find_spec("libtpu")) and any(
        map(os.path.exists, devices)
    )


def mesh(data: int = -1, model: int = 1) -> Mesh:
    """All devices as a (data, model) grid; data=-1 takes all that `model` leaves."""
    data = _along_data(data, model)
    if not fits(data, model):
        raise UserError(
            f"a mesh of data={data} x model={model} does not use the "
            f"{jax.device_count()} devices here exactly: their product must be the "
            "number of devices"
        )
    axis_types = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((data, model), ("data", "model"), axis_types)


def fits(data: int, model: int) -> bool:
    """Whether `mesh` can make such a mesh of the devices that are here."""
    return _along_data(data, model) * model == jax.device_count()


def _along_data(data: int, model: int) -> int:
    """The devices along "data", of those on all hosts; -1: all that `model` leaves."""
    return jax.device_count() // model if data == -1 and model > 0 else data


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds whole, such as a prompt."""
    return NamedSharding(mesh, PartitionSpec())


def placed(tree: Any, mesh: Mesh) -> Any:
    """The arrays of `tree` on `mesh`: those not there yet are replicated."""

    def place(x: Any) -> jax.Array:
        sharding = getattr(x, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
            return x
        # By the host: with one device a process, JAX mixes up the shards of an array
        # that it copies from a device of this process to the mesh of all.
        return jax.device_put(jax.device_get(x), replicated(mesh))

    return jax.tree.map(place, tree)


def param_shardings(model: nn.Module, mesh: Mesh, fully_sharded: bool = False) -> Any:
    """The NamedSharding of each parameter of `model`, as a tree.

    Args:
      fully_sharded: split weights over "data" too, and gather a layer's weights when
        it is computed: less memory, more communication.
    """
    rules = dict(RULES) | ({"embed": "data"} if fully_sharded else {})
    axes = logical_axes(model)
    return nn.logical_to_mesh_sharding(axes, mesh, tuple(rules.items()))


def logical_axes(model: nn.Module) -> Any:
    """The logical axes of each parameter of `model`, as a tree of PartitionSpecs."""
    return nn.get_partition_spec(_boxed(model))


def check_mesh(model: nn.Module, mesh: Mesh, fully_sharded: bool = False) -> None:
    """Raises UserError unless every parameter can be split evenly over `mesh`."""
    config = model.config
    sizes = {name: getattr(config, name) for name in _SPLIT}
    uneven = [f"{n} {size}" for n, size in sizes.items() if size % mesh.shape["model"]]
    if uneven:
        raise UserError(
            f"the mesh has {mesh.shape['model']} devices along 'model', which do not "
            f"divide {', '.join(uneven)}; set mesh.model to a divisor of "
            f"{math.gcd(*sizes.values())}"
        )
    if fully_sharded and config.emb_dim % mesh.shape["data"]:
        raise UserError(
            f"the mesh has {mesh.shape['data']} devices along 'data', which do not "
            f"divide emb_dim {config.emb_dim}; fully sharded weights need that"
        )


# The sizes that are split over "model".
_SPLIT = ("num_heads", "mlp_dim", "vocab_size")


def param_shapes(model: nn.Module) -> Any:
    """The jax.ShapeDtypeStruct of each parameter of `model`, as a tree."""
    return nn.unbox(_boxed(model))


def init_params(
    model: nn.Module, rng: jax.Array, mesh: Mesh, fully_sharded: bool = False
) -> Any:
    """Random parameters (T5's initialisation), each created with its sharding."""

    def init(rng):
        return nn.unbox(model.init(rng, _example())["params"])

    return jax.jit(init, out_shardings=param_shardings(model, mesh, fully_sharded))(rng)


@functools.lru_cache(maxsize=32)  # of shapes; tracing a model takes its time
def _boxed(model: nn.Module) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), _example())["params"]


def _example() -> dict[str, np.ndarray]:
    tokens = np.zeros((1, 1), np.int32)
    return {"encoder_input_tokens": tokens, "decoder_input_tokens": tokens}


def split_batch(x: jax.Array) -> jax.Array:
    """Keeps x [B, ...] split over "data" alone; used inside jit, under `jax.set_mesh`.

    With fully sharded weights the compiler might split the features of x instead, and
    every device would work on the whole batch.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data"))


def host_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Which rows of a batch this host's devices hold, in ascending order."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    parts = sharding.addressable_devices_indices_map((batch_size,)).values()
    slices = [part[0] for part in parts if part]  # without a part: no rows
    rows = {row for part in slices for row in range(*part.indices(batch_size))}
    return np.array(sorted(rows))


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
