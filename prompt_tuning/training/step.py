"""One training step.

    params, extra = method.bind(trained, frozen)
    loss, grad = value_and_grad(loss_fn)(trained, frozen, batch)

What is frozen is an ordinary argument, and has no gradient. A step updates one or
several trained trees, which share the frozen model; the result is the same as if each
were trained alone. A method that searches makes the update itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prompt_tuning.methods import Method, Search
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import losses

Batch = dict[str, Any]


class TrainState(NamedTuple):
    """Everything that changes in training, and everything that a checkpoint holds.

    The step is also the position in the data: batching.py makes batch i from (seed, i)
    alone.
    """

    step: jax.Array
    trained: Any  # what the method trains, such as a prompt [P, D]
    opt_state: Any


States = tuple[TrainState, ...]


def new_state(trained: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.int32(0), trained, optimizer.init(trained))


def make_step(
    model: Transformer,
    method: Method,
    optimizers: Sequence[optax.GradientTransformation],
    num_microbatches: int = 1,
    z_loss: float = 1e-4,
    penalty: losses.Penalty | None = None,
) -> Callable[..., tuple[States, tuple[dict, ...]]]:
    """The pure training step: (states, frozen, batch, rngs) -> (states, metrics).

    Args:
      optimizers: one for each of the N states; a search uses none.
      num_microbatches: the batch is processed in this many parts, and their gradients
        are added: the same update with less memory.
      penalty: added to the loss of each target token; no metric tells it.

    Returns:
      A function of N states, their N keys, and a batch whose second axis is N. Its
      metrics are scalars for each state: loss (nats per target token, with z-loss),
      accuracy (share of target tokens), grad_norm, and ok (False once the loss or an
      updated value is not finite).
    """
    how = num_microbatches, z_loss, penalty
    if method.search:
        of_one, update = _searched(model, method.search, *how), _replaced
    else:
        of_one, update = _gradients(model, method, *how), _updated

    def step(states, frozen, batch, rngs):
        rngs = _fold_in(rngs, states[0].step)
        found = _each(of_one, states, frozen, batch, rngs)
        return _next(update, optimizers, states, found)

    return step


class InParts(NamedTuple):
    """A step in pieces, for a batch in parts of different lengths.

    zeros: states -> sums, before the first part.
    add: (sums, states, frozen, part, rngs, number of the part) -> sums.
    update: (states, sums) -> (states, metrics), those of make_step on the whole batch.
    """

    zeros: Callable[[States], Any]
    add: Callable[..., Any]
    update: Callable[[States, Any], tuple[States, tuple[dict, ...]]]


def make_step_in_parts(
    model: Transformer,
    method: Method,
    optimizers: Sequence[optax.GradientTransformation],
    z_loss: float = 1e-4,
    penalty: losses.Penalty | None = None,
) -> InParts:
    """make_step in pieces: gradients are added part by part, and then applied once.

    The loss is a sum over target tokens, so the parts' gradients add up to the batch's.
    Each part has a dropout key of its own, from the step and its number.
    """
    gradients = _gradients(model, method, 1, z_loss, penalty)

    def zeros(states):
        scalars = {"loss": 0.0, "correct": 0.0, "tokens": 0}
        return [
            (
                jax.tree.map(jnp.zeros_like, state.trained),
                {name: jnp.asarray(value) for name, value in scalars.items()},
            )
            for state in states
        ]

    def add(sums, states, frozen, part, rngs, number):
        rngs = _fold_in(_fold_in(rngs, states[0].step), number)
        found = _each(gradients, states, frozen, part, rngs)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), sums, found)

    def update(states, sums):
        return _next(_updated, optimizers, states, sums)

    return InParts(zeros, add, update)


_fold_in = jax.vmap(jax.random.fold_in, (0, None))


def _each(
    of_one: Callable, states: States, frozen: Any, batch: Batch, rngs: Any
) -> list:
    """`of_one` of each trained tree, with its part of the batch and its key."""
    trained = [state.trained for state in states]
    if len(trained) == 1:
        batch = jax.tree.map(lambda x: x[:, 0], batch)
        return [of_one(trained[0], frozen, batch, rngs[0])]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trained)
    batches = jax.tree.map(lambda x: x.swapaxes(0, 1), batch)
    # An accelerator computes all of them at once. A CPU is busy with one, and keeps its
    # arrays in cache.
    at_once = 1 if jax.default_backend() == "cpu" else len(trained)
    found = jax.lax.map(
        lambda own: of_one(own[0], frozen, *own[1:]),
        (stacked, batches, rngs),
        batch_size=at_once,
    )
    return [jax.tree.map(lambda x, n=n: x[n], found) for n in range(len(trained))]


def _next(
    update: Callable,
    optimizers: Sequence[optax.GradientTransformation],
    states: States,
    found: Sequence[tuple],
) -> tuple[States, tuple[dict, ...]]:
    """The states after a step, and their metrics."""
    each = [update(*one) for one in zip(optimizers, states, found, strict=True)]
    states, metrics = zip(*each, strict=True)
    return states, metrics


def _searched(
    model: Transformer,
    search: Search,
    num_microbatches: int,
    z_loss: float,
    penalty: losses.Penalty | None,
) -> Callable[[Any, Any, Batch, jax.Array], tuple[Any, Any, dict]]:
    """(trained, frozen, batch, rng) -> (trained, the gradient before, sums).

    All losses of a step have one dropout mask.
    """
    objective = _objective(model, z_loss, penalty)

    def searched(trained, frozen, batch, rng):
        own, of_parts = jax.random.split(rng)

        def loss(extra):
            if num_microbatches == 1:
                return objective(frozen, extra, batch, of_parts)
            # The backward pass computes a part again, rather than keep all of them.
            of_part = jax.checkpoint(lambda part: objective(frozen, extra, *part))
            found = jax.lax.map(of_part, _in_parts(batch, of_parts, num_microbatches))
            return jax.tree.map(lambda x: jnp.sum(x, axis=0), found)

        return search.step(trained, frozen, loss, own)

    return searched


def _gradients(
    model: Transformer,
    method: Method,
    num_microbatches: int,
    z_loss: float,
    penalty: losses.Penalty | None,
) -> Callable[[Any, Any, Batch, jax.Array], tuple[Any, dict]]:
    """(trained, frozen, batch, rng) -> (gradient of the loss, sums over tokens)."""
    objective = _objective(model, z_loss, penalty)

    def loss_fn(trained, frozen, batch, rng):
        return objective(*method.bind(trained, frozen), batch, rng)

    grad_fn = jax.grad(loss_fn, has_aux=True)
    if num_microbatches == 1:
        return grad_fn

    def gradients(trained, frozen, batch, rng):
        parts, rngs = _in_parts(batch, rng, num_microbatches)

        def add(total, part):
            new = grad_fn(trained, frozen, *part)
            return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, new), None

        first = jax.tree.map(lambda x: x[0], (parts, rngs))
        shapes = jax.eval_shape(grad_fn, trained, frozen, *first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.scan(add, zeros, (parts, rngs))[0]

    return gradients


def _objective(
    model: Transformer, z_loss: float, penalty: losses.Penalty | None
) -> Callable[[Any, Extra, Batch, jax.Array], tuple[jax.Array, dict]]:
    """(params, extra, batch, rng) -> (the loss, sums over tokens)."""

    def objective(params, extra, batch, rng):
        logits_BxSxV = model.apply(
            {"params": params},
            batch,
            extra,
            rngs={"dropout": rng} if model.config.dropout_rate else None,
        )
        targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        loss, _ = losses.cross_entropy(logits_BxSxV, *targets, z_loss)
        correct = losses.correct_tokens(logits_BxSxV, *targets)
        # T5 minimises the sum over target tokens, not their mean.
        sums = {"loss": loss, "correct": correct, "tokens": jnp.sum(targets[1])}
        if penalty:
            loss += sums["tokens"] * penalty(params, extra)
        return loss, sums

    return objective


def _in_parts(batch: Batch, rng: jax.Array, number: int) -> tuple[Batch, jax.Array]:
    """The batch in microbatches, and a key for each, along a first axis."""
    # Part i is rows i, i + n, i + 2n ..., so every device has some of each part.
    parts = jax.tree.map(
        lambda x: x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1), batch
    )
    return parts, jax.random.split(rng, number)


def _updated(
    optimizer: optax.GradientTransformation, state: TrainState, found: tuple[Any, dict]
) -> tuple[TrainState, dict]:
    grads, sums = found
    updates, opt_state = optimizer.update(grads, state.opt_state, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    new = TrainState(state.step + 1, trained, opt_state)
    return new, _metrics(trained, grads, sums)


def _replaced(
    optimizer: Any, state: TrainState, found: tuple[Any, Any, dict]
) -> tuple[TrainState, dict]:
    """As _updated, with what a search made of it."""
    del optimizer
    trained, grads, sums = found
    new = TrainState(state.step + 1, trained, state.opt_state)
    return new, _metrics(trained, grads, sums)


def _metrics(trained: Any, grads: Any, sums: dict) -> dict[str, jax.Array]:
    """What make_step's log has of a step that made `trained`."""
    tokens = jnp.maximum(sums["tokens"], 1)
    norm = optax.global_norm(jax.tree.map(jnp.float32, trained))  # ids would overflow
    return {
        "loss": sums["loss"] / tokens,
        "accuracy": sums["correct"] / tokens,
        "grad_norm": optax.global_norm(grads),
        "ok": jnp.isfinite(sums["loss"]) & jnp.isfinite(norm),
    }


def diverged(step: int, metrics: Mapping[str, Any]) -> str:
    """What is known of a step that is not `ok`, and what can be the cause of it."""
    loss, norm = (float(metrics[name]) for name in ("loss", "grad_norm"))
    known = f"the loss is {loss:.4g}, the norm of its gradient {norm:.4g}"
    types = "the type that it is computed in (T5Config.dtype=float32)"
    if not math.isfinite(loss) and step == 1:
        return (
            f"{known}, before anything was trained, so it is not the learning rate: "
            f"the frozen model's weights, {types}, or what is trained starts too large "
            "(PROMPT_INIT)"
        )
    rate = "the learning rate (a lower schedule.learning_rate)"
    if math.isfinite(loss):
        return (
            f"{known}, but what this step made is not finite: {rate}"
            + ("" if math.isfinite(norm) else f", {types}")
            + ", or weights near the limit of their type"
        )
    return (
        f"{known}; the losses before are in train.jsonl. If they rose, it is {rate}; "
        f"if they did not, {types}, or an example unlike the others"
    )


def compile_step(
    step_fn: Callable, states: States, frozen: Any, batch: Batch, rngs: Any
) -> jax.stages.Compiled:
    """Compiles a step for one shape of batch; it donates the states it is given.

    All arguments but `step_fn` may be arrays or shapes.
    """
    # Keep the states' shardings, or the next step recompiles.
    shardings = jax.tree.map(lambda x: x.sharding, states)
    jitted = jax.jit(step_fn, donate_argnums=0, out_shardings=(shardings, None))
    return jitted.lower(states, frozen, batch, rngs).compile()


def compile_part(
    step_fn: InParts, states: States, frozen: Any, part: Batch, rngs: Any
) -> jax.stages.Compiled:
    """Compiles the gradient of one shape of part. The arguments may be shapes."""
    sums = jax.eval_shape(step_fn.zeros, states)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    jitted = jax.jit(step_fn.add, donate_argnums=0)
    return jitted.lower(sums, states, frozen, part, rngs, number).compile()
