"""One training step and the loop around it.

    loss, grad = value_and_grad(loss_fn)(prompt, frozen, batch)

Prompt tuning differentiates the loss in the prompt; model tuning, LM adaptation and
pre-training are the same step differentiated in the weights. What is not trained is an
argument like any other: no gradient of it exists.
"""

import collections
import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from tqdm import tqdm

from prompt_tuning import outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import Extra, Prompt
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import losses

Batch = dict[str, Any]
Place = Callable[[jax.Array], Prompt]


class TrainState(NamedTuple):
    """All that changes in training, and all that a checkpoint holds.

    The position in the data is the step: data.py makes batch i from (seed, i) alone.
    """

    step: jax.Array
    trained: Any  # the prompt [P, D], or the parameter tree in model tuning
    opt_state: Any


def new_state(trained: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.int32(0), trained, optimizer.init(trained))


def make_step(
    model: Transformer,
    optimizer: optax.GradientTransformation,
    tuning: str = "prompt",
    num_microbatches: int = 1,
    z_loss: float = 1e-4,
    place: Place = placing.prefix,
) -> Callable[[TrainState, Any, Batch, jax.Array], tuple[TrainState, dict]]:
    """The pure training step: (state, frozen, batch, rng) -> (state, metrics).

    Args:
      tuning: "prompt": state.trained is the prompt [P, D] and `frozen` the parameters.
        "model": state.trained is the parameters and `frozen` a prompt or None.
      num_microbatches: the batch is worked through in this many parts, whose gradients
        are added: the same update for less memory.

    Returns:
      A function whose metrics are scalars: loss (nats a target token, z-loss included),
      accuracy (share of target tokens), grad_norm, and ok (False once the loss or an
      updated value is not finite).
    """
    gradients = _gradients(model, tuning, num_microbatches, z_loss, place)

    def step(state, frozen, batch, rng):
        rng = jax.random.fold_in(rng, state.step)
        return _updated(optimizer, state, gradients(state.trained, frozen, batch, rng))

    return step


def make_joint_step(
    model: Transformer,
    optimizers: Sequence[optax.GradientTransformation],
    num_microbatches: int = 1,
    z_loss: float = 1e-4,
    place: Place = placing.prefix,
) -> Callable[[tuple[TrainState, ...], Any, Batch, jax.Array], tuple[tuple, tuple]]:
    """A step of N prompts over one frozen model: each does what it would do alone.

    Args:
      optimizers: one for each prompt.

    Returns:
      (states, frozen, batch, rngs) -> (states, metrics of each), where a batch has
      an axis more, the second, of N, and `rngs` are N keys.
    """
    gradients = _gradients(model, "prompt", num_microbatches, z_loss, place)
    # An accelerator works on all at once. A CPU is busy with one, whose arrays may stay
    # in its cache.
    at_once = 1 if jax.default_backend() == "cpu" else len(optimizers)

    def step(states, frozen, batch, rngs):
        prompts_NxPxD = jnp.stack([state.trained for state in states])
        rngs = jax.vmap(jax.random.fold_in, (0, None))(rngs, states[0].step)
        batches = jax.tree.map(lambda x: x.swapaxes(0, 1), batch)
        found = jax.lax.map(
            lambda each: gradients(each[0], frozen, *each[1:]),
            (prompts_NxPxD, batches, rngs),
            batch_size=at_once,
        )
        updated = [
            _updated(optimizer, state, jax.tree.map(lambda x, n=n: x[n], found))
            for n, (optimizer, state) in enumerate(zip(optimizers, states, strict=True))
        ]
        return tuple(zip(*updated, strict=True))

    return step


def _gradients(
    model: Transformer, tuning: str, num_microbatches: int, z_loss: float, place: Place
) -> Callable[[Any, Any, Batch, jax.Array], tuple[Any, dict]]:
    """(trained, frozen, batch, rng) -> (gradient of the loss, sums over tokens)."""

    def loss_fn(trained, frozen, batch, rng):
        prompt, params = (trained, frozen) if tuning == "prompt" else (frozen, trained)
        logits_BxSxV = model.apply(
            {"params": params},
            batch,
            Extra() if prompt is None else Extra(place(prompt)),
            rngs={"dropout": rng} if model.config.dropout_rate else None,
        )
        targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        loss, _ = losses.cross_entropy(logits_BxSxV, *targets, z_loss)
        correct = losses.correct_tokens(logits_BxSxV, *targets)
        # The sum over target tokens, not their mean, is what T5 minimises.
        return loss, {"loss": loss, "correct": correct, "tokens": jnp.sum(targets[1])}

    grad_fn = jax.grad(loss_fn, has_aux=True)
    if num_microbatches == 1:
        return grad_fn

    def gradients(trained, frozen, batch, rng):
        # Part i is rows i, i + n, i + 2n ...: every device has some of each part.
        parts = jax.tree.map(
            lambda x: x.reshape(-1, num_microbatches, *x.shape[1:]).swapaxes(0, 1),
            batch,
        )
        rngs = jax.random.split(rng, num_microbatches)

        def add(total, part):
            new = grad_fn(trained, frozen, *part)
            return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, new), None

        first = jax.tree.map(lambda x: x[0], (parts, rngs))
        shapes = jax.eval_shape(grad_fn, trained, frozen, *first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.scan(add, zeros, (parts, rngs))[0]

    return gradients


def _updated(
    optimizer: optax.GradientTransformation, state: TrainState, found: tuple[Any, dict]
) -> tuple[TrainState, dict]:
    grads, sums = found
    updates, opt_state = optimizer.update(grads, state.opt_state, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    tokens = jnp.maximum(sums["tokens"], 1)
    metrics = {
        "loss": sums["loss"] / tokens,
        "accuracy": sums["correct"] / tokens,
        "grad_norm": optax.global_norm(grads),
        "ok": jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.global_norm(trained)),
    }
    return TrainState(state.step + 1, trained, opt_state), metrics


def compile_step(
    step_fn: Callable, state: TrainState, frozen: Any, batch: Batch, rng: Any
) -> jax.stages.Compiled:
    """Compiles a step for one shape of batch; the state given to it is donated.

    All arguments but the first may be arrays or shapes.
    """
    # A state leaves a step as it came, so that it fits the next.
    shardings = jax.tree.map(lambda x: x.sharding, state)
    jitted = jax.jit(step_fn, donate_argnums=0, out_shardings=(shardings, None))
    return jitted.lower(state, frozen, batch, rng).compile()


@contextlib.contextmanager
def _compiled_ahead(
    step_fn: Callable,
    arguments: tuple[TrainState, Any, jax.Array],
    lengths: Sequence[int],
    mesh: Mesh,
) -> Iterator[Callable[[Batch], jax.stages.Compiled]]:
    """A function from a batch to its compiled step, which waits for that one alone.

    The steps of `lengths` of inputs are compiled in the background, in this order.
    """
    state, frozen, rng = jax.tree.map(_shape, arguments)
    steps: dict[tuple, Future] = {}
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2))

    def compile_for(batch: Batch) -> jax.stages.Compiled:
        with jax.set_mesh(mesh):  # a thread's own
            return compile_step(step_fn, state, frozen, batch, rng)

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
    finally:  # what was not needed after all is not waited for
        pool.shutdown(wait=False, cancel_futures=True)


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    sharding = x.sharding if isinstance(x, jax.Array) and x.committed else None
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _ahead(batches: Iterator[Batch], mesh: Mesh, count: int = 2) -> Iterator[Batch]:
    """Batches on the devices, the next `count` always being made by another thread."""

    def placed() -> Batch | None:
        batch = next(batches, None)
        return batch and partitioning.shard_batch(batch, mesh)

    with ThreadPoolExecutor(1) as pool:
        made = collections.deque(pool.submit(placed) for _ in range(count))
        while (batch := made.popleft().result()) is not None:
            made.append(pool.submit(placed))
            yield batch


def fit(
    state: TrainState | tuple[TrainState, ...],
    frozen: Any,
    step_fn: Callable,
    batches: Iterator[dict[str, np.ndarray]],
    *,
    steps: int,
    period: int,
    at_period: Callable[[Any, int], dict[str, float]],
    mesh: Mesh,
    rng: jax.Array,
    log: Path | Sequence[Path],
    lengths: Sequence[int] = (),
    description: str = "training",
) -> Any:
    """Trains from `state` to step `steps`, one state or those of a joint step.

    Batches are made ahead and metrics fetched one step late, so that neither the device
    nor the host waits for the other.

    Args:
      batches: this host's NumPy batches, the first one for the step after `state`.
      period: every so many steps, and after the last, `at_period(state, step)` is
        called; it evaluates and saves, and what it returns is shown beside the loss.
      log: a JSONL file that gets a line for each step; or one for each state.
      lengths: of inputs in batches to come, whose steps are compiled ahead.

    Raises:
      UserError: the loss or a trained value is no longer finite. Nothing is saved.
    """
    state = partitioning.placed(state, mesh)
    first = int(jax.tree.leaves(state)[0])  # a state's first field is its step
    batches = _ahead(itertools.islice(batches, max(0, steps - first)), mesh)
    shown: dict[str, Any] = {}
    pending = None
    with (
        contextlib.closing(batches),
        _compiled_ahead(step_fn, (state, frozen, rng), lengths, mesh) as compiled,
        _opened([log] if isinstance(log, Path) else log) as logs,
        tqdm(
            total=steps,
            initial=first,
            desc=description,
            unit="step",
            smoothing=0.05,
            disable=not outputs.is_writer(),
        ) as bar,
    ):
        for step in range(first + 1, steps + 1):
            batch = next(batches)
            state, metrics = compiled(batch)(state, frozen, batch, rng)
            if pending:
                _report(*pending, logs, bar, shown)
            pending = (step, metrics)
            if step % period == 0 or step == steps:
                _report(*pending, logs, bar, shown)
                pending = None
                shown |= at_period(state, step)
                bar.set_postfix(shown)
    return state


@contextlib.contextmanager
def _opened(logs: Sequence[Path]) -> Iterator[dict[Path, TextIO]]:
    with contextlib.ExitStack() as stack:
        yield {
            path: stack.enter_context(outputs.log(path).open("a", buffering=1))
            for path in logs
        }


def _report(
    step: int, metrics: Any, logs: dict[Path, TextIO], bar: tqdm, shown: dict
) -> None:
    """Writes each state's metrics to its log, and shows the mean of their losses."""
    metrics = jax.device_get(metrics)
    each = [metrics] if isinstance(metrics, dict) else metrics
    for path, one in zip(logs, each, strict=True):
        if not one["ok"]:
            where = f" in {path.parent}" if len(logs) > 1 else ""
            raise UserError(
                f"training diverged at step {step}{where}: the loss is {one['loss']} "
                "and every later value would be NaN. The last good checkpoint is kept "
                "in MODEL_DIR; lower the learning rate "
                "(--gin.schedule.learning_rate=0.1, say) and start again in a new "
                "MODEL_DIR" + (", or go on without this prompt" if where else "")
            )
    for lines, one in zip(logs.values(), each, strict=True):
        values = {name: one[name].item() for name in one if name != "ok"}
        lines.write(json.dumps({"step": step} | values) + "\n")
    shown["loss"] = f"{np.mean([one['loss'] for one in each]):.3f}"
    bar.update()
    bar.set_postfix(shown, refresh=False)


def keep_lines(log: Path, last_step: int) -> list[dict]:
    """Drops a log's lines after `last_step` (a killed run's), and returns the rest."""
    if not log.exists():
        return []
    kept = [line for line in _records(log) if line["step"] <= last_step]
    with outputs.atomic(log) as temporary:  # a kill in between must not cost the log
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _records(log: Path) -> Iterable[dict]:
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the line being written when the run was killed
            return
