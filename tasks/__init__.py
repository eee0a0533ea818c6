"""Tasks. This file is what they share; it needs neither seqio nor TensorFlow.

A module has its tasks as texts in a dict `TASKS`, or registers them with seqio when it
is imported. A task's label words are the keyword `label_classes` of its postprocess
function, as in T5's own tasks; prompt_tuning reads them from there.
"""

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

UNKNOWN = "<unk>"  # T5's target for an example without a label


class DataError(ValueError):
    """Data that cannot be read: the file and line, what is wrong, what to do.

    The command line prints only the message, as for a UserError.
    """

    user_message = True


class TextTask(NamedTuple):
    """A task that is only texts.

        TASKS = {"tone": TextTask("tone", {"train": 9, "validation": 3}, examples)}

    name: also its key in TASKS.
    splits: {split: its number of examples}.
    examples: split -> its examples, dicts of the texts `inputs` and `targets`, and of
      what else postprocessing uses: a text, a list of texts or a number.
    postprocess_fn, metric_fns: as in seqio, where texts of an example are bytes.
    features: those that a model is given; ("targets",) if it is plain text.
    """

    name: str
    splits: Mapping[str, int]
    examples: Callable[[str], Iterator[dict[str, Any]]]
    postprocess_fn: Callable[..., Any] | None = None
    metric_fns: Sequence[Callable[..., Mapping[str, Any]]] = ()
    features: Sequence[str] = ("inputs", "targets")

    def register(self) -> None:
        """Adds the task to seqio's."""
        from prompt_tuning.tasks import sources  # imports seqio

        # To the type checker `tasks` and `prompt_tuning.tasks` are two packages.
        sources.register_texts(self)  # pyright: ignore[reportArgumentType]


def label_index(text: str, label_classes: Sequence[str], **unused: object) -> int:
    """The index of a decoded text among the labels; -1 if it is none of them."""
    return label_classes.index(text) if text in label_classes else -1


def accuracy(targets: Sequence, predictions: Sequence) -> dict[str, float]:
    """Percent of the predictions that equal their target; -1, illegal, is wrong.

    If all targets are -1 there are no labels, and so no metric: {}.
    """
    if all(target == -1 for target in targets):
        return {}
    pairs = zip(targets, predictions, strict=True)
    return {"accuracy": 100 * statistics.fmean(a == b for a, b in pairs)}


def pocket_model() -> str:
    """The path of the package's own SentencePiece model, with 2,716 pieces."""
    package = importlib.util.find_spec("prompt_tuning")
    assert package and package.submodule_search_locations
    folder = package.submodule_search_locations[0]
    return str(Path(folder, "pocket", "spiece.model"))
