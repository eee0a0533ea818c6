"""The training loop: batches made ahead, steps compiled ahead, logs."""

import collections
import contextlib
import itertools
import json
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prompt_tuning import interrupts, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.training.step import (
    Batch,
    InParts,
    States,
    compile_part,
    compile_step,
)


@contextlib.contextmanager
def _compiled_ahead(
    step_fn: Callable | InParts,
    arguments: tuple[States, Any, jax.Array],
    lengths: Sequence[int],
    mesh: Mesh,
) -> Iterator[Callable[[Batch], jax.stages.Compiled]]:
    """A function from a batch, or a part, to its compiled step; it waits for it only.

    Steps for inputs of `lengths` are compiled in the background, in this order.
    """
    states, frozen, rngs = jax.tree.map(_shape, arguments)
    steps: dict[tuple, Future] = {}
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2))

    def compile_for(batch: Batch) -> jax.stages.Compiled:
        with jax.set_mesh(mesh):  # the mesh is set for each thread
            if isinstance(step_fn, InParts):
                return compile_part(step_fn, states, frozen, batch, rngs)
            return compile_step(step_fn, states, frozen, batch, rngs)

    def compiled(batch: Batch) -> jax.stages.Compiled:
        shapes = jax.tree.map(_shape, batch)
        inputs = shapes["encoder_input_tokens"]
        for length in (inputs.shape[-1], *lengths):
            longer = inputs.update(shape=(*inputs.shape[:-1], length))
            wanted = shapes | {"encoder_input_tokens": longer}
            key = tuple(x.shape for x in wanted.values())
            if key not in steps:
                steps[key] = pool.submit(compile_for, wanted)
        return steps[tuple(x.shape for x in shapes.values())].result()

    try:
        yield compiled
    finally:  # do not wait for steps that nobody needed
        pool.shutdown(wait=False, cancel_futures=True)


def _stepper(
    step_fn: Callable | InParts,
    compiled: Callable[[Batch], jax.stages.Compiled],
    states: States,
) -> Callable[..., tuple[States, tuple[dict, ...]]]:
    """(states, frozen, batch, rngs) -> (states, metrics), compiled for each shape."""
    if not isinstance(step_fn, InParts):
        return lambda states, frozen, batch, rngs: compiled(batch)(
            states, frozen, batch, rngs
        )
    shardings = jax.tree.map(lambda x: x.sharding, states)
    zeros = jax.jit(step_fn.zeros)
    update = jax.jit(step_fn.update, donate_argnums=0, out_shardings=(shardings, None))

    def step(states, frozen, parts, rngs):
        sums = zeros(states)
        for number, part in enumerate(parts):
            sums = compiled(part)(sums, states, frozen, part, rngs, jnp.int32(number))
        return update(states, sums)

    return step


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    sharding = x.sharding if isinstance(x, jax.Array) and x.committed else None
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _ahead(
    batches: Iterator[Batch | list[Batch]], mesh: Mesh, count: int = 2
) -> Generator[Batch | list[Batch], None, None]:
    """Batches on the devices; another thread always makes the next `count`."""

    def placed() -> Batch | list[Batch] | None:
        batch = next(batches, None)
        if isinstance(batch, list):
            return [partitioning.shard_batch(part, mesh) for part in batch]
        return batch and partitioning.shard_batch(batch, mesh)

    with ThreadPoolExecutor(1) as pool:
        made = collections.deque(pool.submit(placed) for _ in range(count))
        while (batch := made.popleft().result()) is not None:
            made.append(pool.submit(placed))
            yield batch


def fit(
    states: States,
    frozen: Any,
    step_fn: Callable | InParts,
    batches: Iterator[Any],
    *,
    steps: int,
    period: int,
    at_period: Callable[[States, int], dict[str, str]],
    at_stop: Callable[[States, int], None],
    mesh: Mesh,
    rngs: jax.Array,
    logs: Sequence[Path],
    lengths: Sequence[int] = (),
    description: str = "training",
) -> States:
    """Trains `states`, which are all at the same step, to step `steps`.

    Batches are made ahead and metrics fetched one step late, so that neither the device
    nor the host waits for the other.

    Args:
      batches: this host's NumPy batches, from the one for the next step on; their
        second axis has an entry for each state. With a step in parts, lists of parts.
      period: every `period` steps, and after the last, `at_period(states, step)` is
        called; it evaluates and saves, and what it returns is shown beside the loss.
      at_stop: saves the states when SIGTERM has come, without evaluating them first.
      rngs: a key for each state.
      logs: a JSONL file for each state, which gets a line for each step.
      lengths: input lengths of coming batches, whose steps are compiled ahead.

    Raises:
      UserError: the loss or a trained value is no longer finite. Nothing is saved.
      Terminated: SIGTERM has come; the states are saved.
    """
    states = partitioning.placed(states, mesh)
    first = int(states[0].step)
    batches = _ahead(itertools.islice(batches, max(0, steps - first)), mesh)
    shown: dict[str, Any] = {}
    pending = None
    with (
        contextlib.closing(batches),
        _compiled_ahead(step_fn, (states, frozen, rngs), lengths, mesh) as compiled,
        _opened(logs) as opened,
        _bar(first, steps, description) as bar,
        interrupts.held(signal.SIGTERM),
    ):
        take = _stepper(step_fn, compiled, states)
        for step in range(first + 1, steps + 1):
            states, metrics = take(states, frozen, next(batches), rngs)
            if pending:
                _report(*pending, opened, bar, shown)
            pending = (step, metrics)
            due, stop = step % period == 0 or step == steps, interrupts.must_stop(step)
            if due or stop:
                _report(*pending, opened, bar, shown)
                pending = None
            if due:
                shown |= at_period(states, step)
                bar.set_postfix(shown)
            elif stop:
                at_stop(states, step)
            if stop:
                raise interrupts.Terminated
    return states


def _bar(first: int, steps: int, description: str) -> tqdm:
    return tqdm(
        total=steps,
        initial=first,
        desc=description,
        unit="step",
        smoothing=0.05,
        disable=not outputs.is_writer(),
    )


@contextlib.contextmanager
def _opened(logs: Sequence[Path]) -> Iterator[dict[Path, TextIO]]:
    with contextlib.ExitStack() as stack:
        yield {
            path: stack.enter_context(outputs.log(path).open("a", buffering=1))
            for path in logs
        }


def _report(
    step: int,
    metrics: Sequence[dict[str, jax.Array]],
    logs: dict[Path, TextIO],
    bar: tqdm,
    shown: dict,
) -> None:
    """Writes each state's metrics to its log, and shows the mean of their losses."""
    each = jax.device_get(metrics)
    for path, one in zip(logs, each, strict=True):
        if not one["ok"]:
            where = f" in {path.parent}" if len(logs) > 1 else ""
            raise UserError(
                f"training diverged at step {step}{where}: the loss is {one['loss']} "
                "and every later value would be NaN. The last good checkpoint is kept "
                "in MODEL_DIR; lower the learning rate "
                "(such as --gin.schedule.learning_rate=0.1) and start again in a new "
                "MODEL_DIR" + (", or continue without this prompt" if where else "")
            )
    for lines, one in zip(logs.values(), each, strict=True):
        values = {name: one[name].item() for name in one if name != "ok"}
        lines.write(json.dumps({"step": step} | values) + "\n")
    shown["loss"] = f"{np.mean([one['loss'] for one in each]):.3f}"
    bar.update()
    bar.set_postfix(shown, refresh=False)
