"""What training and evaluation need of a task, whoever reads its data.

Tasks of seqio (tasks_io) and files of one's own (own_data.py) both give this.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.training.batching import Examples

Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}


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
    score: Callable[[Sequence[str]], tuple[Evaluation, list[dict[str, Any]]]]


class Task(Protocol):
    """A task, or a mixture of several.

    name: as the user calls it.
    splits: the names of its splits.
    vocabulary: the frozen model's, whatever the task was registered with.
    """

    name: str
    splits: Collection[str]
    vocabulary: Vocabulary

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
