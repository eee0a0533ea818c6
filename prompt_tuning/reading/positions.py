"""What a position does: the score without it, and how the loss would feel its loss.

A prompt is also scored shuffled, cut to its first positions, and rounded to the nearest
vocabulary pieces, which is how much of it a discrete reading keeps.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.reading import attention, neighbours, subject
from prompt_tuning.runs import parts, trained
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra, Prompt
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching, losses
from prompt_tuning.training.step import Batch
from prompt_tuning.training.task import development_score

DRAWS = 3  # shuffled prompts
LENGTHS = (0, 1, 2, 5, 10, 20, 50, 100)  # that a prompt is cut to


class Found(NamedTuple):
    """What positions do on a split.

    score: of the whole prompt, in percent. without_P: the score without each position.
    importance_P: see `importance`. changed: {how it was changed: its score}.
    attention: {stack: attention.Paid}, its weights as lists.
    """

    split: str
    examples: int
    score: float
    without_P: list[float]
    importance_P: list[float]
    changed: dict[str, float]
    attention: dict[str, dict[str, Any]]


def read(
    settings: Settings, source: trained.Source, table_VxD: np.ndarray | None
) -> Found:
    """Evaluates a prompt on EVAL_SPLIT, whole and changed.

    Args:
      table_VxD: the embeddings to round it to.

    Raises:
      UserError: the prompt, its model or its task cannot be loaded, or the split has no
        labels.
    """
    run, settings = settings.run, subject.unscanned(settings)
    model, params, extra = trained.load(settings, source)
    split = parts.open_task(run, model.vocabulary).load(
        run.eval_split, parts.input_length(run)
    )
    if split.unlabelled:
        raise UserError(
            f"{run.mixture_or_task_name} has no labels in its {run.eval_split!r}, "
            "so there is no score to lose; give --gin.EVAL_SPLIT another"
        )
    measure = parts.make_measure(run, model, split)
    prompt = extra.prompt
    assert prompt is not None

    def score(vectors_PxD: np.ndarray, mask_P: np.ndarray) -> float:
        changed = prompt._replace(vectors=jnp.asarray(vectors_PxD), mask=mask_P)
        evaluation, _ = measure(params, extra._replace(prompt=changed))
        return development_score(evaluation.metrics)

    prompt_PxD = np.asarray(prompt.vectors)
    every_P = np.ones(len(prompt_PxD), bool)
    batches = [*in_batches(split.examples, run.batch_size, model.mesh)]
    taught = model, params, prompt, batches
    return Found(
        run.eval_split,
        len(split.examples),
        score(prompt_PxD, every_P),
        [score(prompt_PxD, np.arange(len(every_P)) != p) for p in range(len(every_P))],
        importance(*taught).tolist(),
        {name: score(*one) for name, *one in variants(prompt_PxD, table_VxD)},
        {
            stack: {"weights": paid.weights.tolist(), "uniform": paid.uniform}
            for stack, paid in attention.read(*taught).items()
        },
    )


_FIRST = {0: "no prompt", 1: "its first position"}


def variants(
    prompt_PxD: np.ndarray, table_VxD: np.ndarray | None, seed: int = 0
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, vectors [P, D], mask [P]) of a prompt that is changed."""
    rng, count = np.random.default_rng(seed), len(prompt_PxD)
    every_P = np.ones(count, bool)
    for draw in range(DRAWS):
        yield f"shuffled, draw {draw + 1}", rng.permutation(prompt_PxD), every_P
    for length in LENGTHS:
        if length < count:
            mask_P = np.arange(count) < length
            yield _FIRST.get(length, f"its first {length}"), prompt_PxD, mask_P
    if table_VxD is not None:
        for measure in ("cosine", "l2"):
            near = neighbours.nearest(prompt_PxD, table_VxD, 1, measure)
            rows_PxD = table_VxD[near.ids_PxK[:, 0]]
            yield f"rounded to the nearest pieces by {measure}", rows_PxD, every_P


def importance(
    model: parts.Model, params: Any, prompt: Prompt, batches: Iterable[Batch]
) -> np.ndarray:
    """|gradient x value| of a mask of ones on the prompt, [P].

    As XPrompt (Ma et al., 2022) has it: of each example's loss (nats, summed over its
    target), then the mean over examples.
    """
    gradient, found = jax.jit(mask_gradient(model.network)), []
    for batch in batches:
        with jax.set_mesh(model.mesh):
            slope_BxP = jax.device_get(gradient(params, prompt, batch))
        there_B = np.asarray(batch["decoder_loss_weights"]).any(axis=1)
        found.append(np.abs(slope_BxP[there_B]))
    return np.concatenate(found).mean(axis=0)


def mask_gradient(network: Transformer) -> Callable[[Any, Prompt, Any], jax.Array]:
    """(params, prompt, batch) -> the gradient of each example's loss, [B, P].

    By a mask on the prompt. The mask is 1, so that this is gradient x value.
    """

    def loss(mask_BxP: jax.Array, params: Any, prompt: Prompt, batch: Any) -> jax.Array:
        shape_BxPxD = *mask_BxP.shape, prompt.vectors.shape[-1]
        vectors_BxPxD = jnp.broadcast_to(prompt.vectors, shape_BxPxD)
        masked = prompt._replace(vectors=mask_BxP[..., None] * vectors_BxPxD)
        logits_BxSxV = network.apply({"params": params}, batch, Extra(masked))
        targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        return losses.cross_entropy(logits_BxSxV, *targets, z_loss=0.0)[0]

    def gradient(params: Any, prompt: Prompt, batch: Any) -> jax.Array:
        rows = len(batch["decoder_target_tokens"])
        ones_BxP = jnp.ones((rows, prompt.vectors.shape[-2]))
        # Rows do not meet in the network: the sum's gradient has each one's own.
        return jax.grad(loss)(ones_BxP, params, prompt, batch)

    return gradient


def in_batches(
    examples: batching.Examples, batch_size: int, mesh: Mesh
) -> Iterator[Batch]:
    """All examples once, under teacher forcing; padding fills the last batch."""
    lengths = examples.lengths
    for start in range(0, len(examples), batch_size):
        rows = slice(start, start + batch_size)
        inputs, targets = examples.inputs[rows], examples.targets[rows]
        missing = [np.zeros(0, np.int32)] * (batch_size - len(inputs))
        batch = batching.teacher_forcing(
            batching.pad([*inputs, *missing], lengths["inputs"]),
            batching.pad([*targets, *missing], lengths["targets"]),
        )
        yield partitioning.shard_batch(batch, mesh)
