"""A seqio task's rows and metrics, as training/scoring.py scores them."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io.quiet import seqio
from prompt_tuning.training import batching, scoring
from prompt_tuning.training.scoring import Row
from prompt_tuning.training.task import Evaluation, Record

_PREDICTION = seqio.metrics.ModelOutputType.PREDICTION


def text(task: seqio.Task | seqio.Mixture, row: Row, key: str) -> str:
    """A feature of a row as text: the one before tokenising, if seqio kept it."""
    before_tokens = row.get(f"{key}_pretokenized")
    if isinstance(before_tokens, bytes):
        return before_tokens.decode()
    if key not in row:
        return ""
    return task.output_features[key].vocabulary.decode(row[key].tolist())


def keywords(tasks: Sequence[seqio.Task]) -> dict[str, Mapping[str, Any]]:
    """{task: what it says about its labels}."""
    return {task.name: scoring.keywords(task.postprocessor) for task in tasks}


def part(task: seqio.Task, split: str, rows: Sequence[Row]) -> scoring.Part:
    """A task's rows of a split, to score predictions with.

    Raises:
      UserError: a target is not one of the task's labels.
    """
    return scoring.Part(
        name=task.name,
        split=split,
        rows=rows,
        text=functools.partial(text, task),
        target=functools.partial(_target, task),
        postprocess=task.postprocess_fn,
        keywords=scoring.keywords(task.postprocessor),
        metrics=[
            *(_of_tokens(metric, task, rows) for metric in _own(task)),
            *map(scoring.of_answers, task.metric_fns),
        ],
    )


def make_score(
    tasks: Sequence[seqio.Task], parts: Sequence[scoring.Part]
) -> Callable[[Sequence[str]], tuple[Evaluation, list[Record]]]:
    """As scoring.make_score; UserError too for a metric that takes no predictions."""
    score = scoring.make_score(parts)

    def checked(predictions: Sequence[str]) -> tuple[Evaluation, list[Record]]:
        for task in tasks:
            _check_metrics(task)
        return score(predictions)

    return checked


def _target(task: seqio.Task, row: Row) -> Any:
    """The target as seqio gives it to the postprocess function: usually text."""
    before_tokens = row.get("targets_pretokenized", b"")
    is_text = isinstance(before_tokens, bytes)
    return text(task, row, "targets") if is_text else before_tokens


def _check_metrics(task: seqio.Task) -> None:
    if any(metric.model_output_type != _PREDICTION for metric in task.metric_objs):
        raise UserError(
            f"{task.name} has metrics of scores; only those of predictions, with the "
            "arguments (targets, predictions), can be computed"
        )


def _own(task: seqio.Task) -> Sequence[Any]:
    """The metrics of a task that are classes or objects, not functions."""
    return task.metric_objs[: len(task.metric_objs) - len(task.metric_fns)]


def _of_tokens(metric: Any, task: seqio.Task, rows: Sequence[Row]) -> scoring.Metric:
    """The metric that a class or an object of seqio's is."""
    return scoring.Metric(
        # In seqio's own class there is a function, which says it.
        getattr(metric, "_metric_fn", metric),
        lambda targets, said, texts: _computed(metric, task, rows, texts),
    )


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
