"""`reproduce --dry_run`: the cells, what each needs, how to launch it; runs none.

FLOPs are of the products of all steps (training/plan.py). Hours are theirs by a rate
that was measured: given, or that of finished cells of the same frozen model. Memory is
of one device, of the weights and the step compiled for shapes alone; it is asked where
a scale has several devices, over which its models have to be split. As compiling takes
long, it is that of a model's longest prompt and sequences, the most that any of its
prompts needs.
"""

import dataclasses
import functools
import json
import shlex
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.reproduce import cells, grid, outcomes
from prompt_tuning.reproduce.cells import Planned
from prompt_tuning.reproduce.grid import Scale
from prompt_tuning.runs import parts
from prompt_tuning.settings import Run, Settings, T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import plan


class Row(NamedTuple):
    """A cell as it is listed.

    flops: None where the model or the data is not there. memory: bytes on each device,
    at most; None of other methods than the prompt, or if it is not asked. rate: FLOP/s;
    None where none is known.
    """

    one: Planned
    state: str
    reason: str
    flops: float | None
    memory: int | None
    rate: float | None

    @property
    def hours(self) -> float | None:
        """At the rate; None where that is not known."""
        known = self.flops is not None and self.rate
        return self.flops / self.rate / 3600 if known else None  # pyright: ignore


def rows(
    planned: Sequence[Planned], scale: Scale, rate: float | None = None
) -> Iterator[Row]:
    """Each run once, as it is listed.

    Args:
      rate: FLOP/s of one host; by default that of finished cells.
    """
    planned = cells.once(planned)
    found = outcomes.read_all(planned, scale.splits)
    needed = [needs(one.settings) for one in planned]
    memory, rates = _memory(planned, needed, scale.devices), _rates(planned, found)
    for one, said, need, most in zip(planned, found, needed, memory, strict=True):
        of_model = rate or rates.get(_model(one.settings.run))
        yield Row(one, said.state, said.reason, need.flops, most, of_model)


def _asks_memory(devices: int) -> bool:
    """A model that one device holds is not split."""
    return devices > 1


def _model(run: Run) -> str:
    return run.initial_checkpoint_path


def _rates(
    planned: Iterable[Planned], found: Iterable[outcomes.Outcome]
) -> dict[str, float]:
    """{frozen model: the median FLOP/s of its finished cells}."""
    each: dict[str, list[float]] = {}
    for one, outcome in zip(planned, found, strict=True):
        if measured := outcome.facts.get("flops_a_second"):
            each.setdefault(_model(one.settings.run), []).append(measured)
    return {name: statistics.median(values) for name, values in each.items()}


# What a run needs


class Need(NamedTuple):
    """What a run needs, as far as it is known.

    flops: of all steps. config, work: of a step that tunes a prompt.
    """

    flops: float | None = None
    config: T5Config | None = None
    work: plan.Workload | None = None


def needs(settings: Settings) -> Need:
    """FLOPs of a whole run, and the step whose memory can be told."""
    run = settings.run
    if not methods.of(settings).trains:
        return Need(0.0)
    try:
        config = _config(settings)
        lengths = _lengths(run)
        trains = _trains(config, settings)
    except Exception as error:  # a model or data that is not there
        if not getattr(error, "user_message", False):
            raise
        return Need()
    work = plan.Workload(
        trains.vectors,
        run.batch_size,
        **lengths,
        num_microbatches=run.num_microbatches,
        encodings=trains.encodings,
    )
    step = plan.step_flops(config, work, weights=trains.weights)
    flops = float(step * run.train_steps)
    return Need(flops, config, work) if run.method == "prompt" else Need(flops)


def _memory(
    planned: Sequence[Planned], needed: Sequence[Need], devices: int
) -> Iterator[int | None]:
    """Bytes on each of several devices, at most; of one device it is not asked."""
    kinds = [
        _kind(one.settings, need, devices)
        for one, need in zip(planned, needed, strict=True)
    ]
    longest: dict[_Kind, plan.Workload] = {}
    for kind, need in zip(kinds, needed, strict=True):
        if kind and need.work:
            pairs = zip(need.work, longest.get(kind, need.work), strict=True)
            longest[kind] = plan.Workload(*map(max, pairs))
    for kind in kinds:
        yield _bytes(kind.config, longest[kind], kind.mesh) if kind else None


class _Kind(NamedTuple):
    """Steps that differ in lengths alone. mesh: devices along "data" and "model"."""

    config: T5Config
    mesh: tuple[int, int]
    batch_size: int
    num_microbatches: int


def _kind(settings: Settings, need: Need, devices: int) -> _Kind | None:
    """None of a step whose memory is not told."""
    if not _asks_memory(devices) or need.config is None:
        return None
    split, run = settings.mesh.model, settings.run
    mesh = max(devices // split, 1), split
    return _Kind(need.config, mesh, run.batch_size, run.num_microbatches)


class _Trains(NamedTuple):
    """What of a method decides a step's FLOPs.

    vectors: put into the input. encodings: how many times that is encoded. weights: the
    model's are trained.
    """

    vectors: int
    encodings: int
    weights: bool


_TRAINS: dict[str, _Trains] = {}  # what `_trains` has found


def _trains(config: T5Config, settings: Settings) -> _Trains:
    run = settings.run
    of = run.method, run.prompt_length, run.prompt_init
    key = repr((config, *of, getattr(settings, run.method, None)))
    if key not in _TRAINS:
        model = Transformer(dataclasses.replace(config, scan_layers=True))
        own = plan.trained(settings, model, ((0,),))
        _, extra = plan.shipped(model, own)
        found = extra.prompt_length, extra.encodings, not own.method.shares
        _TRAINS[key] = _Trains(*found)
    return _TRAINS[key]


@functools.cache
def _bytes(config: T5Config, work: plan.Workload, mesh: tuple[int, int]) -> int | None:
    """On each device of a mesh."""
    devices = plan.virtual_mesh(*mesh)
    model = Transformer(config)
    partitioning.check_mesh(model, devices)
    return plan.need(model, devices, work).total


def _config(settings: Settings) -> T5Config:
    return _shape(settings.run.initial_checkpoint_path, (*settings.model.items(),))


@functools.cache
def _shape(name: str, model: tuple[tuple[str, Any], ...]) -> T5Config:
    """The frozen model's shape; of one that is to be made yet, as its gin file says."""
    given = dict(model)
    try:
        return description.config(name, given)
    except UserError:
        if all(size in given for size in description.SIZES):
            return T5Config(**given)
        raise


def _lengths(run: Run) -> Mapping[str, int]:
    """Tokens of inputs and targets: as set, or as long as the longest example."""
    given = run.task_feature_lengths or {}
    return given if len(given) == 2 else _longest(_key(run))


def _key(run: Run) -> str:
    """What decides a task's lengths, as a key of a cache."""
    of = (run.mixture_or_task_name, run.mixture_or_task_module, run.data_dir)
    of += (run.tfds_data_dir, run.task_feature_lengths, parts.vocabulary_name(run))
    return json.dumps((*of, run.train_split))


@functools.cache
def _longest(key: str) -> Mapping[str, int]:
    name, module, data_dir, tfds, lengths, vocabulary, split = json.loads(key)
    run = Run(
        mixture_or_task_name=name,
        mixture_or_task_module=module,
        data_dir=data_dir,
        tfds_data_dir=tfds,
    )
    opened = parts.open_task(run, load_vocabulary(vocabulary))
    return opened.load(split, lengths).examples.lengths


# As text


def text(found: Iterable[Row], scale: Scale) -> Iterator[str]:
    """A line for each cell, then the sums of what is left to do."""
    counts: dict[str, int] = {}
    flops, hours, unknown = 0.0, 0.0, 0
    asked = _asks_memory(scale.devices)
    title = f"{'GB a device, at most':>22}" if asked else ""
    yield f"{'state':<9}{'FLOPs':>9}{'hours':>10}{title}  cell"
    for row in found:
        counts[row.state] = counts.get(row.state, 0) + 1
        if row.state != cells.DONE:
            flops += row.flops or 0
            hours += row.hours or 0
            unknown += row.hours is None
        memory = "unknown" if row.memory is None else f"{row.memory / 1e9:.2f}"
        memory = f"{memory:>22}" if asked else ""
        told = "unknown" if row.hours is None else f"{row.hours:.2f}"
        size = "unknown" if row.flops is None else f"{row.flops:.1e}"
        line = f"{row.state:<9}{size:>9}{told:>10}{memory}  {cells.label(row.one)}"
        yield f"{line}  ({row.reason})" if row.reason else line
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    yield ""
    yield f"{sum(counts.values())} runs: {states or 'none'}"
    if sum(counts.values()) - counts.get(cells.DONE, 0):
        told = [f"{hours:.1f} hours on one such host"] if hours else []
        told += [f"{unknown} runs of unknown hours"] if unknown else []
        yield f"left: {flops:.1e} FLOPs, {' and '.join(told)}"
    if unknown:
        yield (
            "hours are unknown where no rate was measured: finish a cell of that "
            "model, or give --rate=FLOPS, FLOP/s of one host"
        )


def launches(planned: Sequence[Planned], scale: Scale) -> Iterator[str]:
    """A command for each cell, that a pod, one GPU box or a host of it may be given.

    A cell that starts from another's prompt comes after it.
    """
    for one in cells.once(planned):
        flags = grid.flags(scale, one.cell, str(one.folder), one.sources)
        yield " ".join(["scripts/launch_tpu_pod.sh", *map(shlex.quote, flags)])
