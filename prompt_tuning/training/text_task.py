"""A task that is only texts as a training.task.Task, without TensorFlow and seqio.

    task = open_text("pocket_kind", "prompt_tuning.tasks.pocket", vocabulary)
    split = task.load("validation")
    evaluation, records = split.score(predictions)

Such tasks are in the TASKS of a module. The results are those of the same task as
tasks_io reads it from seqio.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.training import modules, scoring
from prompt_tuning.training.task import (
    KEYS,
    Split,
    check_inputs,
    check_lengths,
    check_split,
    check_texts,
    label_ids,
    make_examples,
)


class Texts(Protocol):
    """What is asked of an entry of TASKS: it is a prompt_tuning.tasks.TextTask."""

    @property
    def name(self) -> str: ...
    @property
    def splits(self) -> Mapping[str, int]: ...
    @property
    def examples(self) -> Callable[[str], Iterator[dict[str, Any]]]: ...
    @property
    def postprocess_fn(self) -> Callable[..., Any] | None: ...
    @property
    def metric_fns(self) -> Sequence[Callable[..., Mapping[str, Any]]]: ...
    @property
    def features(self) -> Sequence[str]: ...


@dataclasses.dataclass(frozen=True)
class TextTask:
    """Texts as a training.task.Task. vocabulary: the frozen model's."""

    texts: Texts
    vocabulary: Vocabulary

    @property
    def name(self) -> str:
        return self.texts.name

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.texts.splits)

    def load(self, split: str, lengths: Mapping[str, int] | None = None) -> Split:
        """Makes and tokenises a split's examples.

        Args:
          lengths: as Task.load takes them.

        Raises:
          UserError: there is no such split, or it is empty; lengths are invalid; the
            task is plain text; a target is not one of its labels.
        """
        check_lengths(lengths or {})
        check_inputs(self.name, self.texts.features)
        check_split(self.name, split, self.splits)
        rows = [self._row(example) for example in self.texts.examples(split)]
        words = self.label_words()
        examples = make_examples(
            split,
            {self.name: ([r["inputs"] for r in rows], [r["targets"] for r in rows])},
            lengths,
            rates={self.name: 1.0},
            labels_LxS=label_ids(words, self.vocabulary) if words else None,
            eos_ids=dict.fromkeys(KEYS, self.vocabulary.eos_id),
        )
        part = self._part(split, rows)
        return Split(
            examples,
            scoring.make_score([part]),
            {self.name: words} if words else {},
            [self.name] if part.unlabelled else [],
            scoring.make_answers([part]),
        )

    def documents(self, split: str) -> list[np.ndarray]:
        """The token ids of a split's texts, without EOS; one-token texts are left out.

        Raises:
          UserError: there are none.
        """
        examples = self.texts.examples(split) if split in self.splits else ()
        rows = [self._ids(example["targets"])[:-1] for example in examples]
        texts = [row for row in rows if len(row) > 1]
        check_texts(self.name, split, texts)
        return texts

    def label_words(self) -> tuple[str, ...] | None:
        """What the model writes for each label; None if the task does not say."""
        return scoring.said_words(self._keywords)

    def class_words(self, split: str) -> tuple[str, ...] | None:
        """Words for class-label initialisation, which need not be label words."""
        return scoring.init_words(self._keywords) if split in self.splits else None

    def tasks(self, split: str) -> tuple[str, ...]:
        """The task itself, if it has the split."""
        return (self.name,) if split in self.splits else ()

    @property
    def _keywords(self) -> dict[str, Mapping[str, Any]]:
        return {self.name: scoring.keywords(self.texts.postprocess_fn)}

    def _ids(self, text: str) -> np.ndarray:
        return np.array([*self.vocabulary.encode(text), self.vocabulary.eos_id], "i4")

    def _row(self, example: Mapping[str, Any]) -> scoring.Row:
        """An example as seqio yields it: ids, and its own features, texts as bytes."""
        row = {key: _encoded(value) for key, value in example.items()}
        texts = {f"{key}_pretokenized": row[key] for key in KEYS}
        return row | texts | {key: self._ids(example[key]) for key in KEYS}

    def _part(self, split: str, rows: Sequence[scoring.Row]) -> scoring.Part:
        return scoring.Part(
            name=self.name,
            split=split,
            rows=rows,
            text=_text,
            target=lambda row: _text(row, "targets"),
            postprocess=self.texts.postprocess_fn or _unchanged,
            keywords=self._keywords[self.name],
            metrics=[*map(scoring.of_answers, self.texts.metric_fns)],
        )


def open_text(
    name: str, module: str | Sequence[str], vocabulary: Vocabulary
) -> TextTask | None:
    """The task of this name among those of texts; None if there is none.

    Args:
      module: the names of modules, as modules.find_text takes them.
      vocabulary: the frozen model's.

    Raises:
      UserError: there is no such module.
    """
    texts = modules.find_text(name, module)
    return TextTask(texts, vocabulary) if texts else None


def _text(row: scoring.Row, key: str) -> str:
    return row[f"{key}_pretokenized"].decode()


def _unchanged(text: str, **unused: object) -> str:
    return text


def _encoded(value: Any) -> Any:
    """A feature as seqio gives it to a postprocess function."""
    if isinstance(value, (list, tuple)):
        return np.array([text.encode() for text in value], object)
    return value.encode() if isinstance(value, str) else value
