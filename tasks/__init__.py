"""seqio tasks. This file is what they share; it needs neither seqio nor TensorFlow.

A module of tasks registers them when it is imported. A task's label words are the
keyword `label_classes` of its postprocess function, as in T5's own tasks; prompt_tuning
reads them from there.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

UNKNOWN = "<unk>"  # T5's target for an example without a label


class DataError(ValueError):
    """Data that cannot be read: the file and line, what is wrong, what to do.

    The command line prints only the message, as for a UserError.
    """

    user_message = True


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
    return {"accuracy": 100 * float(np.mean([a == b for a, b in pairs]))}


def pocket_model() -> str:
    """The path of the package's own SentencePiece model, with 1,948 pieces."""
    package = importlib.util.find_spec("prompt_tuning")
    assert package and package.submodule_search_locations
    folder = package.submodule_search_locations[0]
    return str(Path(folder, "pocket", "spiece.model"))
