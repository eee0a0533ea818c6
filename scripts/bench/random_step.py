"""The training step that the benchmarks time: a T5 1.1 with random weights.

The benchmarks import it; it is not a program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import memory, methods, partitioning
from prompt_tuning.settings import Adafactor, Settings, T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching, optimizer, step

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


def build(
    config: T5Config,
    *,
    batch_size: int,
    inputs: int,
    targets: int,
    prompt: int,
    prompts: int = 1,
    parts: int = 1,
) -> Parts:
    """Prompt tuning of `prompts` prompts over one model of `config`."""
    model, mesh = Transformer(config), partitioning.mesh()
    params = partitioning.init_params(model, jax.random.key(0), mesh)
    optimizers = [optimizer.adafactor(0.3, Adafactor())] * prompts
    rng = np.random.default_rng(0)
    first = rng.normal(size=(prompts, prompt, config.emb_dim)).astype(np.float32)
    states = map(step.new_state, first, optimizers)
    made = batching.teacher_forcing(
        rng.integers(2, 32_000, (batch_size * prompts, inputs)).astype(np.int32),
        rng.integers(2, 32_000, (batch_size * prompts, targets)).astype(np.int32),
    )
    shaped = {k: v.reshape(batch_size, prompts, -1) for k, v in made.items()}
    return Parts(
        mesh,
        step.make_step(model, methods.of(Settings()), optimizers, parts),
        partitioning.placed(tuple(states), mesh),
        params,
        partitioning.shard_batch(shaped, mesh),
        jax.random.split(jax.random.key(0), prompts),
    )
