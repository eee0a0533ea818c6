"""What a run needs: parameters, operations, and memory on each device.

No weights are created: shapes are enough to count parameters, and to compile the
training step for devices that this machine does not have.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, Settings, T5Config
from prompt_tuning.t5 import network
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import losses, optimizer, step

# Memory of one device in GB. A TPU v3 chip counts as two devices, its two cores.
MEMORY = {
    "TPU v3": 16,
    "TPU v5e": 16,
    "TPU v4": 32,
    "A100-40": 40,
    "H100-80": 80,
    "H200-141": 141,
}
LENGTHS = {"inputs": 512, "targets": 8}  # the released code's for SuperGLUE
SHARE = 0.9  # of the memory is for the run; the runtime needs the rest


def count(model: network.Transformer) -> int:
    """The number of parameters of the frozen model."""
    return size(partitioning.param_shapes(model))


class Need(NamedTuple):
    """Bytes on each device.

    weights: the frozen model's. state: what is trained and its optimizer state, whole
    on every device, but for weights that are trained: those are split as frozen ones.
    activations: what the forward pass keeps for the backward pass. temporaries:
    everything else that the step holds for a while.
    """

    weights: int
    state: int
    activations: int
    temporaries: int

    @property
    def total(self) -> int:
        return sum(self)


class Workload(NamedTuple):
    """What one training step works on; lengths are in tokens.

    encodings: how many times each input is encoded, and its target decoded.
    """

    prompt_length: int
    batch_size: int
    inputs: int
    targets: int
    num_microbatches: int = 1
    encodings: int = 1


def step_flops(
    config: network.T5Config,
    work: Workload,
    weights: bool = False,
    more_losses: int = 0,
) -> int:
    """Floating-point operations of the matrix products of a training step.

    These are the forward pass and the gradients of activations. In prompt tuning there
    are no gradients of weights, nor in the decoder up to its first cross-attention,
    which the prompt does not reach.

    Args:
      weights: the model's weights are trained too.
      more_losses: further forward passes on the same batch.
    """
    c, heads = config, config.num_heads * config.head_dim
    source = work.prompt_length + work.inputs
    # With few targets, queries are mapped to D; otherwise keys and values to heads.
    few = work.targets < c.head_dim
    width, rows = (c.num_heads * c.emb_dim, work.targets) if few else (heads, source)
    # Multiplications for one position of a stack, or for one pair of positions.
    square, mlp = c.emb_dim * heads, (2 + c.gated_mlp) * c.emb_dim * c.mlp_dim
    encoder = c.num_encoder_layers * source * (4 * square + mlp)
    decoder = c.num_decoder_layers * (
        work.targets * (6 * square + mlp) + rows * 2 * square
    )
    logits = work.targets * c.emb_dim * c.vocab_size
    # Scores and weighted sums; backward, each has a product for either factor.
    attention = 2 * heads * c.num_encoder_layers * source**2
    attention += 2 * width * c.num_decoder_layers * work.targets * source
    own = 2 * heads * c.num_decoder_layers * work.targets**2
    forward = encoder + decoder + logits + attention + own
    examples = work.batch_size * work.encodings
    more = 2 * examples * more_losses * forward
    if weights:
        return 2 * examples * (3 * forward) + more
    unreached = 5 * square * work.targets + 4 * heads * work.targets**2
    unreached += width * work.targets * source  # the first cross-attention's queries
    unreached += few * square * work.targets
    backward = encoder + decoder + logits + 2 * (attention + own) - unreached
    return 2 * examples * (forward + backward) + more


def flops_of(
    config: network.T5Config,
    prompt_length: int,
    weights: bool = False,
    more_losses: int = 0,
    encodings: int = 1,
) -> Callable[[Mapping[str, Any]], int]:
    """A batch [B, N, ...] for N trained states -> FLOPs of the step on it."""

    def flops(batch: Mapping[str, Any]) -> int:
        rows, states, inputs = batch["encoder_input_tokens"].shape
        targets = batch["decoder_target_tokens"].shape[-1]
        lengths = prompt_length, rows, inputs, targets
        work = Workload(*lengths, encodings=encodings)
        return states * step_flops(config, work, weights, more_losses)

    return flops


def parse_mesh(text: str) -> tuple[int, int]:
    """ "8x4" -> (8, 4), devices along "data" and along "model"."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise UserError(
            f"--mesh is {text!r}; it must be DATAxMODEL, the number of devices over "
            "which the batch is split by that over which the weights are, such as 8x4"
        )
    return int(match[1]), int(match[2])


MOST_DEVICES = 64  # tried when looking for the smallest mesh


def use_virtual_devices(number: int) -> None:
    """Makes JAX see the CPU as `number` devices; to be called before JAX is used."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(number, MOST_DEVICES))


def virtual_mesh(data: int, model: int) -> Mesh:
    """A mesh of the first data * model virtual devices."""
    devices = jax.devices()[: data * model]
    return jax.make_mesh(
        (data, model), ("data", "model"), (AxisType.Auto,) * 2, devices=devices
    )


class Trained(NamedTuple):
    """A method, and the shapes of what it trains.

    taken: of each array in `tree` the number of the frozen array that it is, in the
    order of jax.tree.leaves, or None: a method may train frozen weights.
    """

    method: methods.Method
    tree: Any
    taken: tuple[int | None, ...]
    optimizer: optax.GradientTransformation


def trained(
    settings: Settings,
    model: network.Transformer,
    label_ids: Sequence[Sequence[int]] = (),
    tasks: Sequence[str] = (),
) -> Trained:
    """What a run's method trains, by its own `init`; no weights are made.

    Words of the task, which say how a prompt starts, change no shape and are left out.

    Args:
      label_ids: the token ids of what the model writes for each label.
      tasks: the names of those that are trained on.

    Raises:
      UserError: the method refuses the settings.
    """
    settings = any_ids(settings, model.config.vocab_size)
    run, method = settings.run, methods.of(settings)
    if not method.trains:
        raise UserError(
            f"METHOD is {run.method!r}, which trains nothing: there is no step to plan"
        )
    first_PxD = np.zeros((run.prompt_length, model.config.emb_dim), np.float32)
    words: Any = ((0,),)  # words are their ids here
    labels: Any = label_ids
    start = methods.Start(words, _ids, first_PxD, labels, tasks=tasks)
    taken: list[int | None] = []

    def init(frozen: Any) -> Any:
        made = method.init(jax.random.key(run.seed), frozen, start)
        numbers = {id(x): number for number, x in enumerate(jax.tree.leaves(frozen))}
        taken.extend(numbers.get(id(x)) for x in jax.tree.leaves(made))
        return made

    tree = jax.eval_shape(init, partitioning.param_shapes(model))
    own, _ = optimizer.chosen(settings, searches=bool(method.search))
    return Trained(method, tree, tuple(taken), own)


def any_ids(settings: Settings, rows: int) -> Settings:
    """With all tokens to choose from, as no shape depends on which may be."""
    name = settings.run.method
    options = getattr(settings, name, None)
    if getattr(options, "ids", None) is None:
        return settings
    ids = dataclasses.replace(options, ids=f"0-{rows - 1}")  # type: ignore[type-var]
    return dataclasses.replace(settings, **{name: ids})


def _ids(word: str | Sequence[int]) -> Sequence[int]:
    """Of a word that is its ids already; one stands in for a text's."""
    return (0,) if isinstance(word, str) else word


def left_frozen(tree: Any, trained: Trained) -> Any:
    """A tree like the frozen parameters', None in place of those that are trained."""
    leaves, structure = jax.tree.flatten(tree)
    left = [None if i in trained.taken else x for i, x in enumerate(leaves)]
    return jax.tree.unflatten(structure, left)


def shipped(model: network.Transformer, trained: Trained) -> tuple[Any, Extra]:
    """(parameters or None, extra) that a run ships, as shapes; see methods.Method."""
    left = left_frozen(partitioning.param_shapes(model), trained)
    return jax.eval_shape(trained.method.fold, trained.tree, left)


def size(tree: Any) -> int:
    """The number of values in a tree of arrays or shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def _prompt(model: network.Transformer, work: Workload) -> Trained:
    run = Run(prompt_length=work.prompt_length, prompt_init="sampled_vocab")
    return trained(Settings(run), model)


def need(
    model: network.Transformer,
    mesh: Mesh,
    work: Workload,
    trained: Trained | None = None,
    **sharding: bool,
) -> Need:
    """What one step needs on each device of `mesh`; by default of prompt tuning.

    Weights and state are exact. For the rest the step is compiled for the mesh in
    float32, and its bytes are scaled to the width of the model's activations: compiled
    in bfloat16, the CPU would convert arrays to float32 and keep both. Activations are
    what the step holds on top of the forward pass.
    """
    config = dataclasses.replace(
        model.config, dtype="float32", param_dtype="float32", attention="plain"
    )
    wide = network.Transformer(config)
    own = trained or _prompt(model, work)
    states, frozen, *_ = _arguments(model, mesh, work, own, **sharding)
    arguments = _arguments(wide, mesh, work, own, **sharding)
    optimizers = [own.optimizer]
    step_fn = step.make_step(wide, own.method, optimizers, work.num_microbatches)
    forward_fn = functools.partial(_loss, wide, own.method, work.num_microbatches)
    both, forward = (_temporaries(fn, arguments, mesh) for fn in (step_fn, forward_fn))
    width = 0.5 if model.config.dtype == "bfloat16" else 1
    return Need(
        weights=sum(map(_shard_bytes, jax.tree.leaves(frozen))),
        state=sum(map(_shard_bytes, jax.tree.leaves(states))),
        activations=int(width * max(both - forward, 0)),
        temporaries=int(width * min(both, forward)),
    )


def _shard_bytes(x: jax.ShapeDtypeStruct) -> int:
    assert x.sharding is not None
    return math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize


def _loss(
    model: network.Transformer,
    method: methods.Method,
    parts: int,
    states: step.States,
    frozen: Any,
    batch: Any,
    rngs: Any,
) -> jax.Array:
    """The forward pass: the loss of as many examples as one microbatch has."""
    batch = jax.tree.map(lambda x: x[::parts, 0], batch)
    params, extra = method.bind(states[0].trained, frozen)
    logits_BxSxV = model.apply({"params": params}, batch, extra)
    targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    return losses.cross_entropy(logits_BxSxV, *targets)[0]


def _arguments(
    model: network.Transformer,
    mesh: Mesh,
    work: Workload,
    trained: Trained | None = None,
    **sharding: bool,
) -> tuple:
    """The step's arguments, as shapes with shardings; by default of a prompt."""
    own = trained or _prompt(model, work)

    def struct(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    whole = partitioning.replicated(mesh)
    shapes = partitioning.param_shapes(model)
    shardings = partitioning.param_shardings(model, mesh, **sharding)
    split = jax.tree.leaves(shardings)
    leaves, structure = jax.tree.flatten(own.tree)
    places = [whole if i is None else split[i] for i in own.taken]
    tree = jax.tree.unflatten(structure, map(struct, leaves, places))
    states = jax.eval_shape(lambda x: (step.new_state(x, own.optimizer),), own.tree)
    rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    states, rngs = jax.tree.map(lambda x: struct(x, whole), (states, rngs))
    states = (states[0]._replace(trained=tree),)
    params = left_frozen(jax.tree.map(struct, shapes, shardings), own)
    lengths = dict.fromkeys(
        ("decoder_input_tokens", "decoder_target_tokens", "decoder_loss_weights"),
        work.targets,
    ) | {"encoder_input_tokens": work.inputs}
    rows = NamedSharding(mesh, PartitionSpec("data"))
    batch = {
        name: jax.ShapeDtypeStruct((work.batch_size, 1, n), jnp.int32, sharding=rows)
        for name, n in lengths.items()
    }
    if shipped(model, own)[1].bank is not None:  # as a mixture's batches have
        shape = work.batch_size, 1
        batch["task_ids"] = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows)
    return states, params, batch, rngs


def _temporaries(fn: Any, arguments: tuple, mesh: Mesh) -> int:
    """Bytes on each device that the compiled function holds for a while."""
    with jax.set_mesh(mesh):
        compiled = jax.jit(fn).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None  # the CPU backend, used here, always has one
    return analysis.temp_size_in_bytes


def smallest_meshes(
    model: network.Transformer, work: Workload, trained: Trained | None = None
) -> dict[str, tuple[Mesh, Need]]:
    """The smallest mesh on which the step fits, and its need, by device in MEMORY.

    Sizes are powers of two. Weights are split over all devices ("fully sharded"), and
    so is the batch as far as possible. A kind of device is left out if the step does
    not fit on MOST_DEVICES of it.
    """
    fits: dict[str, tuple[Mesh, Need]] = {}
    devices = 1
    while devices <= min(MOST_DEVICES, jax.device_count()) and len(fits) < len(MEMORY):
        data = math.gcd(devices, work.batch_size // work.num_microbatches)
        mesh = virtual_mesh(data, devices // data)
        needed = need(model, mesh, work, trained, fully_sharded=True)
        for chip, memory in MEMORY.items():
            if needed.total <= SHARE * memory * 1e9:
                fits.setdefault(chip, (mesh, needed))
        devices *= 2
    return fits


def describe(
    config: T5Config,
    run: Run,
    mesh: tuple[int, int],
    lengths: Mapping[str, int],
    trained: Trained | None = None,
) -> Iterator[str]:
    """Lines that say what a training step needs on a mesh, and the fewest devices.

    Args:
      mesh: numbers of devices along "data" and along "model".
      lengths: of inputs and targets, in tokens.
      trained: by default a prompt.

    Raises:
      UserError: the mesh does not fit the model or the batch.
    """
    model = network.Transformer(config)
    own = trained or _prompt(model, Workload(run.prompt_length, 1, 1, 1))
    params, extra = shipped(model, own)
    work = Workload(
        extra.prompt_length,
        run.batch_size,
        **lengths,
        num_microbatches=run.num_microbatches,
        encodings=extra.encodings,
    )
    data, along = mesh
    devices = virtual_mesh(data, along)
    partitioning.check_batch_size(work.batch_size, devices, work.num_microbatches)
    partitioning.check_mesh(model, devices)
    needed = need(model, devices, work, own)
    kept = "computed again" if config.remat else "all kept"
    yield (
        f"model     {count(model):,} parameters in {config.param_dtype}, activations "
        f"in {config.dtype}, {kept}"
    )
    yield f"trained   {size(own.tree):,} values, METHOD={run.method}"
    yield f"shipped   {_told(params, extra)}"
    several = f" x {work.encodings}" if work.encodings > 1 else ""
    yield (
        f"one step  {work.batch_size} examples in {work.num_microbatches} parts, "
        f"inputs {work.inputs}, targets {work.targets}, "
        f"prompt {work.prompt_length}{several}"
    )
    yield from ("", f"GB on each device, mesh data={data} x model={along}", "")
    rows = needed._asdict() | {"total": needed.total}
    yield from (f"  {_ROWS[row]:<34}{size / 1e9:8.2f}" for row, size in rows.items())
    yield from ("", "fewest devices, weights and batch split over all of them", "")
    fits = smallest_meshes(model, work, own)
    for chip, memory in MEMORY.items():
        text = "does not fit"
        if chip in fits:
            mesh_, needed = fits[chip]
            text = f"{mesh_.size:>3}, {needed.total / 1e9:.1f} GB used on each"
        yield f"  {chip:<9}{memory:>4} GB{text:>28}"


def _told(params: Any, extra: Extra) -> str:
    """What a run ships and how large its arrays are, in MB."""
    what = {"a model": params} if params is not None else {}
    if not extra.is_prompt:
        what["more than a prompt"] = extra
    elif extra.prompt is not None:  # where it stands is in its description
        what["a prompt"] = extra.prompt.vectors
    sizes = {
        name: sum(size(x) * x.dtype.itemsize for x in jax.tree.leaves(tree)) / 1e6
        for name, tree in what.items()
    }
    return ", ".join(f"{name} of {mb:,.3f} MB" for name, mb in sizes.items())


_ROWS = {
    "weights": "frozen weights",
    "state": "what is trained, optimizer",
    "activations": "activations for the backward pass",
    "temporaries": "other temporaries",
    "total": "total",
}
