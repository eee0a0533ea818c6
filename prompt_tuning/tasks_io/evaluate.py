"""A task's own metrics of predicted texts, computed as seqio.Evaluator does.

A split's rows are read once. Targets are postprocessed once, when predictions are
first scored; predictions are postprocessed each time.
"""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io.quiet import seqio
from prompt_tuning.training import batching
from prompt_tuning.training.task import (
    Evaluation,
    Lower,
    Record,
    illegal_shares,
    verdict,
)

Row = Mapping[str, Any]  # an example from seqio: all its features, in NumPy

_PREDICTION = seqio.metrics.ModelOutputType.PREDICTION
NO_LABEL = ("<unk>", "-1", "")  # what stands for the targets of a split without labels


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


def lower_is_better(metric: Any) -> bool:
    """Whether a metric says that less of it is better: its `lower_is_better`.

    That is a function's keyword with a default, which functools.partial may set, or an
    attribute, of a function or a class. It holds for all values of the metric.

    Raises:
      UserError: it is neither True nor False.
    """
    metric = getattr(metric, "_metric_fn", metric)  # the function in seqio's own class
    said = getattr(metric, "lower_is_better", None)
    if said is None and callable(metric) and not isinstance(metric, type):
        keyword = inspect.signature(metric).parameters.get("lower_is_better")
        said = keyword.default if keyword else None
    if said not in (None, True, False):
        raise UserError(
            f"the metric {getattr(metric, '__name__', metric)} has lower_is_better "
            f"{said!r}; it must be True or False"
        )
    return bool(said)


def make_score(
    scored: Sequence["Part"],
) -> Callable[[Sequence[str]], tuple[Evaluation, list[Record]]]:
    """A split's `score`, from its tasks' rows in the order of the predictions.

    `score` raises UserError if a task has no metrics, or a metric that does not take
    predictions.
    """
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
class Part:
    """One task's rows of a split, to score predictions with.

    Raises:
      UserError: a target is not one of the task's labels.
    """

    task: seqio.Task
    split: str
    rows: Sequence[Row]

    def __post_init__(self):
        if self._words and not self.unlabelled:
            self._check_targets()

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
        if not self._scored:
            return {}, records
        values = [
            *(
                (metric, _computed(metric, self.task, self.rows, predictions))
                for metric in _own(self.task)
            ),
            *(
                (metric, metric(targets=self._targets, predictions=said))
                for metric in self.task.metric_fns
            ),
        ]
        return _scalars(self.task, values), records

    @property
    def _words(self) -> Sequence[str]:
        return keywords(self.task).get("label_classes") or ()

    @functools.cached_property
    def _texts(self) -> list[str]:
        """The targets as texts."""
        return [text(self.task, row, "targets") for row in self.rows]

    @functools.cached_property
    def unlabelled(self) -> bool:
        """Whether all targets are the same placeholder, such as <unk>."""
        first, *more = {text.strip() for text in self._texts} or {"some"}
        return not more and first in NO_LABEL and first not in self._words

    def _check_targets(self) -> None:
        """Raises UserError unless each target is a label, as the task sees it."""
        none = [row for row in range(len(self.rows)) if not self._known(row)]
        if none:
            raise UserError(
                f"{self.task.name}: example {none[0]} of {self.split} has the target "
                f"{self._texts[none[0]]!r}; it must be one of the task's label words "
                f"{', '.join(self._words)}. {len(none)} of {len(self.rows)} are not; a "
                "split without labels has <unk> for all"
            )

    def _known(self, row: int) -> bool:
        """Whether a target is a label word, or postprocessed is the same as one."""
        read = keywords(self.task).get("read") or str
        if read(self._texts[row]) in self._words:
            return True
        try:
            return _value(self._processed(row)) in self._legal_in(row)
        except (ValueError, LookupError):  # a postprocess function may be strict
            return False

    @functools.cached_property
    def _scored(self) -> bool:
        """Whether there is something to compare predictions with.

        Of free text a placeholder need not mean that there is none: a postprocess
        function may take the answers from elsewhere in the row.
        """
        if self._words or not self.unlabelled:
            return not self.unlabelled
        return any(
            str(_value(target)).strip() not in NO_LABEL for target in self._targets
        )

    @functools.cached_property
    def _targets(self) -> list[Any]:
        """The targets, postprocessed; some tasks need the whole row for it."""
        if self._words and self.unlabelled:
            return [None] * len(self.rows)
        return [self._processed(row) for row in range(len(self.rows))]

    def _processed(self, row: int) -> Any:
        example = self.rows[row]
        target = _target(self.task, example)
        return self.task.postprocess_fn(target, example=example, is_target=True)

    @functools.cached_property
    def _legal(self) -> list[list[Any]]:
        """The label words, postprocessed, for each row."""
        return [self._legal_in(row) for row in range(len(self.rows))]

    def _legal_in(self, row: int) -> list[Any]:
        process, example = self.task.postprocess_fn, self.rows[row]
        return [
            _value(process(word, example=example, is_target=False))
            for word in self._words
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


def _scalars(
    task: seqio.Task, values: Sequence[tuple[Any, Mapping[str, Any]]]
) -> dict[str, float]:
    """The numbers among what a task's metrics give, without texts and histograms."""
    names, numbers = set(), {}
    for metric, found in values:
        kind = Lower if lower_is_better(metric) else float
        for name, value in found.items():
            if name in names:
                raise UserError(f"{task.name} has two metrics with the name {name!r}")
            names.add(name)
            value = getattr(value, "value", value)
            if np.isscalar(value) or hasattr(value, "__array__"):
                number = np.asarray(value)
                if number.ndim == 0 and number.dtype.kind in "biuf":
                    numbers[name] = kind(number)
    return numbers
