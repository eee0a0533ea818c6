"""What run.py, commands.py, tuning.py, pretrain.py and t5x.py still ask for.

To be deleted once they hold a training.task.Task: tasks.py has it all.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from prompt_tuning.frozen import vocabulary
from prompt_tuning.frozen.vocabulary import check_vocabulary
from prompt_tuning.tasks_io import tasks
from prompt_tuning.tasks_io.quiet import is_no_chatter, seqio
from prompt_tuning.training import batching
from prompt_tuning.training import task as shared

Task = seqio.Task | seqio.Mixture


def load_vocabulary(path: str) -> seqio.Vocabulary:
    """seqio's vocabulary."""
    return tasks.seqio_vocabulary(vocabulary.load_vocabulary(path))


def opened(task: Task) -> tasks.SeqioTask:
    """A fitted seqio task as a training.task.Task."""
    return tasks.SeqioTask(task, plain(task.output_features["targets"].vocabulary))


def plain(of: seqio.Vocabulary) -> Any:
    """A seqio vocabulary as one of ours."""
    return SimpleNamespace(
        file=getattr(of, "sentencepiece_model_file", None),
        vocab_size=of.vocab_size,
        eos_id=of.eos_id,
        encode=of.encode,
        decode=of.decode,
    )


def get_task(
    name: str,
    module: str | Sequence[str] = (),
    vocabulary: seqio.Vocabulary | None = None,
    data_dir: str | None = None,
    tfds_data_dir: str | None = None,
) -> Task:
    """open_task's seqio task."""
    tasks.import_tasks(module)
    if vocabulary is None:
        registered = seqio.get_mixture_or_task(name)
        vocabulary = registered.output_features["targets"].vocabulary
    fitted = tasks.open_task(name, (), plain(vocabulary), data_dir, tfds_data_dir)
    return fitted.seqio_task


def label_words(task: Task) -> tuple[str, ...] | None:
    """The words a task's targets are taken from; None if it does not say."""
    return tasks.first_words(seqio.get_subtasks(task), "label_classes")


def class_words(task: Task, split: str) -> tuple[str, ...] | None:
    """The words for class-label initialisation."""
    return opened(task).class_words(split)


def label_tokens(task: Task) -> np.ndarray | None:
    """What the model writes for each label, int32 [L, S]; None without label words."""
    words = opened(task).label_words()
    return shared.label_ids(words, opened(task).vocabulary) if words else None


def load_examples(
    task: Task, split: str, lengths: Mapping[str, int] | None = None
) -> batching.Examples:
    """Tokenises a split."""
    return opened(task).load(split, lengths).examples


def encode(
    texts: Sequence[str], feature: seqio.utils.Feature, length: int | None = None
) -> tuple[np.ndarray, int]:
    """Tokenises texts as load_examples tokenises a feature's."""
    return shared.encode_rows(texts, plain(feature.vocabulary), length)


__all__ = ["check_vocabulary", "is_no_chatter"]
