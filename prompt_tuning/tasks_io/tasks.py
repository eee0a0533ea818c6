"""Registered seqio tasks and mixtures, as training and evaluation need them.

    module = "prompt_tuning.tasks.paper"
    task = open_task("cb", module, load_vocabulary("t5"), data_dir="D")
    split = task.load("validation")
    evaluation, records = split.score(predictions)

A split is read and tokenised once, into memory.
"""

import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.tasks_io import evaluate
from prompt_tuning.tasks_io.modules import import_tasks
from prompt_tuning.tasks_io.quiet import seqio, tf, tfds
from prompt_tuning.training import scoring
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

SEED = 42  # for stochastic preprocessors; seqio.Evaluator's default


@dataclasses.dataclass(frozen=True)
class SeqioTask:
    """A seqio task or mixture as a training.task.Task.

    seqio_task: a copy fitted to the model and to local files; it is not registered.
    vocabulary: the frozen model's, which seqio_task's features also have.
    lengths: for the preprocessors that need them, where `load` gets none.
    """

    seqio_task: seqio.Task | seqio.Mixture
    vocabulary: Vocabulary
    lengths: Mapping[str, int] | None = None

    @property
    def name(self) -> str:
        return self.seqio_task.name

    @property
    def splits(self) -> tuple[str, ...]:
        parts = seqio.get_subtasks(self.seqio_task)
        return tuple(dict.fromkeys(split for part in parts for split in part.splits))

    def load(self, split: str, lengths: Mapping[str, int] | None = None) -> Split:
        """Reads and tokenises a split of a task, or of a mixture's tasks that have it.

        Args:
          lengths: as Task.load takes them.

        Raises:
          UserError: there is no such split, or it is empty; lengths are invalid, or
            missing where a preprocessor needs them; the task is plain text; a target is
            not one of its task's labels.
        """
        check_lengths(lengths or {})
        features = self.seqio_task.output_features
        check_inputs(self.name, features)
        needed = {**(self.lengths or {}), **(lengths or {})}
        parts = [(part, read_rows(part, split, needed)) for part in self.parts(split)]
        words = self.label_words()
        said = evaluate.keywords([part for part, _ in parts])
        own = {name: scoring.said_words({name: said[name]}) for name in said}
        examples = make_examples(
            split,
            {
                part.name: ([r["inputs"] for r in rows], [r["targets"] for r in rows])
                for part, rows in parts
            },
            lengths,
            rates={part.name: self._rate(part) for part, _ in parts},
            labels_LxS=label_ids(words, self.vocabulary) if words else None,
            eos_ids={
                key: self.vocabulary.eos_id if features[key].add_eos else None
                for key in KEYS
            },
        )
        scored = [evaluate.part(part, split, rows) for part, rows in parts]
        return Split(
            examples,
            evaluate.make_score([part for part, _ in parts], scored),
            {name: words for name, words in own.items() if words},
            [part.name for part in scored if part.unlabelled],
            scoring.make_answers(scored),
        )

    def documents(self, split: str) -> list[np.ndarray]:
        """The token ids of a split's texts, without EOS; one-token texts are left out.

        Raises:
          UserError: there are none.
        """
        texts = []
        if split in self.splits:
            parts = (read_rows(part, split, self.lengths) for part in self.parts(split))
            rows = [row["targets"] for part in parts for row in part]
            ends = int(self.seqio_task.output_features["targets"].add_eos)
            texts = [row[: len(row) - ends] for row in rows if len(row) > 1 + ends]
        check_texts(self.name, split, texts)
        return texts

    def label_words(self) -> tuple[str, ...] | None:
        """What the model writes for each label; None if the task does not say.

        They are the `said_classes` of a task's postprocess function, or else its
        `label_classes`. A mixture has those of all its tasks.
        """
        parts = seqio.get_subtasks(self.seqio_task)
        return scoring.said_words(evaluate.keywords(parts))

    def class_words(self, split: str) -> tuple[str, ...] | None:
        """Words for class-label initialisation, which need not be label words.

        They are the `class_words`, or else the `label_classes`, of the tasks that have
        `split`, the one to train on.
        """
        parts = seqio.get_subtasks(self.seqio_task)
        parts = [part for part in parts if split in part.splits]
        return scoring.init_words(evaluate.keywords(parts))

    def tasks(self, split: str) -> tuple[str, ...]:
        """The names of the tasks that have a split, in the order of its rows."""
        parts = seqio.get_subtasks(self.seqio_task)
        return tuple(part.name for part in parts if split in part.splits)

    def parts(self, split: str) -> list[seqio.Task]:
        """The tasks that have a split; raises UserError if there are none."""
        check_split(self.name, split, self.splits)
        parts = seqio.get_subtasks(self.seqio_task)
        return [part for part in parts if split in part.splits]

    def _rate(self, part: seqio.Task) -> float:
        """How often a mixture draws from a task; NaN if its function does not say."""
        if not isinstance(self.seqio_task, seqio.Mixture):
            return 1.0
        try:
            return float(self.seqio_task.get_rate(part))
        except (TypeError, ValueError, LookupError, ArithmeticError):
            return math.nan  # which matters in training alone


def open_task(
    name: str,
    module: str | Sequence[str],
    vocabulary: Vocabulary,
    data_dir: str | None = None,
    tfds_data_dir: str | None = None,
    lengths: Mapping[str, int] | None = None,
) -> SeqioTask:
    """Finds a registered task or mixture; fits it to the model and to local files.

    Args:
      module: imported first, for the tasks that it registers.
      vocabulary: the frozen model's, which replaces the registered one.
      data_dir: a folder of official files, for sources that can read them: those with a
        method `at(data_dir)`, which returns a source that does.
      tfds_data_dir: where TFDS keeps what it downloads.
      lengths: TASK_FEATURE_LENGTHS, for the preprocessors that need them.

    Raises:
      UserError: there is no such module, task or mixture.
    """
    import_tasks(module)
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        raise UserError(
            f"there is no task or mixture {name!r} (MIXTURE_OR_TASK_NAME); "
            + (f"near it: {', '.join(near)}" if near else "`tasks` lists them all")
        )
    if tfds_data_dir:
        seqio.set_tfds_data_dir_override(tfds_data_dir)
    registered = seqio.get_mixture_or_task(name)
    fitted = _fitted(registered, seqio_vocabulary(vocabulary), data_dir)
    return SeqioTask(fitted, vocabulary, lengths)


def seqio_vocabulary(vocabulary: Vocabulary) -> seqio.Vocabulary:
    """seqio's vocabulary with the same file and ids, to tokenise in tf.data."""
    if vocabulary.file is None:
        made = seqio.ByteVocabulary
    else:
        made = functools.partial(seqio.SentencePieceVocabulary, vocabulary.file)
    sentinels = vocabulary.vocab_size - made().vocab_size  # those not in the file
    return made(extra_ids=sentinels)


def read_rows(
    task: seqio.Task, split: str, lengths: Mapping[str, int] | None = None
) -> list[scoring.Row]:
    """All of `examples`, in NumPy."""
    return list(tfds.as_numpy(examples(task, split, lengths)))


def examples(
    task: seqio.Task, split: str, lengths: Mapping[str, int] | None = None
) -> tf.data.Dataset:
    """A split's examples with all their features, tokenised at full length.

    Args:
      lengths: for the preprocessors that need them.

    Raises:
      UserError: there are such preprocessors, and no lengths.
    """
    needed = _needed_lengths(task, lengths)
    try:
        return task.get_dataset(
            sequence_length=needed,
            split=split,
            shuffle=False,
            seed=SEED,
            trim_output_features=False,  # we cut ourselves, and count
        )
    except KeyError:
        if needed is None or task.output_features.keys() <= needed.keys():
            raise
        raise _needs_lengths(task) from None


def _needed_lengths(
    task: seqio.Task, lengths: Mapping[str, int] | None
) -> Mapping[str, int] | None:
    """The lengths if a preprocessor of the task needs them, else None.

    With None seqio returns whole rows, so that we can count those that we cut.
    """
    parameters = (
        inspect.signature(preprocessor).parameters.get("sequence_length")
        for preprocessor in task.preprocessors
    )
    if not any(p and p.default is inspect.Parameter.empty for p in parameters):
        return None
    if not lengths:
        raise _needs_lengths(task)
    return lengths


def _needs_lengths(task: seqio.Task) -> UserError:
    return UserError(
        f"a preprocessor of {task.name} needs the lengths of its features; give "
        "TASK_FEATURE_LENGTHS, such as {'inputs': 512, 'targets': 16}"
    )


def _fitted(
    task: seqio.Task | seqio.Mixture,
    vocabulary: seqio.Vocabulary,
    data_dir: str | None,
) -> seqio.Task | seqio.Mixture:
    if isinstance(task, seqio.Mixture):
        tasks = {part: _fitted_task(part, vocabulary, data_dir) for part in task.tasks}
        return _fitted_mixture(task, tasks)
    return _fitted_task(task, vocabulary, data_dir)


def _fitted_mixture(
    mixture: seqio.Mixture, tasks: Mapping[seqio.Task, seqio.Task]
) -> seqio.Mixture:
    """The same mixture of fitted tasks, in mixtures of it too.

    Rates stay functions of the task, as they may count the examples of its new source.
    """
    rates = mixture.rate_per_task_name
    parts = [(tasks[part], part.name) for part in tasks if part.name in rates]
    parts += [
        (_fitted_mixture(inner, tasks), inner.name) for inner in mixture._sub_mixtures
    ]
    return seqio.Mixture(mixture.name, [(part, rates[name]) for part, name in parts])


def _fitted_task(
    task: seqio.Task, vocabulary: seqio.Vocabulary, data_dir: str | None
) -> seqio.Task:
    features = {
        key: dataclasses.replace(feature, vocabulary=vocabulary)
        for key, feature in task.output_features.items()
    }
    changes: dict[str, Any] = {"output_features": features}
    at = getattr(task.source, "at", None)
    if data_dir and at:
        changes["source"] = at(data_dir)
    return task.replace(**changes)
