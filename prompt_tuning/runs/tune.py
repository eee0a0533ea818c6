"""Trains one run or several at once, from settings to results.

A single run is a sweep of one. The runs of a sweep share the frozen model, one compiled
step and the data; each has its own MODEL_DIR, with what it would have if trained alone.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from prompt_tuning import exchange, methods, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import figures, parts, report, results, transfer
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training import (
    batching,
    checkpoints,
    folder,
    loop,
    losses,
    optimizer,
    progress,
    step,
)
from prompt_tuning.training import task as tasks


class Member(NamedTuple):
    """One of the prompts (or models) that are trained together.

    start: makes the trained tree as it is before the first step.
    learning_rate: step (from 0) -> the optimizer's.
    events: writes a step's values for TensorBoard; None unless asked for.
    state: its latest training state.
    """

    run: Run
    folder: Path
    start: Callable[[], Any]
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    events: progress.Events | None
    states: ocp.CheckpointManager
    state: step.TrainState


EVALUATED = "score", "metrics", "illegal"  # of a line of eval.jsonl


class Data(NamedTuple):
    """The splits of a run; words: {task that is trained on: its label words}."""

    training: batching.Examples
    development: tasks.Split
    words: Mapping[str, Sequence[str] | None]

    @property
    def splits(self) -> tuple[batching.Examples, batching.Examples]:
        return self.training, self.development.examples


Measure = Callable[[Any], tuple[tasks.Evaluation, list[tasks.Record]]]


def train(sweep: Sequence[Settings]) -> None:
    """Trains (or goes on), evaluates, and writes all that a run makes.

    While training, each MODEL_DIR gets config.gin, description.json, checkpoints/,
    train.jsonl and eval.jsonl; at the end prompt.npy and prompt.json or
    model.safetensors (or both), or extra.safetensors and extra.json; and
    predictions.jsonl, learning_curve.png and .pdf, and metrics.json.

    Args:
      sweep: one run's settings, or those of several that one step can train.
    """
    folders = [folder.make_model_dir(one.run) for one in sweep]
    with contextlib.ExitStack() as stack:
        for path in folders:
            stack.enter_context(folder.locked(path))
            results.forget_failure(path)
        _train(sweep, folders)


def _train(sweep: Sequence[Settings], folders: Sequence[Path]) -> None:
    run = sweep[0].run
    model = parts.build(sweep[0])
    computed = parts.computed_in(sweep[0], model)
    task = parts.open_task(run, model.vocabulary)
    data = read_splits(run, task)
    sweep = [parts.resolved(one, model) for one in sweep]
    said = _descriptions(sweep, task, model, data)
    method = methods.of(sweep[0])
    members = _members(sweep, folders, task, model, said, data)
    frozen = methods.left_frozen(model.params, members[0].state.trained)
    _check_shared(sweep, model.params, frozen)
    first, splits = members[0].state.trained, data.splits
    penalty = parts.penalty(sweep[0], method, first, frozen, model.vocabulary)
    runs = [one.run for one in sweep]
    told = report.introduction(runs, method, first, frozen, task.name, splits, computed)
    print(told, flush=True)
    if not method.trains and run.decoding == "greedy" and task.label_words():
        outputs.warn(
            f"{task.name} has label words, and nothing is trained that would answer "
            "them: DECODING=labels scores them"
        )

    bound = parts.make_measure(run, model, data.development, data.training.sizes)

    def measure(trained: Any) -> tuple[tasks.Evaluation, list[tasks.Record]]:
        return bound(*method.bind(trained, frozen))

    def at_period(states: step.States, number: int) -> dict[str, str]:
        scores = []
        for member, state in zip(members, states, strict=True):
            score = _evaluated(member, state, number, measure, data.training)
            checkpoints.save_state(member.states, state, number, score)
            scores.append(score)
        return {run.eval_split: f"{np.mean(scores):.1f}"}

    def at_stop(states: step.States, number: int) -> None:
        for member, state in zip(members, states, strict=True):
            checkpoints.save_state(member.states, state, number, score=None)

    members, last = _resumed(members)
    if last is not None:
        where = folders[0].parent if len(sweep) > 1 else run.model_dir
        done = f"finished at step {last}; nothing left to do"
        going_on = f"resuming from step {last} in {where}"
        left = method.trains and last < run.train_steps
        print(going_on if left else done, flush=True)
    try:
        if last is None:
            at_period(tuple(one.state for one in members), 0)
        for member in members:
            _evaluate_again(member, measure, data.training)
        calls = at_period, at_stop
        if method.trains:
            _fit(members, method, model, frozen, data.training, penalty, *calls)
    finally:  # after an error or Ctrl-C, too, finish writing the last state
        for member in members:
            checkpoints.finish(member.states)
    _conclude(members, said, method, model, frozen, measure, data)


def _evaluate_again(
    member: Member, measure: Measure, training: batching.Examples
) -> None:
    """Evaluates the saved states whose scores SIGTERM or damage has cost."""
    run, states = member.run, member.states
    scores = checkpoints.scores(Path(states.directory))
    missing = [number for number, score in scores.items() if score is None]
    for number in missing:
        due = number % run.eval_period == 0 or number >= run.train_steps
        if due or (missing == [*scores] and number == missing[-1]):
            state = checkpoints.restore_or_set_aside(states, member.state, number)
            if state is not None:
                score = _evaluated(member, state, number, measure, training)
                checkpoints.save_score(states, number, score)


def read_splits(run: Run, task: tasks.Task) -> Data:
    """Reads the splits; raises UserError if there is nothing to learn from."""
    training = task.load(run.train_split, run.task_feature_lengths)
    if training.unlabelled:
        raise UserError(
            f"the split {run.train_split!r} has no labels of "
            f"{', '.join(training.unlabelled)} to learn; give TRAIN_SPLIT another"
        )
    rates = training.examples.rates
    total = sum(rates.values())  # NaN for a rate that its function did not give
    if min(rates.values()) < 0 or not 0 < total < np.inf:
        raise UserError(
            f"the mixture {task.name} draws from its tasks at the rates {rates}; each "
            "must be a number of at least 0, and one of them more. A rate by number of "
            "examples needs a source that knows it (num_input_examples)"
        )
    words = {name: training.label_words.get(name) for name in rates}
    development = task.load(run.eval_split, parts.input_length(run))
    return Data(training.examples, development, words)


def _conclude(
    members: Sequence[Member],
    said: Sequence[dict[str, Any]],
    method: methods.Method,
    model: parts.Model,
    frozen: Any,
    measure: Measure,
    data: Data,
) -> None:
    """Writes what each one's best state is worth and ships, and tells it."""
    split, vocabulary = data.development, model.vocabulary
    majority = tasks.majority_baseline(data.training, split, vocabulary)
    written, files = {}, []
    for member, about in zip(members, said, strict=True):
        best = checkpoints.best_step(member.folder / "checkpoints")
        assert best is not None  # the last one is evaluated
        state = checkpoints.restore_state(member.states, member.state, best)
        trained, records = measure(state.trained)
        tasks.write_predictions(records, member.folder / "predictions.jsonl")
        score = tasks.development_score(trained.metrics, data.training.sizes)
        about |= {"step": best, "score": score, "metrics": trained.metrics}
        folded = method.fold(state.trained, frozen)
        what = method, state.trained, folded[1], data.words
        about |= parts.said(member.run, model, *what)
        if method.tokens:
            tokens_P = method.tokens(state.trained, frozen)
            about |= exchange.in_words(tokens_P, vocabulary)
        files = _ship(member.folder, folded, model, about)
        found = majority, trained, data, measure
        written = _write_results(member, best, *found, draw=method.trains)
    if len(members) == 1:  # those of a sweep are told side by side
        run, path = members[0].run, members[0].folder
        text = said[0]["text"] if method.tokens else None
        print(report.conclusion(run, path, files, written, text, method.trains))


def _descriptions(
    sweep: Sequence[Settings], task: tasks.Task, model: parts.Model, data: Data
) -> list[dict[str, Any]]:
    """Each run's description."""
    about = {
        "frozen_model": weights.fingerprint(sweep[0].run.initial_checkpoint_path),
        "vocabulary": model.vocabulary,
        "label_words": task.label_words(),
        "target_length": data.development.examples.lengths["targets"],
        "width": model.network.config.emb_dim,
    }
    made_of = {
        "frozen_checksum": parts.checksum(model.params),
        "data_fingerprint": data.training.fingerprint(),
        "eval_data_fingerprint": data.development.examples.fingerprint(),
    }
    said = [
        exchange.description(one, **about) | made_of | transfer.said(one)
        for one in sweep
    ]
    folder.check_same(sweep, said[0])
    return said


def _members(
    sweep: Sequence[Settings],
    folders: Sequence[Path],
    task: tasks.Task,
    model: parts.Model,
    said: Sequence[dict[str, Any]],
    data: Data,
) -> list[Member]:
    """Each run's first state and folder, which must not hold other settings."""
    members, eos_id = [], model.vocabulary.eos_id
    examples = functools.partial(parts.may_be_shown, *data.splits, eos_id)
    for settings, path, description in zip(sweep, folders, said, strict=True):
        run = settings.run
        source = transfer.described(description)
        array = source and transfer.load(source, run, description, model)
        start = functools.partial(parts.start, settings, task, model, array, examples)
        trained, method = start(), methods.of(settings)
        params, extra = method.fold(trained, model.params)
        if array is not None and not (extra.prompt_length and method.trains):
            raise UserError(
                f"PROMPT_INIT is {run.prompt_init!r}, but METHOD is {run.method!r}, "
                "which trains no prompt to start from one: leave PROMPT_INIT out"
            )
        description = {
            **description,
            "ships_model": params is not None,
            "ships_extra": not extra.is_prompt,
        }
        description |= parts.said(run, model, method, trained, extra, data.words)
        own, rate = optimizer.chosen(settings, searches=bool(method.search))
        state = partitioning.placed(step.new_state(trained, own), model.mesh)
        where = path / "checkpoints"
        states = checkpoints.manager(where, checkpoints.kept_steps(where, run))
        started = states.latest_step() is not None
        parts.keep(path, settings, description, started, results.FILES)
        events = parts.events(path) if run.tensorboard else None
        members.append(Member(run, path, start, own, rate, events, states, state))
    return members


def _check_shared(sweep: Sequence[Settings], params: Any, frozen: Any) -> None:
    """Raises UserError if several runs would train weights that they share."""
    count = len(jax.tree.leaves(params)) - len(jax.tree.leaves(frozen))
    if len(sweep) > 1 and count:
        raise UserError(
            "the prompts of a --sweep share a frozen model, but METHOD is "
            f"{sweep[0].run.method}, which trains it: start a run for each"
        )


def _evaluated(
    member: Member,
    state: step.TrainState,
    number: int,
    measure: Measure,
    training: batching.Examples,
) -> float:
    """Evaluates and logs a state, and returns its score."""
    (metrics, illegal), _ = measure(state.trained)
    score = tasks.development_score(metrics, training.sizes)
    line = {"step": number, "score": score, "metrics": metrics, "illegal": illegal}
    with outputs.log(member.folder / "eval.jsonl").open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    if member.events:
        member.events(number, {f"{member.run.eval_split} score": score})
    return score


def _resumed(members: Sequence[Member]) -> tuple[list[Member], int | None]:
    """The members at the last step that all have saved, and that step.

    What some of them saved or logged after it, before they were killed, is dropped.

    Raises:
      UserError: they were not trained together up to one step.
    """
    last, found = None, _last_states(members)
    latest = [-1 if state is None else int(state.step) for state in found]
    steps = latest
    while len(set(steps)) > 1 and last != min(steps):
        last = min(steps)
        found = _last_states(members, last)
        steps = [-1 if state is None else int(state.step) for state in found]
    last = min(steps)
    # Two states are kept: more than that apart, they were never tuned together.
    if max(steps) > last or max(latest) - max(last, 0) > members[0].run.eval_period:
        raise UserError(
            "prompts are tuned together from one step, but the last saved steps are "
            + ", ".join(
                f"{None if number < 0 else number} in {member.folder}"
                for number, member in zip(latest, members, strict=True)
            )
            + ": take those that are at another step out of --sweep, and tune them in "
            "a run of their own"
        )
    for member in members:
        _drop_after(member, last)
    resumed = [
        member if state is None else member._replace(state=state)
        for member, state in zip(members, found, strict=True)
    ]
    return resumed, None if last < 0 else last


def _last_states(
    members: Sequence[Member], last: int | None = None
) -> list[step.TrainState | None]:
    return [checkpoints.restore_last(one.states, one.state, last) for one in members]


def _drop_after(member: Member, last: int) -> None:
    """Deletes a member's states and logs after step `last`."""
    for number in [number for number in member.states.all_steps() if number > last]:
        member.states.delete(number)
    folder.keep_lines(member.folder / "train.jsonl", max(last, 0), "loss")
    folder.keep_lines(member.folder / "eval.jsonl", last, *EVALUATED)


def _fit(
    members: Sequence[Member],
    method: methods.Method,
    model: parts.Model,
    frozen: Any,
    training: batching.Examples,
    penalty: losses.Penalty | None,
    at_period: Any,
    at_stop: Any,
) -> None:
    """Trains to TRAIN_STEPS."""
    run = members[0].run
    states = tuple(member.state for member in members)
    seeds = [member.run.seed for member in members]
    start, split = int(states[0].step), (training, run.batch_size, seeds)
    made = model.network, method, [member.optimizer for member in members]
    may_part = _may_part(run, model.mesh) and not method.search
    buckets = batching.part_buckets(*split) if may_part else ()
    if buckets:
        step_fn = step.make_step_in_parts(*made, penalty=penalty)
        batches = batching.in_parts(*split, start, buckets, batching.PART)
        lengths = buckets
    else:
        rows = partitioning.host_rows(model.mesh, run.batch_size)
        ahead = start, min(run.eval_period, run.train_steps), run.length_window
        step_fn = step.make_step(*made, run.num_microbatches, penalty=penalty)
        batches = batching.batches(*split, start, rows, run.length_window)
        lengths = batching.input_lengths(*split, *ahead)
    loop.fit(
        states,
        frozen,
        step_fn,
        batches,
        steps=run.train_steps,
        period=run.eval_period,
        at_period=at_period,
        at_stop=at_stop,
        mesh=model.mesh,
        rngs=jnp.stack([jax.random.key(seed) for seed in seeds]),
        logs=[member.folder / "train.jsonl" for member in members],
        work=_work(members, method, model, frozen),
        events=[member.events for member in members if member.events],
        lengths=lengths,
        description=f"{run.method} tuning",
    )


def _work(
    members: Sequence[Member], method: methods.Method, model: parts.Model, frozen: Any
) -> progress.Work:
    """What a step of these does, for the log."""
    _, extra = jax.eval_shape(method.fold, members[0].state.trained, frozen)
    return parts.work(
        model,
        [member.learning_rate for member in members],
        prompt_length=extra.prompt_length,
        weights=len(jax.tree.leaves(frozen)) < len(jax.tree.leaves(model.params)),
        more_losses=method.search.losses if method.search else 0,
        encodings=extra.encodings,
    )


def _may_part(run: Run, mesh: Mesh) -> bool:
    """Whether a batch may be worked through in parts of like lengths.

    A small part does not fill an accelerator, nor several devices.
    """
    alone = mesh.size == 1 and jax.default_backend() == "cpu"
    return alone and run.num_microbatches == run.length_window == 1


def _ship(
    path: Path, folded: tuple[Any, Any], model: parts.Model, said: dict[str, Any]
) -> list[Path]:
    """Writes what `Method.fold` gives, and returns the files' paths."""
    params, extra = folded
    config = model.network.config
    return exchange.save(path, params, extra, config, model.vocabulary, said)


def _write_results(
    member: Member,
    best: int,
    majority: tasks.Metrics,
    trained: tasks.Evaluation,
    data: Data,
    measure: Measure,
    draw: bool,
) -> dict[str, Any]:
    """Draws the learning curve, writes metrics.json and returns what that holds."""
    run, path = member.run, member.folder
    end = max(run.train_steps, member.states.latest_step() or 0)
    scores = folder.keep_lines(path / "eval.jsonl", end, *EVALUATED)
    found = {
        "best_step": best,
        "steps": end,
        "majority": majority,
        "untrained": _untrained(member, scores, trained, measure)._asdict(),
        "trained": trained._asdict(),
        "cut": {split.split: split.cut for split in data.splits},
    }
    if draw:
        figures.learning_curve(
            path / "learning_curve",
            f"{run.mixture_or_task_name} on {parts.short_name(run)}",
            folder.keep_lines(path / "train.jsonl", end, "loss"),
            scores,
            tasks.development_score(majority) if any(majority.values()) else None,
            figures.score_name(trained.metrics, data.training.sizes),
        )
    # Last, as what has it is finished.
    outputs.write_json(path / results.METRICS, found)
    return found


def _untrained(
    member: Member,
    log: Sequence[dict],
    trained: tasks.Evaluation,
    measure: Measure,
) -> tasks.Evaluation:
    """The evaluation before the first step: logged, or if that is lost made again."""
    for line in log:
        logged = tasks.Evaluation(line["metrics"], line["illegal"])
        if line["step"] == 0 and jax.tree.structure(logged) == jax.tree.structure(
            trained
        ):
            return logged
    evaluation, _ = measure(member.start())
    return evaluation
