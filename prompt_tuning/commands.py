"""What the commands of the command line do with a Run."""

import dataclasses
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from prompt_tuning import outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.run import (
    Run,
    Setup,
    description,
    input_length,
    make_folder,
    make_model_dir,
    make_predict_fn,
    setup,
)
from prompt_tuning.tasks_io import data, evaluate
from prompt_tuning.training import checkpoints, optimizer
from prompt_tuning.training.tuning import first_state


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
    examples = data.load_examples(parts.task, run.eval_split, input_length(run))
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
        length = (input_length(run) or {}).get("inputs")
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
    like = first_state(run, parts, optimizer.adafactor(optimizer.schedule()))
    state = checkpoints.restore_state(states, like, number)
    made_by = description(run, parts.model.config.emb_dim, number) | {
        "score": states.metrics(number)["score"]
    }
    checkpoints.save_prompt(Path(output), state.trained, made_by)
    print(f"prompt of step {number}: {output}")
