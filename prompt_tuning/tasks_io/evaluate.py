"""Predictions -> the task's own metrics, through seqio.Evaluator.

    examples = data.load_examples(task, "validation", lengths)
    evaluate = make_evaluator(task, examples, batch_size)
    evaluation = evaluate(predict_fn, "predictions.jsonl")

A `predict_fn` takes token ids [N, T] and returns those of its predictions [N, S]; N is
always the batch size. Greedy decoding is one, label scoring another.
"""

import collections
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import outputs
from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io import data
from prompt_tuning.tasks_io.data import (
    seqio,  # which starts TensorFlow without its chatter
)
from prompt_tuning.training import batching

PredictFn = Callable[[np.ndarray], np.ndarray]
Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}

_PREDICTION = seqio.metrics.ModelOutputType.PREDICTION


class Evaluation(NamedTuple):
    """What a model makes of a split.

    metrics: {task: {metric: value}}; {task: {}} where the split has no labels.
    illegal: {task: share, 0 to 1, of predictions that are none of the label words}, for
      the tasks that say which words those are.
    """

    metrics: Metrics
    illegal: dict[str, float]


def make_evaluator(
    task: data.Task, examples: batching.Examples, batch_size: int
) -> Callable[..., Evaluation]:
    """Prepares the evaluation of a split, to be repeated as often as one likes.

    Args:
      examples: what data.load_examples made of the split.
      batch_size: N of every call of predict_fn; the last batch is filled up.

    Returns:
      evaluate(predict_fn, path=None) -> Evaluation. With a path it writes a JSONL file
      there: an object for each example, with its task, index, inputs, target and
      prediction; `legal` if the label words are known, `correct` if the label is too.

    Raises:
      UserError: a task has no metrics, or one that is not of predictions.
    """
    parts = {
        part.name: _part_evaluator(part, examples)
        for part in seqio.get_subtasks(task)
        if part.name in examples.sizes
    }

    def evaluate(
        predict_fn: PredictFn, path: str | os.PathLike | None = None
    ) -> Evaluation:
        metrics, records = {}, []
        for name, evaluate_part in parts.items():
            metrics[name], part_records = evaluate_part(
                lambda inputs: predict_in_batches(predict_fn, inputs, batch_size)
            )
            records += part_records
        if path is not None:
            _write_jsonl(records, Path(path))
        return Evaluation(metrics, _illegal_shares(records))

    return evaluate


def predict_in_batches(
    predict_fn: PredictFn, inputs_NxT: np.ndarray, batch_size: int
) -> np.ndarray:
    """Predicts for any number of inputs in batches of one size.

    Inputs of like lengths go together, cut to a bucket that holds them. The last
    batch repeats its last row, whose predictions are dropped.

    Returns:
      [N, S] token ids.
    """
    sizes = np.count_nonzero(inputs_NxT, axis=1)
    order = np.argsort(sizes, kind="stable")
    outputs = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        length = batching.bucket(sizes[rows[-1]], inputs_NxT.shape[1])
        missing = batch_size - len(rows)
        filled = np.pad(inputs_NxT[rows, :length], ((0, missing), (0, 0)), mode="edge")
        outputs.append(np.asarray(predict_fn(filled))[: len(rows)])
    return np.concatenate(outputs)[np.argsort(order)]


def label_predict_fn(
    task: data.Task, score_fn: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> PredictFn:
    """Predicts the label word of the highest score, so that no prediction is illegal.

    Args:
      score_fn: (inputs [N, T], label tokens [L, S]) -> scores [N, L].

    Raises:
      UserError: the task does not say what its label words are.
    """
    labels_LxS = data.label_tokens(task)
    if labels_LxS is None:
        raise UserError(
            f"{task.name} names no label words, so that there is nothing to score; "
            "decode greedily, or give its postprocess_fn the keyword label_classes"
        )

    def predict(inputs_NxT: np.ndarray) -> np.ndarray:
        best_N = np.argmax(np.asarray(score_fn(inputs_NxT, labels_LxS)), axis=1)
        return labels_LxS[best_N]

    return predict


def majority_baseline(
    task: data.Task, train: batching.Examples, examples: batching.Examples
) -> Metrics:
    """Metrics of always predicting a task's most frequent target in `train`."""
    metrics = {}
    for part in seqio.get_subtasks(task):
        if part.name in train.sizes and part.name in examples.sizes:
            targets = (train.targets[row] for row in train.rows(part.name))
            counts = collections.Counter(map(tuple, targets))
            majority = np.array(counts.most_common(1)[0][0])
            evaluate_part = _part_evaluator(part, examples)
            metrics[part.name], _ = evaluate_part(
                lambda inputs, row=majority: np.tile(row, (len(inputs), 1))
            )
    return metrics


def development_score(metrics: Metrics, trained: Collection[str] = ()) -> float:
    """One number to select by: the mean of a task's metrics (paper section 3).

    Of a mixture, the mean of its tasks' means. (Of T5's SuperGLUE mixture that is the
    SuperGLUE score.)

    Args:
      trained: the tasks that were trained on. In zero-shot transfer they alone count;
        if no metric is theirs, all do.
    """
    means = {
        task: np.mean(list(values.values()))
        for task, values in metrics.items()
        if values
    }
    scores = [mean for task, mean in means.items() if task in trained]
    scores = scores or list(means.values())
    if not scores:
        raise UserError(
            "there is no metric to select a checkpoint by; evaluate a split with labels"
        )
    return float(np.mean(scores))


def _part_evaluator(
    task: seqio.Task, examples: batching.Examples
) -> Callable[[PredictFn], tuple[dict[str, float], list[dict[str, Any]]]]:
    """One task's evaluation: predictions of all its inputs -> metrics, records."""
    evaluator = _seqio_evaluator(task, examples)
    rows = [examples.inputs[row] for row in examples.rows(task.name)]
    inputs_NxT = batching.pad(rows, examples.lengths["inputs"])
    words, read = data.label_words(task), data.reading(task)
    known = [
        {"task": task.name, "index": index, "inputs": inputs, "target": target}
        for index, (inputs, target) in enumerate(_texts(task, evaluator))
    ]
    labelled = not words or any(read(record["target"]) in words for record in known)
    decode = task.output_features["targets"].vocabulary.decode

    def evaluate(predict_fn):
        future, outputs = evaluator.evaluate(
            compute_metrics=labelled,
            predict_fn=lambda dataset: list(enumerate(predict_fn(inputs_NxT).tolist())),
        )
        texts = map(decode, outputs[task.name][_PREDICTION])
        records = [
            record
            | {"prediction": text}
            | _verdict(read(text), read(record["target"]), words)
            for record, text in zip(known, texts, strict=True)
        ]
        return _scalars(future.result()[task.name]) if labelled else {}, records

    return evaluate


def _seqio_evaluator(task: seqio.Task, examples: batching.Examples) -> seqio.Evaluator:
    if not task.metric_objs:
        raise UserError(f"{task.name} has no metrics; give it metric_fns")
    if any(metric.model_output_type != _PREDICTION for metric in task.metric_objs):
        raise UserError(
            f"{task.name} has metrics of scores; only those of predictions, with the "
            "arguments (targets, predictions), can be computed"
        )
    # It looks tasks up by name, and ours is not the registered one: its vocabulary is
    # the model's. So ours is registered while that goes on.
    name = f"{task.name}.evaluated"
    seqio.TaskRegistry.add_provider(name, task)
    try:
        return seqio.Evaluator(
            name,
            seqio.EncDecFeatureConverter(pack=False),
            eval_split=examples.split,
            seed=data.SEED,
            sequence_length=data.needed_lengths(task, examples.lengths),
            async_compute_metrics=False,
        )
    finally:
        seqio.TaskRegistry.remove(name)


def _texts(task: seqio.Task, evaluator: seqio.Evaluator) -> Iterator[tuple[str, str]]:
    """Inputs and target of each example as text."""
    for example in evaluator.cached_task_datasets[task.name].as_numpy_iterator():
        yield data.text(task, example, "inputs"), data.text(task, example, "targets")


def _verdict(
    prediction: str, target: str, words: Sequence[str] | None
) -> dict[str, bool]:
    if not words:
        return {}
    legal = {"legal": prediction in words}
    return legal | ({"correct": prediction == target} if target in words else {})


def _scalars(values: dict[str, Any]) -> dict[str, float]:
    """A task's metrics as numbers; seqio also has texts and histograms, left out."""
    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    return {name: float(value) for name, value in plain.items() if np.isscalar(value)}


def _illegal_shares(records: list[dict[str, Any]]) -> dict[str, float]:
    legal = collections.defaultdict(list)
    for record in records:
        if "legal" in record:
            legal[record["task"]].append(record["legal"])
    return {task: 1 - float(np.mean(values)) for task, values in legal.items()}


def _write_jsonl(records: list[dict[str, Any]], path: Path) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with outputs.atomic(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
