"""A task's own metrics of predicted texts, computed as seqio.Evaluator does.

Targets are postprocessed once, when predictions are first scored; predictions are
postprocessed each time. What is scored may be a seqio task (tasks_io) or one that is
only texts (text_task.py).
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.training.task import (
    Evaluation,
    Lower,
    Record,
    illegal_shares,
    verdict,
)

Row = Mapping[str, Any]  # an example: all its features, in NumPy

NO_LABEL = ("<unk>", "-1", "")  # what stands for the targets of a split without labels


class Metric(NamedTuple):
    """A metric of a task.

    said_by: the function or class that may say that less of it is better.
    compute: postprocessed targets, postprocessed predictions and the predicted texts ->
      {name: value}.
    """

    said_by: Any
    compute: Callable[[Sequence[Any], Sequence[Any], Sequence[str]], Mapping[str, Any]]


def of_answers(function: Callable[..., Mapping[str, Any]]) -> Metric:
    """The metric that a function of (targets, predictions) is."""
    return Metric(
        function,
        lambda targets, said, texts: function(targets=targets, predictions=said),
    )


def keywords(postprocess: Any) -> Mapping[str, Any]:
    """What a task says about its labels: the keywords of its postprocess function.

    The function is then a functools.partial, as in T5's own tasks. `label_classes` are
    the words that targets are taken from; `read` turns a text into such a word before
    it is looked up; `said_classes` are the words that the model writes for the labels,
    if they are different; `class_words` are for class-label initialisation.
    """
    return getattr(postprocess, "keywords", {})


def first_words(
    said: Mapping[str, Mapping[str, Any]], *names: str
) -> tuple[str, ...] | None:
    """Each task's words under the first of these names that it has; None: none.

    Args:
      said: {task: its `keywords`}.

    Raises:
      UserError: they are no texts, or one is there twice.
    """
    found: dict[str, None] = {}
    for task, there in said.items():
        name, words = next(((n, there[n]) for n in names if n in there), ("", ()))
        texts = not isinstance(words, str) and all(isinstance(w, str) for w in words)
        if not texts or len(set(words)) < len(words):
            raise UserError(
                f"the {name} of {task} are {words!r}; they must be a list of "
                "texts, each of them once"
            )
        found |= dict.fromkeys(words)
    return tuple(found) or None


def said_words(said: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...] | None:
    """What the model writes for the labels of tasks: {task: its `keywords`}."""
    return first_words(said, "said_classes", "label_classes")


def init_words(said: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The words for class-label initialisation of tasks: {task: its `keywords`}."""
    return first_words(said, "class_words", "label_classes")


def lower_is_better(metric: Any) -> bool:
    """Whether a metric says that less of it is better: its `lower_is_better`.

    That is a function's keyword with a default, which functools.partial may set, or an
    attribute, of a function or a class. It holds for all values of the metric.

    Raises:
      UserError: it is neither True nor False.
    """
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

    `score` raises UserError if a task has no metrics.
    """
    count = sum(len(part.rows) for part in scored)

    def score(predictions: Sequence[str]) -> tuple[Evaluation, list[Record]]:
        if len(predictions) != count:
            raise ValueError(f"{len(predictions)} predictions of {count} examples")
        metrics, records, start = {}, [], 0
        for part in scored:
            texts = predictions[start : start + len(part.rows)]
            metrics[part.name], more = part.score(texts)
            records += more
            start += len(part.rows)
        return Evaluation(metrics, illegal_shares(records)), records

    return score


def make_answers(
    scored: Sequence["Part"],
) -> Callable[[Sequence[str]], list[Any]]:
    """A split's `answers`, from its tasks' rows in the order of the predictions."""

    def answers(predictions: Sequence[str]) -> list[Any]:
        texts = iter(predictions)
        return [
            _value(part.postprocess(next(texts), example=row, is_target=False))
            for part in scored
            for row in part.rows
        ]

    return answers


@dataclasses.dataclass(frozen=True)
class Part:
    """One task's rows of a split, to score predictions with.

    text: a row's "inputs" or "targets" as text.
    target: a row's target as the postprocess function is given it, usually text.
    postprocess: (text, example=row, is_target=bool) -> an answer.
    keywords: those of the task's own postprocess function.

    Raises:
      UserError: a target is not one of the task's labels.
    """

    name: str
    split: str
    rows: Sequence[Row]
    text: Callable[[Row, str], str]
    target: Callable[[Row], Any]
    postprocess: Callable[..., Any]
    keywords: Mapping[str, Any]
    metrics: Sequence[Metric]

    def __post_init__(self):
        if self._words and not self.unlabelled:
            self._check_targets()

    def score(
        self, predictions: Sequence[str]
    ) -> tuple[dict[str, float], list[Record]]:
        """Metrics ({} without labels), and records."""
        if not self.metrics:
            raise UserError(f"{self.name} has no metrics; give it metric_fns")
        said = [
            self.postprocess(prediction, example=row, is_target=False)
            for row, prediction in zip(self.rows, predictions, strict=True)
        ]
        records = [
            {
                "task": self.name,
                "index": index,
                "inputs": self.text(row, "inputs"),
                "target": self.text(row, "targets"),
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
            (metric.said_by, metric.compute(self._targets, said, predictions))
            for metric in self.metrics
        ]
        return _scalars(self.name, values), records

    @property
    def _words(self) -> Sequence[str]:
        return self.keywords.get("label_classes") or ()

    @functools.cached_property
    def _texts(self) -> list[str]:
        """The targets as texts."""
        return [self.text(row, "targets") for row in self.rows]

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
                f"{self.name}: example {none[0]} of {self.split} has the target "
                f"{self._texts[none[0]]!r}; it must be one of the task's label words "
                f"{', '.join(self._words)}. {len(none)} of {len(self.rows)} are not; a "
                "split without labels has <unk> for all"
            )

    def _known(self, row: int) -> bool:
        """Whether a target is a label word, or postprocessed is the same as one."""
        read = self.keywords.get("read") or str
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
        target = self.target(example)
        return self.postprocess(target, example=example, is_target=True)

    @functools.cached_property
    def _legal(self) -> list[list[Any]]:
        """The label words, postprocessed, for each row."""
        return [self._legal_in(row) for row in range(len(self.rows))]

    def _legal_in(self, row: int) -> list[Any]:
        process, example = self.postprocess, self.rows[row]
        return [
            _value(process(word, example=example, is_target=False))
            for word in self._words
        ]


def _value(postprocessed: Any) -> Any:
    """The answer without what is returned beside it, as in MultiRC."""
    if isinstance(postprocessed, Mapping):
        return postprocessed.get("value", postprocessed)
    return postprocessed


def _scalars(
    task: str, values: Sequence[tuple[Any, Mapping[str, Any]]]
) -> dict[str, float]:
    """The numbers among what a task's metrics give, without texts and histograms."""
    names, numbers = set(), {}
    for metric, found in values:
        kind = Lower if lower_is_better(metric) else float
        for name, value in found.items():
            if name in names:
                raise UserError(f"{task} has two metrics with the name {name!r}")
            names.add(name)
            value = getattr(value, "value", value)
            if np.isscalar(value) or hasattr(value, "__array__"):
                number = np.asarray(value)
                if number.ndim == 0 and number.dtype.kind in "biuf":
                    numbers[name] = kind(number)
    return numbers
