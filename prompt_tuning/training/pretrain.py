"""Making a frozen model from scratch: span corruption, then LM adaptation.

The paper's two stages (section 2.2) at any size, on any seqio task of plain text: T5's
pre-training with its own optimizer, then the prefix-LM objective on the same weights.
The training step is that of model tuning.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import partitioning, run
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.t5 import network
from prompt_tuning.tasks_io import data, evaluate
from prompt_tuning.training import (
    batching,
    checkpoints,
    losses,
    objectives,
    optimizer,
    train,
)


@gin.configurable
def pretrain(
    settings: run.Run,
    span_corruption_steps: int = 2_000,
    prefix_lm_steps: int = 3_000,
    skill_task: str = "pocket_skill",
) -> Path:
    """Pre-trains a T5 on the text of a task, and writes it as one safetensors file.

    Started again with the same settings, it goes on from its last state.

    Args:
      settings: the task is one of plain text (feature "targets"); train_steps and the
        prompt's settings are not used.
      span_corruption_steps: steps of T5's objective. The weights after them are kept as
        span_corruption.safetensors.
      prefix_lm_steps: steps of LM adaptation after them.
      skill_task: a task that the model should do without any prompt; its score is shown
        and kept in the model's JSON. No prompt can call up what is not there. "" for
        none.

    Returns:
      The path of the frozen model, MODEL_DIR/frozen.safetensors.
    """
    folder = run.make_model_dir(settings)
    setup = run.setup(settings, frozen=False)
    rate = optimizer.inverse_square_root()
    adafactor = optimizer.adafactor(rate)
    states = checkpoints.manager(folder / "checkpoints")
    last = states.latest_step()
    run.keep_settings(folder / "config.gin", check=last is not None)

    documents = load_documents(setup.task, settings.train_split)
    held_out = load_documents(setup.task, settings.eval_split)
    lengths = {"inputs": 64, "targets": 32} | (settings.task_feature_lengths or {})
    make_batches = functools.partial(
        _stages,
        batch_size=settings.batch_size,
        lengths=lengths,
        vocab_size=setup.task.output_features["targets"].vocabulary.vocab_size,
        switch=span_corruption_steps,
        seed=settings.seed,
    )
    params = partitioning.init_params(
        setup.model, jax.random.key(settings.seed), setup.mesh
    )
    state = partitioning.placed(train.new_state(params, adafactor), setup.mesh)
    if last is not None:
        state = checkpoints.restore_state(states, state, last)
    train.keep_lines(folder / "train.jsonl", last or 0)
    origin = {"task": setup.task.name, "seed": settings.seed}
    save = functools.partial(
        weights.save_frozen,
        config=setup.model.config,
        vocabulary=run.vocabulary_file(setup),
        **origin,
    )

    loss_fn = jax.jit(_loss(setup.model))
    measure_skill = _skill(settings, skill_task)

    def at_period(state: train.TrainState, step: int) -> dict[str, str]:
        if step == span_corruption_steps:
            path = folder / "span_corruption.safetensors"
            save(path, state.trained, span_corruption=step)
        stage = make_batches(held_out, start_step=step)
        loss = np.mean([loss_fn(state.trained, next(stage)).item() for _ in range(8)])
        checkpoints.save_state(states, state, step, score=-loss)
        skill = measure_skill(state.trained)
        return {"held_out": f"{loss:.3f}"} | {k: f"{v:.1f}" for k, v in skill.items()}

    step_fn = train.make_step(setup.model, adafactor, "model")
    total = span_corruption_steps + prefix_lm_steps
    try:
        for name, end in (
            ("span corruption", span_corruption_steps),
            ("prefix LM", total),
        ):
            if (first := int(state.step)) < end:
                state = train.fit(
                    state,
                    None,
                    step_fn,
                    _on_this_host(
                        make_batches(documents, start_step=first), setup.mesh
                    ),
                    steps=end,
                    period=settings.eval_period,
                    at_period=at_period,
                    mesh=setup.mesh,
                    rng=jax.random.key(settings.seed),
                    log=folder / "train.jsonl",
                    description=name,
                )
    finally:  # an error or Ctrl-C too leaves the last state whole
        states.wait_until_finished()
    path = folder / "frozen.safetensors"
    save(
        path,
        state.trained,
        span_corruption=span_corruption_steps,
        prefix_lm=int(state.step) - span_corruption_steps,
        **measure_skill(state.trained),
    )
    print(f"frozen model: {path}")
    return path


def _skill(settings: run.Run, task_name: str) -> Callable[[Any], dict[str, float]]:
    """A function of the parameters: {"skill": percent} of a task without a prompt."""
    if not task_name:
        return lambda params: {}
    settings = dataclasses.replace(settings, mixture_or_task_name=task_name)
    parts = run.setup(settings, frozen=False)
    examples = data.load_examples(parts.task, settings.eval_split)
    evaluate_split = evaluate.make_evaluator(parts.task, examples, settings.batch_size)
    predict_fn = run.make_predict_fn(settings, parts, examples.lengths["targets"])

    def measure(params: Any) -> dict[str, float]:
        metrics, _ = evaluate_split(predict_fn(params, None))
        return {"skill": evaluate.development_score(metrics)}

    return measure


def load_documents(task: data.Task, split: str) -> list[np.ndarray]:
    """The token ids of a split's texts, without EOS and without one-token texts.

    Raises:
      UserError: there are none.
    """
    texts = []
    if split in task.splits:
        dataset = task.get_dataset(None, split, shuffle=False, num_epochs=1)
        rows = (example["targets"] for example in dataset.as_numpy_iterator())
        texts = [row[:-1] for row in rows if len(row) > 2]
    if not texts:
        raise UserError(
            f"{task.name} has no texts of two tokens or more in a split {split!r}; "
            "pre-training needs a task of plain text (feature targets), such as "
            "--gin.MIXTURE_OR_TASK_NAME=pocket_text"
        )
    return texts


def _stages(
    documents: list[np.ndarray],
    *,
    batch_size: int,
    lengths: dict[str, int],
    vocab_size: int,
    switch: int,
    seed: int,
    start_step: int,
) -> Iterator[batching.Batch]:
    """Batches of span corruption up to number `switch`, of prefix LM from there."""
    corruption = functools.partial(objectives.span_corruption, vocab_size=vocab_size)
    shape = batch_size, lengths["inputs"], lengths["targets"]
    if start_step < switch:
        batches = objectives.batches(documents, corruption, *shape, seed, start_step)
        for _ in range(switch - start_step):
            yield next(batches)
    yield from objectives.batches(
        documents, objectives.prefix_lm, *shape, seed, max(start_step, switch)
    )


def _on_this_host(
    batches: Iterator[batching.Batch], mesh: Mesh
) -> Iterator[batching.Batch]:
    """The rows of each batch that this host's devices hold."""
    for batch in batches:
        rows = partitioning.host_rows(mesh, len(batch["encoder_input_tokens"]))
        yield {name: value[rows] for name, value in batch.items()}


def _loss(model: network.Transformer) -> Callable[[Any, batching.Batch], jax.Array]:
    """(params, batch) -> loss in nats a target token, without z-loss."""

    def loss(params, batch):
        logits_BxSxV = model.apply({"params": params}, batch)
        weights_BxS = batch["decoder_loss_weights"]
        total, _ = losses.cross_entropy(
            logits_BxSxV, batch["decoder_target_tokens"], weights_BxS, z_loss=0.0
        )
        return total / weights_BxS.sum()

    return loss
