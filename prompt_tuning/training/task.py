"""What training and evaluation need from a task, wherever its data is from.

Tasks that are only texts (text_task.py), seqio's (tasks_io) and the user's own files
(own_data.py) all provide it.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from prompt_tuning import outputs
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import SENTINEL, Vocabulary
from prompt_tuning.training.batching import Examples, pad

Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}
Record = dict[str, Any]  # of one example: a line of predictions.jsonl

KEYS = ("inputs", "targets")  # the parts of an example that a model is given
MAX_INPUT_LENGTH = 512  # tokens; T5's length for SuperGLUE and GLUE


class Lower(float):
    """A metric's value where less is better."""


class Evaluation(NamedTuple):
    """A model's results on a split.

    metrics: {task: {metric: value}}; {task: {}} if the split has no labels.
      A value of which less is better is a `Lower`.
    illegal: {task: share (0 to 1) of predictions that are none of its label words}, for
      the tasks that have label words.
    """

    metrics: Metrics
    illegal: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a task or mixture, read and tokenised once.

    examples: the token ids, for batches.
    score: predicted texts, one per example in the same order -> (their evaluation, and
      for each example a record for predictions.jsonl: its task, index, inputs, target
      and prediction; `legal` if the label words are known, `correct` if the label is
      known too).
    label_words: {task: what the model writes for its labels}, of the tasks with labels.
    unlabelled: the tasks whose targets are a placeholder, which nothing can learn.
    answers: predicted texts, as for `score` -> what the task takes them for.
    """

    examples: Examples
    score: Callable[[Sequence[str]], tuple[Evaluation, list[Record]]]
    label_words: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    unlabelled: Collection[str] = ()
    answers: Callable[[Sequence[str]], list[Any]] = list

    def labels(self) -> tuple[list[str], np.ndarray]:
        """All L label words, and which of them are those of each example's own task.

        Returns:
          The words, and bool [N, L].

        Raises:
          UserError: a task has no label words.
        """
        silent = [task for task in self.examples.sizes if task not in self.label_words]
        if silent:
            raise UserError(
                f"{', '.join(silent)} names no label words, so there is nothing to "
                "score: decode greedily (DECODING=greedy), or give the postprocess_fn "
                "of each task the keyword label_classes"
            )
        own = [self.label_words[task] for task in self.examples.sizes]
        words = list(dict.fromkeys(word for each in own for word in each))
        own_KxL = np.array([[word in each for word in words] for each in own])
        return words, np.repeat(own_KxL, list(self.examples.sizes.values()), axis=0)


class Task(Protocol):
    """A task, or a mixture of several.

    name: the name that the user gave.
    splits: the names of its splits.
    vocabulary: the frozen model's, not the one the task was registered with.
    """

    @property
    def name(self) -> str: ...
    @property
    def splits(self) -> Collection[str]: ...
    @property
    def vocabulary(self) -> Vocabulary: ...

    def load(self, split: str, lengths: Mapping[str, int] | None = None) -> Split:
        """Reads and tokenises a split.

        Args:
          lengths: of "inputs" and "targets" in tokens, EOS included. By default the
            length of the longest example or label, for inputs at most 512. Longer rows
            are cut before their EOS, and counted.

        Raises:
          UserError: there is no such split, or it is empty; lengths are invalid.
        """
        ...

    def label_words(self) -> tuple[str, ...] | None:
        """What the model writes for each label; None if the task does not say."""
        ...

    def class_words(self, split: str) -> tuple[str, ...] | None:
        """Words for class-label initialisation, from the tasks that have the split."""
        ...

    def tasks(self, split: str) -> tuple[str, ...]:
        """The names of the tasks that have the split, in the order of its rows."""
        ...


class Registered(Task, Protocol):
    """A task that a module has, rather than a file."""

    def documents(self, split: str) -> list[np.ndarray]:
        """The token ids of a split's texts, without EOS; one-token texts are left out.

        Raises:
          UserError: there are none.
        """
        ...


# What a task must have.


def check_split(name: str, split: str, splits: Collection[str]) -> None:
    """Raises UserError unless the task of this name has the split."""
    if split not in splits:
        raise UserError(f"{name} has no split {split!r}; it has {', '.join(splits)}")


def check_inputs(name: str, features: Collection[str]) -> None:
    """Raises UserError if a task is plain text, with nothing to answer."""
    if "inputs" not in features:
        raise UserError(
            f"{name} has no inputs: it is plain text, for `pretrain`; give "
            "MIXTURE_OR_TASK_NAME a task of inputs and targets"
        )


def check_texts(name: str, split: str, texts: Collection[np.ndarray]) -> None:
    """Raises UserError if a task has no texts to pre-train on."""
    if not texts:
        raise UserError(
            f"{name} has no texts of two tokens or more in a split {split!r}; "
            "pre-training needs a task of plain text (feature targets), such as "
            "--gin.MIXTURE_OR_TASK_NAME=pocket_text"
        )


# Texts -> ids.


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Raises UserError unless these are valid lengths of "inputs" and "targets"."""
    for key, length in lengths.items():
        if key not in KEYS or not isinstance(length, int) or length < 1:
            raise UserError(
                f"TASK_FEATURE_LENGTHS has {key!r}: {length!r}; it may have 'inputs' "
                "and 'targets', each with a whole number of tokens of at least 1"
            )


def encode_rows(
    texts: Sequence[str], vocabulary: Vocabulary, length: int | None = None
) -> tuple[np.ndarray, int]:
    """Tokenises texts as training does, EOS appended.

    Args:
      length: T in tokens, EOS included; by default the longest text's, at most 512.

    Returns:
      int32 ids [N, T] of the N texts, 0 where padded; and how many texts were cut
      (before their EOS).
    """
    rows = [np.array([*vocabulary.encode(t), vocabulary.eos_id]) for t in texts]
    length = length or min(max(map(len, rows)), MAX_INPUT_LENGTH)
    cut = sum(len(row) > length for row in rows)
    return pad([_cut(row, length, vocabulary.eos_id) for row in rows], length), cut


def check_words(words: Sequence[str], vocabulary: Vocabulary) -> None:
    """Raises UserError unless each label survives encoding and decoding."""
    for word in words:
        text = word.removeprefix(SENTINEL)
        text = text if text == word else text.lstrip()
        written = vocabulary.decode(vocabulary.encode(text))
        if written != text:
            raise UserError(
                f"the model cannot write the label {word!r}: its vocabulary turns that "
                f"into {written!r}; give the labels other words, without space around "
                "them"
            )


def label_ids(words: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """The token ids of each of L label words: int32 [L, S], EOS included.

    A sentinel in front of a word becomes the last id, where tasks have it in every
    vocabulary; in bytes it has no name.

    Raises:
      UserError: as check_words's.
    """
    check_words(words, vocabulary)
    rows = []
    for word in words:
        text = word.removeprefix(SENTINEL)
        marked = [vocabulary.vocab_size - 1] if text != word else []
        ids = vocabulary.encode(text.lstrip() if marked else text)
        rows.append([*marked, *ids, vocabulary.eos_id])
    return pad(rows, max(map(len, rows)))


def make_examples(
    split: str,
    parts: Mapping[str, tuple[Sequence[np.ndarray], Sequence[np.ndarray]]],
    lengths: Mapping[str, int] | None,
    *,
    rates: Mapping[str, float],
    labels_LxS: np.ndarray | None,
    eos_ids: Mapping[str, int | None],
) -> Examples:
    """Makes examples from the tokenised rows of a split's tasks.

    Args:
      parts: each task's inputs and targets at their full length, EOS included.
      lengths: as Task.load takes them.
      rates: how often a mixture draws from each task, relative to the others.
      labels_LxS: the label words' ids, for which targets must have room even in a split
        without labels or with another task's; None without label words.
      eos_ids: the id that ends a cut row of "inputs" or "targets"; None for no id.

    Raises:
      UserError: a task has no rows; lengths are invalid.
    """
    check_lengths(lengths or {})
    for name, (inputs, _) in parts.items():
        if not len(inputs):
            raise UserError(f"{name} has no examples in its split {split!r}")
    columns = zip(*parts.values(), strict=True)
    rows = {
        key: [row for part in column for row in part]
        for key, column in zip(KEYS, columns, strict=True)
    }
    longest = {key: max(map(len, rows[key])) for key in KEYS}
    longest["inputs"] = min(longest["inputs"], MAX_INPUT_LENGTH)
    if labels_LxS is not None:
        longest["targets"] = max(longest["targets"], labels_LxS.shape[1])
    lengths = longest | dict(lengths or {})
    cut = {
        key: [_cut(row, lengths[key], eos_ids[key]) for row in rows[key]]
        for key in KEYS
    }
    return Examples(
        split=split,
        inputs=cut["inputs"],
        targets=cut["targets"],
        lengths=lengths,
        cut={key: sum(len(row) > lengths[key] for row in rows[key]) for key in KEYS},
        sizes={name: len(inputs) for name, (inputs, _) in parts.items()},
        rates={name: float(rates[name]) for name in parts},
    )


def _cut(row: np.ndarray, length: int, eos_id: int | None) -> np.ndarray:
    if len(row) <= length:
        return row
    if eos_id is None:
        return row[:length]
    return np.append(row[: length - 1], np.int32(eos_id))


# Predictions -> scores.


def verdict(
    prediction: str, target: str, words: Sequence[str] | None
) -> dict[str, bool]:
    """A record's `legal`, if there are label words; `correct`, if it has a label."""
    if not words:
        return {}
    legal = {"legal": prediction in words}
    return legal | ({"correct": prediction == target} if target in words else {})


def illegal_shares(records: Iterable[Record]) -> dict[str, float]:
    """For each task with label words, the share of predictions that are not one."""
    legal = collections.defaultdict(list)
    for record in records:
        if "legal" in record:
            legal[record["task"]].append(record["legal"])
    return {task: 1 - float(np.mean(values)) for task, values in legal.items()}


def write_predictions(records: Iterable[Record], path: Path) -> None:
    """Writes records as JSON lines in UTF-8, atomically."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with outputs.atomic(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def development_score(metrics: Metrics, trained: Collection[str] = ()) -> float:
    """One number to select by, of which more is better (paper section 3).

    It is the mean of a task's metrics, and for a mixture the mean of its tasks' means.
    (For T5's SuperGLUE mixture that is the SuperGLUE score.) A metric of which less is
    better counts negatively.

    Args:
      trained: the tasks that were trained on. In zero-shot transfer only they count;
        if none of them has a metric, all tasks do.

    Raises:
      UserError: there are no metrics.
    """
    means = {
        task: np.mean([-x if isinstance(x, Lower) else x for x in values.values()])
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


def check_finite(metrics: Metrics) -> None:
    """Raises UserError for a metric that is no finite number, as none can be best."""
    for task, values in metrics.items():
        for name, value in values.items():
            if not np.isfinite(value):
                raise UserError(
                    f"{task}: the metric {name} is {value} here; it must be a finite "
                    "number to select by: let it be the worst value, such as 0, where "
                    "it is not defined"
                )


def majority_predictions(
    train: Examples, development: Examples, vocabulary: Vocabulary
) -> list[str]:
    """For each development example, its task's most frequent target in `train`.

    It is the empty text if the task was not trained on.
    """
    texts = []
    for name, size in development.sizes.items():
        rows = train.rows(name) if name in train.sizes else ()
        counts = collections.Counter(tuple(train.targets[row]) for row in rows)
        majority = counts.most_common(1)[0][0] if counts else ()
        texts += [vocabulary.decode([int(i) for i in majority])] * size
    return texts


def majority_baseline(
    train: Examples, development: Split, vocabulary: Vocabulary
) -> Metrics:
    """Metrics of the majority predictions, for the tasks that are in both splits.

    One that is not defined where all predictions are the same is left out.
    """
    texts = majority_predictions(train, development.examples, vocabulary)
    metrics = development.score(texts)[0].metrics
    return {
        task: {name: x for name, x in values.items() if np.isfinite(x)}
        for task, values in metrics.items()
        if task in train.sizes
    }
