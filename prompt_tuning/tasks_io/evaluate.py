"""A task's own metrics of predicted texts, computed as seqio.Evaluator does.

A split's rows are read once. Targets are postprocessed once, when predictions are
first scored; predictions are postprocessed each time.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io.quiet import seqio
from prompt_tuning.training import batching
from prompt_tuning.training.task import (
    Evaluation,
    Record,
    illegal_shares,
    verdict,
)

Row = Mapping[str, Any]  # an example from seqio: all its features, in NumPy

_PREDICTION = seqio.metrics.ModelOutputType.PREDICTION


def text(task: seqio.Task | seqio.Mixture, row: Row, key: str) -> str:
    """A feature of a row as text: the one before tokenising, if seqio kept it."""
    before_tokens = row.get(f"{key}_pretokenized")
    if isinstance(before_tokens, bytes):
        return before_tokens.decode()
    if key not in row:
        return ""
    return task.output_features[key].vocabulary.decode(row[key].tolist())


def keywords(task: seqio.Task) -> Mapping[str, Any]:
    """What a task says about its labels: the keywords of its postprocess function.

    The function is then a functools.partial, as in T5's own tasks. `label_classes` are
    the words that targets are taken from; `read` turns a text into such a word before
    it is looked up; `said_classes` are the words that the model writes for the labels,
    if they are different; `class_words` are for class-label initialisation.
    """
    return getattr(task.postprocessor, "keywords", {})


def make_score(
    split: str, parts: Sequence[tuple[seqio.Task, Sequence[Row]]]
) -> Callable[[Sequence[str]], tuple[Evaluation, list[Record]]]:
    """A split's `score`, from each task's rows in the order of the predictions.

    Raises:
      UserError: a target is not one of its task's labels. `score` raises it if a task
        has no metrics, or a metric that does not take predictions.
    """
    scored = [_Part(task, split, rows) for task, rows in parts]
    count = sum(len(part.rows) for part in scored)

    def score(predictions: Sequence[str]) -> tuple[Evaluation, list[Record]]:
        if len(predictions) != count:
            raise ValueError(f"{len(predictions)} predictions of {count} examples")
        metrics, records, start = {}, [], 0
        for part in scored:
            texts = predictions[start : start + len(part.rows)]
            metrics[part.task.name], more = part.score(texts)
            records += more
            start += len(part.rows)
        return Evaluation(metrics, illegal_shares(records)), records

    return score


@dataclasses.dataclass(frozen=True)
class _Part:
    """One task's rows of a split, to score predictions with."""

    task: seqio.Task
    split: str
    rows: Sequence[Row]

    def __post_init__(self):
        _ = self._labelled  # raises if a target is not a label

    def score(
        self, predictions: Sequence[str]
    ) -> tuple[dict[str, float], list[Record]]:
        """Metrics ({} without labels), and records."""
        _check_metrics(self.task)
        said = [
            self.task.postprocess_fn(prediction, example=row, is_target=False)
            for row, prediction in zip(self.rows, predictions, strict=True)
        ]
        records = [
            {
                "task": self.task.name,
                "index": index,
                "inputs": text(self.task, row, "inputs"),
                "target": text(self.task, row, "targets"),
                "prediction": predictions[index],
            }
            | verdict(_value(said[index]), _value(target), legal)
            for index, (row, target, legal) in enumerate(
                zip(self.rows, self._targets, self._legal, strict=True)
            )
        ]
        if not self._labelled:
            return {}, records
        values = [
            *(_computed(m, self.task, self.rows, predictions) for m in _own(self.task)),
            *(
                metric(targets=self._targets, predictions=said)
                for metric in self.task.metric_fns
            ),
        ]
        return _scalars(self.task, values), records

    @functools.cached_property
    def _labelled(self) -> bool:
        """False if all targets are the same text and not a label, such as <unk>."""
        words, read = (keywords(self.task).get(k) for k in ("label_classes", "read"))
        if not words:
            return True
        targets = [text(self.task, row, "targets") for row in self.rows]
        none = [i for i, t in enumerate(targets) if (read or str)(t) not in words]
        if len(none) == len(targets) and len(set(targets)) == 1:
            return False
        if none:
            raise UserError(
                f"{self.task.name}: example {none[0]} of {self.split} has the target "
                f"{targets[none[0]]!r}; it must be one of the task's label words "
                f"{', '.join(words)}. {len(none)} of {len(targets)} are not; a split "
                "without labels has <unk> for all"
            )
        return True

    @functools.cached_property
    def _targets(self) -> list[Any]:
        """The targets, postprocessed; some tasks need the whole row for it."""
        if not self._labelled:
            return [None] * len(self.rows)
        return [
            self.task.postprocess_fn(
                _target(self.task, row), example=row, is_target=True
            )
            for row in self.rows
        ]

    @functools.cached_property
    def _legal(self) -> list[list[Any]]:
        """The label words, postprocessed, for each row."""
        words = keywords(self.task).get("label_classes") or ()
        process = self.task.postprocess_fn
        return [
            [_value(process(word, example=row, is_target=False)) for word in words]
            for row in self.rows
        ]


def _target(task: seqio.Task, row: Row) -> Any:
    """The target as seqio gives it to the postprocess function: usually text."""
    before_tokens = row.get("targets_pretokenized", b"")
    is_text = isinstance(before_tokens, bytes)
    return text(task, row, "targets") if is_text else before_tokens


def _value(postprocessed: Any) -> Any:
    """The answer without what is returned beside it, as in MultiRC."""
    if isinstance(postprocessed, Mapping):
        return postprocessed.get("value", postprocessed)
    return postprocessed


def _check_metrics(task: seqio.Task) -> None:
    if not task.metric_objs:
        raise UserError(f"{task.name} has no metrics; give it metric_fns")
    if any(metric.model_output_type != _PREDICTION for metric in task.metric_objs):
        raise UserError(
            f"{task.name} has metrics of scores; only those of predictions, with the "
            "arguments (targets, predictions), can be computed"
        )


def _own(task: seqio.Task) -> Sequence[Any]:
    """The metrics of a task that are classes or objects, not functions."""
    return task.metric_objs[: len(task.metric_objs) - len(task.metric_fns)]


def _computed(
    metric: Any, task: seqio.Task, rows: Sequence[Row], predictions: Sequence[str]
) -> Mapping[str, Any]:
    """The values of a metric that is computed from token ids."""
    feature = task.output_features["targets"]
    ids = [feature.vocabulary.encode(prediction) for prediction in predictions]
    tokens_NxS = batching.pad(ids, max(map(len, ids)) + 1)  # padding ends each text
    # A copy, as some metrics keep the first targets they see.
    made = copy.deepcopy(metric).from_model_output(
        rows, tokens_NxS, task.output_features, "targets"
    )
    if isinstance(made, seqio.metrics.CollectingMetric):
        return made.actual_compute(rows, task.output_features, "targets")[0]
    return made.compute()


def _scalars(task: seqio.Task, values: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """A task's metrics as numbers, without seqio's texts and histograms."""
    plain = {}
    for name, value in (item for each in values for item in each.items()):
        if name in plain:
            raise UserError(f"{task.name} has two metrics with the name {name!r}")
        plain[name] = getattr(value, "value", value)
    numbers = [name for name, value in plain.items() if np.isscalar(value)]
    return {name: float(plain[name]) for name in numbers}
