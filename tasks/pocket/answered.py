"""Tasks that are answered in words: what a word means, which choice is right.

A small model can say what a word means in a sentence, or what came of a thing, but not
whether two meanings are one, or whether the first or the second is right: on these even
model tuning stays near chance (docs/pocket.md). So the targets are what it can say, one
of two texts, and the label, by which the tasks are scored, is read from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prompt_tuning.tasks import render
from prompt_tuning.tasks.files import Record
from prompt_tuning.tasks.render import Features


def meaning(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """WiC: the first sentence's meaning is told, the second's is the target.

    Choice 1 of 0 and 1 is the meaning told: the word has one sense in both.
    """
    del labels
    names = ("sentence1", "meaning1", "sentence2", "word")
    choices = (record["other"], record["meaning1"])
    yield _chosen_from(render.named(record, names), choices, record["label"])


def choice(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """COPA: the target is the right choice, without its full stop."""
    del labels
    names = ("choice1", "choice2", "premise", "question")
    choices = [record[name].rstrip(".") for name in names[:2]]
    yield _chosen_from(render.named(record, names), choices, record["label"])


def _chosen_from(inputs: str, choices: Sequence[str], label: int) -> Features:
    features = {f"choice{i}": text for i, text in enumerate(choices)}
    return {"inputs": inputs, "targets": choices[label], **features}


def chosen(text: str, example: Mapping[str, Any], **unused: object) -> int:
    """Which of an example's two choices a text is: 0 or 1, or -1 for neither."""
    choices = [example[f"choice{i}"].decode() for i in range(2)]
    said = text.rstrip(". ")
    return choices.index(said) if said in choices else -1
