"""Tuning a prompt (or the model), or several prompts at once, from data to report.

Prompts that are tuned together share the frozen model, one compiled step and the data
set. Each has its own MODEL_DIR, which ends as if it had been tuned alone.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from prompt_tuning import config, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.run import (
    PLACES,
    Run,
    Setup,
    description,
    initial_prompt,
    input_length,
    keep_settings,
    make_model_dir,
    make_predict_fn,
    setup,
    vocabulary_file,
)
from prompt_tuning.tasks_io import data, evaluate
from prompt_tuning.training import batching, checkpoints, optimizer, report, train

# What prompts of one compiled step may differ in.
_SWEPT = r"(Run\.)?(seed|prompt_init|prompt_file)|(schedule|adafactor)\.\w+"


class Tuned(NamedTuple):
    """A prompt (or model) being tuned: its settings, and what it keeps where."""

    run: Run
    folder: Path
    adafactor: optax.GradientTransformation
    states: ocp.CheckpointManager
    state: train.TrainState


def variants(model_dir: str, sweeps: Sequence[str]) -> list[list[str]]:
    """The bindings of each prompt of a sweep: every combination, in its own folder.

    Args:
      sweeps: `NAME=VALUE,VALUE...` each.

    Returns:
      For each combination `NAME=VALUE` of every name, and its MODEL_DIR below
      `model_dir`, such as seed_1-learning_rate_0.1.

    Raises:
      UserError: a name is none that prompts trained together may differ in.
    """
    names, choices = [], []
    for sweep in sweeps:
        name, _, values = (part.strip() for part in sweep.partition("="))
        if not re.fullmatch(_SWEPT, name, re.IGNORECASE) or not values:
            raise UserError(
                f"--sweep is {sweep!r}; it must be NAME=VALUE,VALUE with a name that "
                "prompts of one step may differ in: SEED, PROMPT_INIT, PROMPT_FILE, or "
                "one of schedule and adafactor (schedule.learning_rate=0.1,0.3)"
            )
        names.append(name)
        choices.append([value.strip() for value in values.split(",")])
    found = []
    for values in itertools.product(*choices):
        chosen = list(zip(names, values, strict=True))
        folder = "-".join(f"{n.rpartition('.')[2].lower()}_{v}" for n, v in chosen)
        folder = re.sub(r"[^\w.+-]", "_", folder)
        bindings = [f"{name}={value}" for name, value in chosen]
        found.append([*bindings, f"MODEL_DIR={str(Path(model_dir, folder))!r}"])
    return found


def train_and_report(run: Run, sweeps: Sequence[str] = ()) -> None:
    """Tunes (or goes on), evaluates, and writes all that a run makes.

    In MODEL_DIR: config.gin, checkpoints/, train.jsonl and eval.jsonl as it goes; at
    the end prompt.npy and prompt.json (or model.safetensors), predictions.jsonl,
    learning_curve.png and metrics.json.

    Args:
      sweeps: as of `variants`; the prompts are tuned together.
    """
    make_model_dir(run)
    if sweeps and run.tuning == "model":
        raise UserError(
            "--sweep is of prompts, which share a frozen model; TUNING is model: start "
            "a run for each"
        )
    bindings = variants(run.model_dir, sweeps) if sweeps else [[]]
    parts = setup(run)
    training = data.load_examples(parts.task, run.train_split, run.task_feature_lengths)
    development = data.load_examples(parts.task, run.eval_split, input_length(run))
    # Of several some may have saved the last state when a run is killed, and some not;
    # the one before it they all have.
    kept = 2 if sweeps else 1
    opened = [_open(of, parts, kept) for of in _settings(bindings)]
    print(_introduction(opened, parts, training, development), flush=True)
    tuned, last = _restored(opened)
    if last is not None:
        print(f"going on from step {last} in {run.model_dir}", flush=True)

    evaluate_split = evaluate.make_evaluator(parts.task, development, run.batch_size)
    predict_fn = make_predict_fn(run, parts, development.lengths["targets"])

    def measure(
        state: train.TrainState, path: Path | None = None
    ) -> evaluate.Evaluation:
        return evaluate_split(predict_fn(*_model_and_prompt(run, parts, state)), path)

    def at_period(states: Any, step: int) -> dict[str, str]:
        scores = []
        for one, state in zip(tuned, _each(states), strict=True):
            metrics, illegal = measure(state)
            score = evaluate.development_score(metrics, training.sizes)
            line = {"step": step, "score": score, "metrics": metrics}
            with outputs.log(one.folder / "eval.jsonl").open("a") as lines:
                lines.write(json.dumps(line | {"illegal": illegal}) + "\n")
            checkpoints.save_state(one.states, state, step, score)
            scores.append(score)
        return {run.eval_split: f"{np.mean(scores):.1f}"}

    if last is None:
        at_period(tuple(one.state for one in tuned), 0)
    try:
        _fit(tuned, parts, training, at_period)
    finally:  # an error or Ctrl-C too leaves the last state whole
        for one in tuned:
            one.states.wait_until_finished()

    majority = evaluate.majority_baseline(parts.task, training, development)
    cut = {run.train_split: training.cut, run.eval_split: development.cut}
    results = {}
    for one in tuned:
        best = checkpoints.best_step(one.states)
        state = checkpoints.restore_state(one.states, one.state, best)
        trained = measure(state, one.folder / "predictions.jsonl")
        score = evaluate.development_score(trained.metrics, training.sizes)
        _write_trained(one, parts, state, trained, score)
        results[one.folder] = _write_results(one, parts, best, majority, trained, cut)
    if sweeps:
        print(_comparison(run, results))
    else:
        print(_conclusion(run, *results.popitem()))


def _settings(variants: Sequence[Sequence[str]]) -> Iterator[Run]:
    """The settings of each prompt, which are gin's until the next is asked for."""
    for bindings in variants:
        config.rebind(bindings)
        yield Run()


def _open(run: Run, parts: Setup, kept: int) -> Tuned:
    """The first state of a run, and its folder, whose settings must be the run's.

    Args:
      kept: how many of the last states its folder keeps.
    """
    folder = make_model_dir(run)
    adafactor = optimizer.adafactor(optimizer.schedule())
    state = first_state(run, parts, adafactor)
    states = checkpoints.manager(folder / "checkpoints", last=kept)
    keep_settings(folder / "config.gin", check=states.latest_step() is not None)
    return Tuned(run, folder, adafactor, states, state)


def _restored(tuned: Sequence[Tuned]) -> tuple[list[Tuned], int | None]:
    """The last states, and their step: of several the last that all have saved.

    What some saved or logged after it, before the run was killed, is dropped.

    Raises:
      UserError: they are not at one step, nor were they when a run was killed.
    """
    latest = {one.folder: one.states.latest_step() for one in tuned}
    steps = [-1 if step is None else step for step in latest.values()]
    last, saved = min(steps), [{-1, *one.states.all_steps()} for one in tuned]
    ahead = max(steps) - max(last, 0) > tuned[0].run.eval_period
    if ahead or any(last not in each for each in saved):
        raise UserError(
            "prompts are tuned together from one step, but the last saved steps are "
            + ", ".join(f"{step} in {folder}" for folder, step in latest.items())
            + ": take those that are at another step out of --sweep, and tune them in "
            "a run of their own"
        )
    restored = []
    for one in tuned:
        for step in [step for step in one.states.all_steps() if step > last]:
            one.states.delete(step)
        train.keep_lines(one.folder / "train.jsonl", max(last, 0))
        train.keep_lines(one.folder / "eval.jsonl", last)
        if last >= 0:
            state = checkpoints.restore_state(one.states, one.state, last)
            one = one._replace(state=state)
        restored.append(one)
    return restored, None if last < 0 else last


def _each(states: Any) -> tuple[train.TrainState, ...]:
    return (states,) if isinstance(states, train.TrainState) else states


def _fit(
    tuned: Sequence[Tuned], parts: Setup, training: batching.Examples, at_period: Any
) -> None:
    """Trains to TRAIN_STEPS: one alone, or several in a joint step."""
    run, joint = tuned[0].run, len(tuned) > 1
    states = tuple(one.state for one in tuned)
    seeds = [one.run.seed for one in tuned]
    keys = [jax.random.key(seed) for seed in seeds]
    optimizers = [one.adafactor for one in tuned]
    start, split = int(states[0].step), (training, run.batch_size)
    rows = partitioning.host_rows(parts.mesh, run.batch_size)
    where = start, rows, run.length_window
    coming = start, min(run.eval_period, run.train_steps), run.length_window
    place = PLACES[run.prompt_place]
    if joint:
        step_fn = train.make_joint_step(
            parts.model, optimizers, run.num_microbatches, place=place
        )
        batches = batching.joint_batches(*split, seeds, *where)
    else:
        step_fn = train.make_step(
            parts.model, optimizers[0], run.tuning, run.num_microbatches, place=place
        )
        batches = batching.batches(*split, seeds[0], *where)
    train.fit(
        states if joint else states[0],
        parts.params if run.tuning == "prompt" else None,
        step_fn,
        batches,
        steps=run.train_steps,
        period=run.eval_period,
        at_period=at_period,
        mesh=parts.mesh,
        rng=jnp.stack(keys) if joint else keys[0],
        log=[one.folder / "train.jsonl" for one in tuned],
        lengths=batching.input_lengths(*split, seeds, *coming),
        description=f"{run.tuning} tuning",
    )


def first_state(
    run: Run, parts: Setup, adafactor: optax.GradientTransformation
) -> train.TrainState:
    """The state before training: a new prompt, or the pretrained weights."""
    trained = initial_prompt(run, parts) if run.tuning == "prompt" else parts.params
    return partitioning.placed(train.new_state(trained, adafactor), parts.mesh)


def _model_and_prompt(run: Run, parts: Setup, state: train.TrainState) -> tuple:
    """The parameters and the prompt (None in model tuning) of a state."""
    if run.tuning == "prompt":
        return parts.params, state.trained
    return state.trained, None


def _introduction(
    tuned: Sequence[Tuned],
    parts: Setup,
    training: batching.Examples,
    development: batching.Examples,
) -> str:
    def size(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    run, state = tuned[0].run, tuned[0].state
    model, trained = size(parts.params), size(state.trained)
    lines = [f"frozen model  {run.initial_checkpoint_path}: {model:,} parameters"]
    if run.tuning == "prompt":
        length, width = state.trained.shape
        inits = dict.fromkeys(one.run.prompt_init for one in tuned)
        lines.append(
            f"prompt        {length} x {width} = {trained:,} parameters, "
            f"{trained / (model + trained):.3%} of all; init {', '.join(inits)}"
        )
        if len(tuned) > 1:
            lines.append(f"together      {len(tuned)} prompts, in one step")
    else:
        lines[0] = (
            f"model         {run.initial_checkpoint_path}: {model:,}, all trained"
        )
    for examples in (training, development):
        lengths = examples.lengths
        lines.append(
            f"{examples.split:<13} {len(examples):,} examples of {parts.task.name}; "
            f"inputs of {lengths['inputs']} tokens ({examples.cut['inputs']} cut), "
            f"targets of {lengths['targets']} ({examples.cut['targets']} cut)"
        )
    return "\n".join(lines)


def _write_trained(
    tuned: Tuned,
    parts: Setup,
    state: train.TrainState,
    trained: evaluate.Evaluation,
    score: float,
) -> None:
    """Writes the prompt (or the tuned model) with what made it."""
    made_by = description(tuned.run, parts.model.config.emb_dim, int(state.step)) | {
        "score": score,
        "metrics": trained.metrics,
    }
    if tuned.run.tuning == "prompt":
        checkpoints.save_prompt(tuned.folder / "prompt.npy", state.trained, made_by)
    else:
        weights.save_frozen(
            tuned.folder / "model.safetensors",
            state.trained,
            parts.model.config,
            vocabulary_file(parts),
            **made_by,
        )


def _write_results(
    tuned: Tuned,
    parts: Setup,
    best: int,
    majority: evaluate.Metrics,
    trained: evaluate.Evaluation,
    cut: dict[str, dict[str, int]],
) -> dict[str, Any]:
    """Writes metrics.json and the learning curve, and returns what is in the first."""
    folder = tuned.folder
    end = max(tuned.run.train_steps, tuned.states.latest_step())
    scores = train.keep_lines(folder / "eval.jsonl", end)
    results = {
        "best_step": best,
        "majority": majority,
        "untrained": {"metrics": scores[0]["metrics"], "illegal": scores[0]["illegal"]},
        "trained": trained._asdict(),
        "cut": cut,
    }
    outputs.write_json(folder / "metrics.json", results)
    report.learning_curve(
        folder / "learning_curve.png",
        f"{parts.task.name} on {Path(tuned.run.initial_checkpoint_path).stem}",
        train.keep_lines(folder / "train.jsonl", end),
        scores,
        evaluate.development_score(majority) if majority else None,
    )
    return results


def _rows(results: dict[str, Any]) -> Iterator[tuple]:
    """The rows of the final table."""
    columns = results["majority"], results["untrained"], results["trained"]
    majority, untrained, trained = columns
    for task, metrics in trained["metrics"].items():
        for metric, value in metrics.items():
            before = untrained["metrics"][task][metric]
            yield task, metric, majority.get(task, {}).get(metric), before, value
        if task in trained["illegal"]:
            shares = [100 * part["illegal"][task] for part in (untrained, trained)]
            yield task, "illegal labels", None, *shares


# What the two columns of scores are called.
_COLUMNS = {
    "prompt": ("untrained prompt", "trained prompt"),
    "model": ("pretrained model", "tuned model"),
}


def _conclusion(run: Run, folder: Path, results: dict[str, Any]) -> str:
    trained = "prompt.npy" if run.tuning == "prompt" else "model.safetensors"
    paths = {
        run.tuning: folder / trained,
        "learning curve": folder / "learning_curve.png",
        "metrics": folder / "metrics.json",
        "predictions": folder / "predictions.jsonl",
    }
    return "\n".join(
        [
            "",
            f"{run.eval_split}, in percent; best of the evaluations at step "
            f"{results['best_step']}",
            "",
            report.table(list(_rows(results)), _COLUMNS[run.tuning]),
            "",
            *(f"{name:<15} {path}" for name, path in paths.items()),
        ]
    )


def _comparison(run: Run, results: dict[Path, dict[str, Any]]) -> str:
    """Each prompt's scores in a line, and their mean and sample standard deviation."""
    found = [
        {
            f"{t} {m}": v
            for t, ms in r["trained"]["metrics"].items()
            for m, v in ms.items()
        }
        for r in results.values()
    ]
    lines = ["", f"{run.eval_split}, in percent, each at its best step", ""]
    for (folder, result), scores in zip(results.items(), found, strict=True):
        values = ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
        lines.append(f"{folder}  {values} (step {result['best_step']})")
    for name in found[0]:
        values = [scores[name] for scores in found]
        mean, deviation = np.mean(values), np.std(values, ddof=len(values) > 1)
        lines.append(f"mean of {len(values)}, {name}: {mean:.1f} ± {deviation:.1f}")
    return "\n".join(lines)
