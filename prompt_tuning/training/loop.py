"""The training loop: batches made ahead, steps compiled ahead."""

import collections
import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from prompt_tuning import interrupts, partitioning
from prompt_tuning.training import progress
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
    work: progress.Work,
    events: Sequence[progress.Events] = (),
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
      work: what a step does; its line says how fast.
      events: for each state, or none: what else its steps' values are written to.
      lengths: input lengths of coming batches, whose steps are compiled ahead.

    Raises:
      UserError: the loss or a trained value is no longer finite. Nothing is saved.
      Terminated: SIGTERM has come; the states are saved.
      KeyboardInterrupt: so has Ctrl-C; of several processes they are saved, too.
    """
    states = partitioning.placed(states, mesh)
    first = int(states[0].step)
    batches = _ahead(itertools.islice(batches, max(0, steps - first)), mesh)
    pending = None
    with (
        contextlib.closing(batches),
        _compiled_ahead(step_fn, (states, frozen, rngs), lengths, mesh) as compiled,
        progress.told(logs, first, steps, description, work, events) as told,
        interrupts.held(*_put_off()),
    ):
        take = _stepper(step_fn, compiled, states)
        for step in range(first + 1, steps + 1):
            batch = next(batches)
            states, metrics = take(states, frozen, batch, rngs)
            if pending:
                told.step(*pending)
            pending = (step, metrics, batch)
            due, stop = step % period == 0 or step == steps, interrupts.must_stop(step)
            if due or stop:
                told.step(*pending)
                pending = None
            if due:
                told.show(**at_period(states, step))
            elif stop:
                at_stop(states, step)
            if stop:
                interrupts.stop()
    return states


def _put_off() -> Sequence[signal.Signals]:
    """The signals that wait for the end of a step, and for a save.

    Ctrl-C does so where other processes would wait for this one in vain.
    """
    several = jax.process_count() > 1
    return [signal.SIGTERM, signal.SIGINT] if several else [signal.SIGTERM]
