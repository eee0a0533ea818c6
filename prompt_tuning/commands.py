"""What the commands of the command line do with a Run."""

import dataclasses
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import optax

from prompt_tuning import (
    batching,
    checkpoints,
    data,
    evaluate,
    optimizer,
    outputs,
    partitioning,
    report,
    train,
    weights,
)
from prompt_tuning.errors import UserError
from prompt_tuning.run import (
    Run,
    Setup,
    description,
    initial_prompt,
    keep_settings,
    make_folder,
    make_model_dir,
    make_predict_fn,
    setup,
    vocabulary_file,
)


def train_and_report(run: Run) -> None:
    """Trains (or goes on training), evaluates, and writes all that a run makes.

    In MODEL_DIR: config.gin, checkpoints/, train.jsonl and eval.jsonl as it goes; at
    the end prompt.npy and prompt.json (or model.safetensors), predictions.jsonl,
    learning_curve.png and metrics.json.
    """
    folder = make_model_dir(run)
    parts = setup(run)
    training = data.load_examples(parts.task, run.train_split, run.task_feature_lengths)
    development = data.load_examples(parts.task, run.eval_split, _input_length(run))
    adafactor = optimizer.adafactor(optimizer.schedule())
    state = _first_state(run, parts, adafactor)
    print(_introduction(run, parts, training, development, state), flush=True)

    states = checkpoints.manager(folder / "checkpoints")
    last = states.latest_step()
    keep_settings(folder / "config.gin", check=last is not None)
    if last is not None:
        state = checkpoints.restore_state(states, state, last)
        print(f"going on from step {last} in {folder}", flush=True)
    train_log, eval_log = folder / "train.jsonl", folder / "eval.jsonl"
    train.keep_lines(train_log, last or 0)
    train.keep_lines(eval_log, -1 if last is None else last)

    evaluate_split = evaluate.make_evaluator(parts.task, development, run.batch_size)
    predict_fn = make_predict_fn(run, parts, development.lengths["targets"])

    def measure(
        state: train.TrainState, path: Path | None = None
    ) -> evaluate.Evaluation:
        return evaluate_split(predict_fn(*_model_and_prompt(run, parts, state)), path)

    def at_period(state: train.TrainState, step: int) -> dict[str, str]:
        metrics, illegal = measure(state)
        score = evaluate.development_score(metrics, training.sizes)
        line = {"step": step, "score": score, "metrics": metrics, "illegal": illegal}
        with outputs.log(eval_log).open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        checkpoints.save_state(states, state, step, score)
        return {run.eval_split: f"{score:.1f}"}

    if last is None:
        at_period(state, 0)
    coming = run.seed, int(state.step), min(run.eval_period, run.train_steps)
    try:
        train.fit(
            state,
            parts.params if run.tuning == "prompt" else None,
            train.make_step(parts.model, adafactor, run.tuning, run.num_microbatches),
            batching.batches(
                training,
                run.batch_size,
                run.seed,
                int(state.step),
                partitioning.host_rows(parts.mesh, run.batch_size),
            ),
            steps=run.train_steps,
            period=run.eval_period,
            at_period=at_period,
            mesh=parts.mesh,
            rng=jax.random.key(run.seed),
            log=train_log,
            lengths=batching.input_lengths(training, run.batch_size, *coming),
            description=f"{run.tuning} tuning",
        )
    finally:  # an error or Ctrl-C too leaves the last state whole
        states.wait_until_finished()

    best = checkpoints.best_step(states)
    state = checkpoints.restore_state(states, state, best)
    trained = measure(state, folder / "predictions.jsonl")
    score = evaluate.development_score(trained.metrics, training.sizes)
    _write_trained(run, parts, state, trained, score, folder)
    end = max(run.train_steps, last or 0)
    scores = train.keep_lines(eval_log, end)
    majority = evaluate.majority_baseline(parts.task, training, development)
    results = {
        "best_step": best,
        "majority": majority,
        "untrained": {"metrics": scores[0]["metrics"], "illegal": scores[0]["illegal"]},
        "trained": trained._asdict(),
        "cut": {run.train_split: training.cut, run.eval_split: development.cut},
    }
    outputs.write_json(folder / "metrics.json", results)
    report.learning_curve(
        folder / "learning_curve.png",
        f"{parts.task.name} on {Path(run.initial_checkpoint_path).stem}",
        train.keep_lines(train_log, end),
        scores,
        evaluate.development_score(majority) if majority else None,
    )
    print(_conclusion(run, folder, results))


def _first_state(
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
    run: Run,
    parts: Setup,
    training: batching.Examples,
    development: batching.Examples,
    state: train.TrainState,
) -> str:
    def size(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    model, trained = size(parts.params), size(state.trained)
    lines = [f"frozen model  {run.initial_checkpoint_path}: {model:,} parameters"]
    if run.tuning == "prompt":
        length, width = state.trained.shape
        lines.append(
            f"prompt        {length} x {width} = {trained:,} parameters, "
            f"{trained / (model + trained):.3%} of all; init {run.prompt_init}"
        )
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
    run: Run,
    parts: Setup,
    state: train.TrainState,
    trained: evaluate.Evaluation,
    score: float,
    folder: Path,
) -> None:
    """Writes the prompt (or the tuned model) with what made it."""
    made_by = description(run, parts.model.config.emb_dim, int(state.step)) | {
        "score": score,
        "metrics": trained.metrics,
    }
    if run.tuning == "prompt":
        checkpoints.save_prompt(folder / "prompt.npy", state.trained, made_by)
    else:
        path = folder / "model.safetensors"
        weights.save_frozen(
            path,
            state.trained,
            parts.model.config,
            vocabulary_file(parts),
            **made_by,
        )


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


def _trained(run: Run, prompt: str | None) -> tuple[Run, Setup, Any]:
    """The model and the prompt [P, D] (None after model tuning) that a run ended with.

    Args:
      prompt: another prompt's file, instead of MODEL_DIR/prompt.npy.
    """
    if not prompt and not run.model_dir:
        raise UserError(
            "there is no prompt to use: give --prompt=FILE, or the MODEL_DIR that "
            "`train` wrote, --gin.MODEL_DIR=runs/mine"
        )
    folder = Path(run.model_dir)
    if run.tuning == "model" and not prompt:
        path = str(folder / "model.safetensors")
        run = dataclasses.replace(run, initial_checkpoint_path=path)
        return run, setup(run), None
    prompt_PxD = checkpoints.load_prompt(Path(prompt or folder / "prompt.npy"))
    parts = setup(run)
    width = parts.model.config.emb_dim
    if prompt_PxD.shape[1] != width:
        raise UserError(
            f"the prompt {prompt or folder / 'prompt.npy'} is {prompt_PxD.shape[1]} "
            f"wide, but {run.initial_checkpoint_path} needs {width}: give the frozen "
            "model that the prompt was trained on, or another prompt"
        )
    return run, parts, jax.device_put(prompt_PxD, partitioning.replicated(parts.mesh))


def evaluate_prompt(run: Run, prompt: str | None = None) -> None:
    """Evaluates a trained prompt on EVAL_SPLIT; prints the metrics as a JSON object.

    With a MODEL_DIR, the predictions go to MODEL_DIR/predictions_SPLIT.jsonl.
    """
    run, parts, prompt_PxD = _trained(run, prompt)
    examples = data.load_examples(parts.task, run.eval_split, _input_length(run))
    predict_fn = make_predict_fn(run, parts, examples.lengths["targets"])
    path = None
    if run.model_dir:
        path = make_model_dir(run) / f"predictions_{run.eval_split}.jsonl"
    evaluation = evaluate.make_evaluator(parts.task, examples, run.batch_size)(
        predict_fn(parts.params, prompt_PxD), path
    )
    result = {"split": run.eval_split, "examples": len(examples)}
    result |= evaluation._asdict() | {"cut": examples.cut}
    if path:
        result["predictions"] = str(path)
    print(json.dumps(result, indent=2))


def predict(
    run: Run, prompt: str | None = None, source: str = "-", output: str = "-"
) -> None:
    """Answers each line of `source` with a JSON object in a line of `output`.

    Args:
      prompt: a prompt file instead of MODEL_DIR/prompt.npy.
      source: a file of text lines, or of JSON objects with an "inputs", whose other
        fields are kept; "-" is standard input.
      output: a file, or "-" for standard output.
    """
    records = list(_read_inputs(source))
    if output != "-":
        _check_output(output)
    run, parts, prompt_PxD = _trained(run, prompt)
    feature = parts.task.output_features["inputs"]
    predictions = []
    if records:
        length = (_input_length(run) or {}).get("inputs")
        inputs_NxT, cut = data.encode([r["inputs"] for r in records], feature, length)
        if cut:
            print(f"{cut} inputs were cut to {inputs_NxT.shape[1]}", file=sys.stderr)
        predict_fn = make_predict_fn(run, parts, _target_length(run, parts))
        tokens_NxS = evaluate.predict_in_batches(
            predict_fn(parts.params, prompt_PxD), inputs_NxT, run.batch_size
        )
        vocabulary = parts.task.output_features["targets"].vocabulary
        predictions = [vocabulary.decode(row) for row in tokens_NxS.tolist()]
    lines = "".join(
        json.dumps(record | {"prediction": text}, ensure_ascii=False) + "\n"
        for record, text in zip(records, predictions, strict=True)
    )
    path = Path(output)
    if output == "-":
        sys.stdout.write(lines)
    elif path.exists() and not path.is_file():  # /dev/null, say: not to be replaced
        path.write_text(lines, encoding="utf-8")
    else:
        with outputs.atomic(path.resolve()) as temporary:
            temporary.write_text(lines, encoding="utf-8")


def _input_length(run: Run) -> dict[str, int] | None:
    lengths = run.task_feature_lengths or {}
    return {"inputs": lengths["inputs"]} if "inputs" in lengths else None


def _target_length(run: Run, parts: Setup) -> int:
    """The most tokens of a prediction: as set, or as the longest label has."""
    labels_LxS = data.label_tokens(parts.task)
    if run.task_feature_lengths and "targets" in run.task_feature_lengths:
        return run.task_feature_lengths["targets"]
    return 64 if labels_LxS is None else labels_LxS.shape[1]


def _read_inputs(source: str) -> Iterator[dict[str, Any]]:
    try:
        if source == "-":
            text = sys.stdin.buffer.read().decode("utf-8")
        else:
            text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the inputs {source!r} cannot be read ({error}); give a UTF-8 file of "
            "text lines or JSON objects, or - for standard input"
        ) from None
    # Unlike splitlines(), which also ends a line at U+2028 and the like.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        line = line.removesuffix("\n")
        if not line.startswith("{"):
            yield {"inputs": line}
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"line {number} of {source} starts as a JSON object but is none "
                f"({error}); give one whole object a line, or plain text"
            ) from None
        if not isinstance(record.get("inputs"), str):
            raise UserError(
                f'line {number} of {source} has no "inputs" with a text; each object '
                'needs one, {"inputs": "..."}'
            )
        yield record


def _check_output(output: str) -> None:
    path = Path(output)
    if path.is_dir():
        raise UserError(f"--output {output!r} is a folder; give the path of a file")
    if path.is_file() or not path.exists():
        make_folder(path.parent, "the folder of --output")


def export(run: Run, output: str, step: str = "best") -> None:
    """Writes a prompt of MODEL_DIR's checkpoints as .npy or .safetensors.

    Args:
      output: the file; its ending says which format.
      step: "best" or "last".
    """
    if run.tuning != "prompt":
        raise UserError(
            "only a prompt is exported; model tuning wrote model.safetensors"
        )
    _check_output(output)
    directory = Path(run.model_dir) / "checkpoints"
    if not run.model_dir or not directory.is_dir():
        raise UserError(
            f"there are no checkpoints in {run.model_dir!r}; give the MODEL_DIR of a "
            "run that was started, --gin.MODEL_DIR=runs/mine"
        )
    states = checkpoints.manager(directory, read_only=True)
    if states.latest_step() is None:
        raise UserError(
            f"{directory} holds no whole checkpoint yet; a run saves its first once it "
            "has evaluated the untrained prompt"
        )
    number = checkpoints.best_step(states) if step == "best" else states.latest_step()
    parts = setup(run)
    like = _first_state(run, parts, optimizer.adafactor(optimizer.schedule()))
    state = checkpoints.restore_state(states, like, number)
    made_by = description(run, parts.model.config.emb_dim, number) | {
        "score": states.metrics(number)["score"]
    }
    checkpoints.save_prompt(Path(output), state.trained, made_by)
    print(f"prompt of step {number}: {output}")
