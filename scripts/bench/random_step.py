"""The training step that the benchmarks time: a T5 1.1 with random weights.

The benchmarks import it; it is not a program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import memory, methods, partitioning
from prompt_tuning.settings import Adafactor, Run, Settings, T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching, optimizer, plan, step

memory.use_huge_pages()  # as the commands do


class Parts(NamedTuple):
    """A step function and its arguments; a step donates the states."""

    mesh: Mesh
    step_fn: Callable
    states: step.States
    params: Any
    batch: dict[str, jax.Array]
    keys: jax.Array

    def compiled(self) -> Any:
        """The step, compiled for these shapes."""
        with jax.set_mesh(self.mesh):
            return step.compile_step(self.step_fn, *self[2:])

    def runner(self, compiled: Any = None) -> Callable[[], Any]:
        """A function that runs the next step, and returns its metrics."""
        compiled, states = compiled or self.compiled(), self.states

        def run() -> Any:
            nonlocal states
            with jax.set_mesh(self.mesh):
                states, metrics = compiled(states, self.params, self.batch, self.keys)
            return jax.block_until_ready(metrics)

        return run


def weights(config: T5Config) -> Any:
    """Random ones."""
    key, mesh = jax.random.key(0), partitioning.mesh()
    return partitioning.init_params(Transformer(config), key, mesh)


def build(
    config: T5Config,
    *,
    batch_size: int,
    inputs: int,
    targets: int,
    prompt: int,
    prompts: int = 1,
    parts: int = 1,
    method: str = "prompt",
    params: Any = None,
) -> Parts:
    """Tuning of `prompts` prompts, or by another method, over one model of `config`.

    Args:
      params: the frozen model's; by default random ones of its own, which a method that
        trains the weights needs.
    """
    model, mesh = Transformer(config), partitioning.mesh()
    params = weights(config) if params is None else params
    run = Run(method=method, prompt_length=prompt, prompt_init="sampled_vocab")
    of_run = methods.of(plan.any_ids(Settings(run), config.vocab_size))
    start = methods.Start((), list, label_words=((0,), (1,)))  # words are their ids
    optimizers = [optimizer.adafactor(0.3, Adafactor())] * prompts
    first = [of_run.init(jax.random.key(i), params, start) for i in range(prompts)]
    states = map(step.new_state, first, optimizers)
    rng, rows = np.random.default_rng(0), config.vocab_size
    made = batching.teacher_forcing(
        rng.integers(2, rows, (batch_size * prompts, inputs)).astype(np.int32),
        rng.integers(2, rows, (batch_size * prompts, targets)).astype(np.int32),
    )
    shaped = {k: v.reshape(batch_size, prompts, -1) for k, v in made.items()}
    return Parts(
        mesh,
        step.make_step(model, of_run, optimizers, parts),
        partitioning.placed(tuple(states), mesh),
        methods.left_frozen(params, first[0]),
        partitioning.shard_batch(shaped, mesh),
        jax.random.split(jax.random.key(0), prompts),
    )
