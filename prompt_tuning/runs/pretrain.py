"""Making a frozen model: span corruption, then LM adaptation.

The paper's two stages (section 2.2) at any size, on any plain text: T5's pre-training
with its own optimizer, then the prefix-LM objective on the same weights. They begin at
random, or with a model's (pretrain.initial), as T5 1.1's LM adaptation did. The
training step is the one of model tuning.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.methods import whole
from prompt_tuning.runs import parts, pretrain_text
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import (
    batching,
    checkpoints,
    folder,
    loop,
    losses,
    optimizer,
    step,
)
from prompt_tuning.training import task as tasks

FROZEN = "frozen"  # the weights at the end
MEASURED = 8  # batches of held-out text that the loss is the mean of


def pretrain(settings: Settings) -> Path:
    """Pre-trains a T5 on plain text and writes it as one safetensors file.

    Started again with the same settings, it resumes from its last state. The weights
    after span corruption are kept as span_corruption.safetensors, and those after N
    steps of LM adaptation, for each N of pretrain.kept, as prefix_lm_N.safetensors.

    Args:
      settings: MIXTURE_OR_TASK_NAME is a task of plain text (feature "targets"), or a
        .txt file with one text a line; or pretrain.corpus is set. TRAIN_STEPS and the
        prompt's settings are not used.

    Returns:
      The path of the frozen model, MODEL_DIR/frozen.safetensors.
    """
    settings = _from_initial(settings)
    _check_kept(settings)
    path = folder.make_model_dir(settings.run)
    with folder.locked(path):
        return _pretrain(settings, path)


def _from_initial(settings: Settings) -> Settings:
    """The settings with pretrain.initial as the frozen model, whose file describes it.

    Raises:
      UserError: there is a frozen model that would not be read.
    """
    initial, given = settings.pretrain.initial, settings.run.initial_checkpoint_path
    if given not in (initial, Run().initial_checkpoint_path):
        begins = f"from {initial}" if initial else "from random weights"
        raise UserError(
            f"INITIAL_CHECKPOINT_PATH is {given}, but `pretrain` would begin {begins}: "
            "to go on from a model, give it as pretrain.initial; otherwise leave "
            "INITIAL_CHECKPOINT_PATH out"
        )
    if not initial:
        return settings
    run = dataclasses.replace(settings.run, initial_checkpoint_path=initial)
    return dataclasses.replace(settings, run=run)


def _check_kept(settings: Settings) -> None:
    """Raises UserError for weights to be kept of a step that there will not be."""
    steps = settings.pretrain.prefix_lm_steps
    wrong = [number for number in settings.pretrain.kept if not 0 < number <= steps]
    if wrong:
        raise UserError(
            f"pretrain.kept has {wrong[0]}, but LM adaptation has the steps 1 to "
            f"{steps}, pretrain.prefix_lm_steps: give steps among them"
        )


def _check_cooldown(settings: Settings, path: Path) -> None:
    """Raises UserError for more or fewer steps where the rate depends on their number.

    Args:
      path: the MODEL_DIR of a run that was started.
    """
    old, new = folder.kept_settings(path / "config.gin").pretrain, settings.pretrain
    cooldown = settings.inverse_square_root.cooldown_steps
    if cooldown and old.prefix_lm_steps != new.prefix_lm_steps:
        raise UserError(
            f"pretrain.prefix_lm_steps is {new.prefix_lm_steps} and was "
            f"{old.prefix_lm_steps}, but the learning rate falls in the last "
            f"{cooldown} steps (inverse_square_root.cooldown_steps): give the same "
            "number, or another MODEL_DIR"
        )


def _pretrain(settings: Settings, path: Path) -> Path:
    run = dataclasses.replace(settings.run, method="whole")
    method = methods.of(dataclasses.replace(settings, run=run))
    model = parts.build(settings, frozen=bool(settings.pretrain.initial))
    # A step donates the parameters, so nothing else may hold them.
    initial, model = model.params, model._replace(params=None)
    corrupted = settings.pretrain.span_corruption_steps
    total, kept = corrupted + settings.pretrain.prefix_lm_steps, _kept(settings)
    rate = optimizer.inverse_square_root(settings.inverse_square_root, total)
    adafactor = optimizer.adafactor(rate, settings.adafactor)
    states = checkpoints.manager(path / "checkpoints")
    started = states.latest_step() is not None
    if started and (path / "config.gin").exists():
        _check_cooldown(settings, path)
    print(f"computed in   {parts.computed_in(settings, model)}", flush=True)
    text = pretrain_text.open_text(settings, model.vocabulary)
    _describe(settings, path, model, text, started)
    state = _first_state(settings, model, initial, adafactor)
    state = checkpoints.restore_last(states, state) or state
    folder.keep_lines(path / "train.jsonl", int(state.step), "loss")
    save = functools.partial(_save, run, model, text.origin)
    measure_skill = _skill(settings, model)

    def at_stop(current: step.States, number: int) -> None:
        checkpoints.save_state(states, current[0], number, score=None)

    fit = functools.partial(
        loop.fit,
        frozen=None,
        step_fn=step.make_step(
            model.network, method, [adafactor], run.num_microbatches
        ),
        period=run.eval_period,
        at_period=_at_period(settings, model, text, states, save, measure_skill),
        at_stop=at_stop,
        mesh=model.mesh,
        rngs=jnp.stack([jax.random.key(run.seed)]),
        logs=[path / "train.jsonl"],
        work=parts.work(model, [rate], prompt_length=0, weights=True),
        events=[parts.events(path)] if run.tensorboard else [],
    )
    try:
        # Stages end where weights are kept, as the last step of each is saved.
        for end in sorted({*kept, total}):
            name = "span corruption" if end <= corrupted else "prefix LM"
            if (first := int(state.step)) < end <= total:
                batches = _on_this_host(text.training(first), model.mesh)
                (state,) = fit((state,), batches=batches, steps=end, description=name)
    finally:  # after an error or Ctrl-C, too, finish writing the last state
        checkpoints.finish(states)
    made = save(
        f"{FROZEN}.safetensors",
        state.trained,
        span_corruption=corrupted,
        prefix_lm=int(state.step) - corrupted,
        **measure_skill(state.trained),
    )
    print(f"frozen model: {made}")
    return made


def _describe(
    settings: Settings,
    path: Path,
    model: parts.Model,
    text: pretrain_text.Text,
    started: bool,
) -> None:
    """Keeps in MODEL_DIR what the run is made of; it must be what it was started on."""
    said = {"vocabulary_fingerprint": model.vocabulary.fingerprint(), **text.said}
    if settings.pretrain.initial:
        said["frozen_fingerprint"] = weights.fingerprint(settings.pretrain.initial)
    folder.check_same(settings, said)
    made = [f"{name}.safetensors" for name in (FROZEN, *_kept(settings).values())]
    parts.keep(path, parts.resolved(settings, model), said, started, made)


def _at_period(
    settings: Settings,
    model: parts.Model,
    text: pretrain_text.Text,
    states: Any,
    save: Callable[..., Path],
    measure_skill: Callable[[Any], dict[str, float]],
) -> Callable[[step.States, int], dict[str, str]]:
    """Makes what a period ends with: weights kept, measured, the state saved."""
    corrupted, kept = settings.pretrain.span_corruption_steps, _kept(settings)
    measure_loss = _held_out_loss(model.network, text.held_out)

    def at_period(current: step.States, number: int) -> dict[str, str]:
        params = current[0].trained
        if number in kept:
            done = {"span_corruption": corrupted, "prefix_lm": number - corrupted}
            save(f"{kept[number]}.safetensors", params, **done)
        loss = measure_loss(params, _measured_from(number, corrupted))
        checkpoints.save_state(states, current[0], number, score=-loss)
        skill = {name: f"{value:.1f}" for name, value in measure_skill(params).items()}
        return {"held_out": f"{loss:.3f}"} | skill

    return at_period


def _kept(settings: Settings) -> dict[int, str]:
    """The names of the weights that are kept, by the step they are of."""
    corrupted = settings.pretrain.span_corruption_steps
    adapted = {corrupted + n: f"prefix_lm_{n}" for n in settings.pretrain.kept}
    return {corrupted: "span_corruption"} | adapted


def _save(
    run: Run,
    model: parts.Model,
    origin: Mapping[str, Any],
    name: str,
    params: Any,
    **how: Any,
) -> Path:
    """Writes weights into MODEL_DIR, and how they were made."""
    path = Path(run.model_dir, name)
    made_of = {**origin, "seed": run.seed} | how
    about = model.network.config, model.vocabulary.file, made_of
    weights.save_frozen(path, params, *about)
    return path


def _first_state(
    settings: Settings, model: parts.Model, initial: Any, adafactor: Any
) -> step.TrainState:
    """The state before the first step: of the weights `initial`, or of random ones."""
    if initial is None:
        key = jax.random.key(settings.run.seed)
        sharded = settings.param_shardings.fully_sharded
        params = partitioning.init_params(model.network, key, model.mesh, sharded)
    else:
        params = whole.trainable(initial)
    return partitioning.placed(step.new_state(params, adafactor), model.mesh)


def _skill(settings: Settings, model: parts.Model) -> Callable[[Any], dict[str, float]]:
    """Makes params -> {"skill": percent}, the score on a task without a prompt."""
    run, name = settings.run, settings.pretrain.skill_task
    if not name:
        parts.check_no_templates(run, run.mixture_or_task_name)
        return lambda params: {}
    split = parts.open_task(run, model.vocabulary, name).load(run.eval_split)
    greedy = dataclasses.replace(run, decoding="greedy")
    measure = parts.make_measure(greedy, model, split)

    def skill(params: Any) -> dict[str, float]:
        (metrics, _), _ = measure(params, Extra())
        return {"skill": tasks.development_score(metrics)}

    return skill


def _on_this_host(
    batches: Iterator[batching.Batch], mesh: Mesh
) -> Iterator[batching.Batch]:
    """The rows of each batch that this host holds, as [B, 1, ...] for one state."""
    for batch in batches:
        rows = partitioning.host_rows(mesh, len(batch["encoder_input_tokens"]))
        yield {name: value[rows][:, None] for name, value in batch.items()}


def _measured_from(number: int, corrupted: int) -> int:
    """The first of MEASURED batches, all with the objective of step `number`."""
    return number if number > corrupted else max(0, min(number, corrupted - MEASURED))


def _held_out_loss(
    model: network.Transformer, held_out: pretrain_text.Batches
) -> Callable[[Any, int], float]:
    """Makes (params, i) -> mean loss in nats per target token, without z-loss.

    The loss is that of MEASURED batches of held-out text, from number i on, each with
    the objective of its step.
    """

    @jax.jit
    def loss(params, batch):
        logits_BxSxV = model.apply({"params": params}, batch)
        weights_BxS = batch["decoder_loss_weights"]
        total, _ = losses.cross_entropy(
            logits_BxSxV, batch["decoder_target_tokens"], weights_BxS, z_loss=0.0
        )
        return total / weights_BxS.sum()

    def mean(params: Any, number: int) -> float:
        batches = held_out(number)
        each = [loss(params, next(batches)).item() for _ in range(MEASURED)]
        return float(np.mean(each))

    return mean
