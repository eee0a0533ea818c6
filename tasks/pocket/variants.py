"""Variants of the tasks for two of the paper's settings.

`pocket_cb_named` has its name in front of the inputs, for multi-task model tuning
(section 3.1); `pocket_cb_sentinel` has span corruption's first sentinel in front of the
targets, which predictions are read without (section 3.2).
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prompt_tuning.tasks import TextTask, scoring
from prompt_tuning.tasks.render import Features

SENTINEL = "<extra_id_0>"


def named(task: TextTask) -> TextTask:
    """The task with its name in front of the inputs, as T5's tasks have it."""
    prefix = f"{task.name.removeprefix('pocket_')} "
    return task._replace(
        name=f"{task.name}_named",
        examples=functools.partial(_prefixed, task.examples, "inputs", prefix),
    )


def with_sentinel(task: TextTask) -> TextTask:
    """The task with the sentinel in front of the targets."""
    return task._replace(
        name=f"{task.name}_sentinel",
        examples=functools.partial(_prefixed, task.examples, "targets", f"{SENTINEL} "),
        postprocess_fn=_postprocess(task.postprocess_fn),
    )


def _prefixed(
    examples: Callable[[str], Iterator[Features]], feature: str, text: str, split: str
) -> Iterator[Features]:
    for example in examples(split):
        yield {**example, feature: text + example[feature]}


def _postprocess(function: Any) -> Callable[..., object]:
    """The task's own, of texts without the sentinel; it says the labels with one."""
    keywords: dict[str, Any] = dict(getattr(function, "keywords", {}))
    labels: Sequence[str] = keywords.get("label_classes", ())
    if labels:
        keywords["said_classes"] = tuple(f"{SENTINEL} {label}" for label in labels)
    return functools.partial(
        scoring.read_first,
        postprocess=getattr(function, "func", function),
        read=without_sentinel,
        **keywords,
    )


def without_sentinel(text: str) -> str:
    """A text without the sentinel in front."""
    return text.removeprefix(SENTINEL).lstrip()
