"""What training and evaluation need of a task, whoever reads its data.

Tasks of seqio (tasks_io) and files of one's own (own_data.py) both give this.
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
Record = dict[str, Any]  # of an example, a line of predictions.jsonl

KEYS = ("inputs", "targets")  # what the model reads of an example
MAX_INPUT_LENGTH = 512  # tokens; T5's length for SuperGLUE and GLUE


class Evaluation(NamedTuple):
    """What a model makes of a split.

    metrics: {task: {metric: value}}; {task: {}} where the split has no labels.
    illegal: {task: share, 0 to 1, of predictions that are none of the label words}, for
      the tasks that say which words those are.
    """

    metrics: Metrics
    illegal: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a task or mixture, read and tokenised once.

    examples: the token ids, for batches.
    score: predictions as texts, one an example in their order -> (what they are worth,
      and for each example a record for predictions.jsonl: its task, index, inputs,
      target and prediction; `legal` if the label words are known, `correct` if the
      label is too).
    """

    examples: Examples
    score: Callable[[Sequence[str]], tuple[Evaluation, list[Record]]]


class Task(Protocol):
    """A task, or a mixture of several.

    name: as the user calls it.
    splits: the names of its splits.
    vocabulary: the frozen model's, whatever the task was registered with.
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
          lengths: of "inputs" and "targets" in tokens, EOS included. One that is not
            given is that of the longest example or label, for inputs at most 512.
            Longer rows are cut before their EOS, and counted.

        Raises:
          UserError: there is no such split, or nothing in it; lengths make no sense.
        """
        ...

    def label_words(self) -> tuple[str, ...] | None:
        """What the model writes for each label; None if the task does not say."""
        ...

    def class_words(self, split: str) -> tuple[str, ...] | None:
        """Words for class-label initialisation, of the tasks that have the split."""
        ...


# Texts -> ids.


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Raises a UserError unless these are lengths of "inputs" and "targets"."""
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
      [N, T] int32 ids, 0 where padded, and how many texts were cut, before their EOS.
    """
    rows = [np.array([*vocabulary.encode(t), vocabulary.eos_id]) for t in texts]
    length = length or min(max(map(len, rows)), MAX_INPUT_LENGTH)
    cut = sum(len(row) > length for row in rows)
    return pad([_cut(row, length, vocabulary.eos_id) for row in rows], length), cut


def label_ids(words: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """What the model writes for each of L label words: int32 [L, S], EOS included.

    A sentinel in front is the last id, as tasks put it there whatever the vocabulary;
    bytes have no name for it.
    """
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
    """Tokenised rows of a split's tasks -> examples of the lengths that are asked for.

    Args:
      parts: of each task its inputs and targets at their full length, EOS included.
      lengths: as Task.load takes them.
      rates: how often a mixture draws from each task, relative to the others.
      labels_LxS: what the model writes for each label, for which there must be room
        also in a split without labels, or of another task's; None without label words.
      eos_ids: of "inputs" and "targets" what ends a row that was cut; None is nothing.

    Raises:
      UserError: a task has no rows; lengths make no sense.
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


# Predictions -> what they are worth.


def verdict(
    prediction: str, target: str, words: Sequence[str] | None
) -> dict[str, bool]:
    """A record's `legal`, if there are label words; `correct`, if the target is one."""
    if not words:
        return {}
    legal = {"legal": prediction in words}
    return legal | ({"correct": prediction == target} if target in words else {})


def illegal_shares(records: Iterable[Record]) -> dict[str, float]:
    """Of each task with label words the share of its predictions that are none."""
    legal = collections.defaultdict(list)
    for record in records:
        if "legal" in record:
            legal[record["task"]].append(record["legal"])
    return {task: 1 - float(np.mean(values)) for task, values in legal.items()}


def write_predictions(records: Iterable[Record], path: Path) -> None:
    """Writes records as JSON, one a line, in UTF-8; atomically."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with outputs.atomic(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def development_score(metrics: Metrics, trained: Collection[str] = ()) -> float:
    """One number to select by: the mean of a task's metrics (paper section 3).

    Of a mixture, the mean of its tasks' means. (Of T5's SuperGLUE mixture that is the
    SuperGLUE score.)

    Args:
      trained: the tasks that were trained on. In zero-shot transfer they alone count;
        if no metric is theirs, all do.

    Raises:
      UserError: there is no metric at all.
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


def majority_predictions(
    train: Examples, development: Examples, vocabulary: Vocabulary
) -> list[str]:
    """For each development example its task's most frequent target in `train`.

    The empty text where the task was not trained on.
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
    """Metrics of the majority predictions, of the tasks that are in both splits."""
    texts = majority_predictions(train, development.examples, vocabulary)
    metrics = development.score(texts)[0].metrics
    return {name: values for name, values in metrics.items() if name in train.sizes}
