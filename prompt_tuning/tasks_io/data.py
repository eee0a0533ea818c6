"""What run.py, commands.py, tuning.py, pretrain.py and t5x.py still ask for.

To be deleted once they hold a training.task.Task: tasks.py has it all.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io import tasks
from prompt_tuning.tasks_io.quiet import is_no_chatter, seqio
from prompt_tuning.training import batching
from prompt_tuning.training import task as shared

Task = seqio.Task | seqio.Mixture

EXTRA_IDS = 100  # T5's sentinels, after the SentencePiece model's own ids
SENTINEL = "<extra_id_0>"  # the first of them, which has the last id
# Vocabularies by name.
NAMED = {
    "t5": "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model",
    "mt5": "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
}


def load_vocabulary(path: str) -> seqio.Vocabulary:
    """Reads a SentencePiece model; T5's 100 sentinels are added unless in it, as mT5's.

    Args:
      path: a file here, or any path TensorFlow reads (gs://...); or "t5", "mt5", whose
        files are in a public bucket; or "byt5", the bytes, which needs no file.

    Raises:
      UserError: the file cannot be read, is no SentencePiece model, or has not T5's ids
        of padding (0) and end of sequence (1).
    """
    if path == "byt5":
        return seqio.ByteVocabulary()
    path = NAMED.get(path, path)
    vocabulary = seqio.SentencePieceVocabulary(path)
    try:
        pieces = SENTINEL, f"▁{SENTINEL}"
        if {*map(vocabulary.tokenizer.piece_to_id, pieces)} == {vocabulary.unk_id}:
            vocabulary = seqio.SentencePieceVocabulary(path, extra_ids=EXTRA_IDS)
            vocabulary.load_model()
    except Exception as error:  # TensorFlow's, protobuf's or SentencePiece's
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"the vocabulary {path} cannot be read ({type(error).__name__}: {reason}); "
            "it must be a SentencePiece model, such as T5's spiece.model"
        ) from error
    ids = vocabulary.tokenizer.pad_id(), vocabulary.eos_id
    if ids != (0, 1):
        raise UserError(
            f"the vocabulary {path} has padding and end of sequence at {ids}; T5 needs "
            "them at (0, 1). Train it with pad_id=0, eos_id=1, unk_id=2, bos_id=-1"
        )
    return vocabulary


def check_vocabulary(vocab_size: int, embedding_rows: int) -> None:
    """Raises a UserError if the model has no embedding for some of the vocabulary."""
    if vocab_size > embedding_rows:
        raise UserError(
            f"the vocabulary has {vocab_size} ids, sentinels included, but the model "
            f"embeds {embedding_rows}; give VOCABULARY the model's own vocabulary"
        )


def opened(task: Task) -> tasks.SeqioTask:
    """A fitted seqio task as a training.task.Task."""
    return tasks.SeqioTask(task, plain(task.output_features["targets"].vocabulary))


def plain(vocabulary: seqio.Vocabulary) -> SimpleNamespace:
    return SimpleNamespace(
        file=getattr(vocabulary, "sentencepiece_model_file", None),
        vocab_size=vocabulary.vocab_size,
        eos_id=vocabulary.eos_id,
        encode=vocabulary.encode,
        decode=vocabulary.decode,
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
    return words and shared.label_ids(words, opened(task).vocabulary)


def load_examples(
    task: Task, split: str, lengths: Mapping[str, int] | None = None
) -> batching.Examples:
    """Tokenises a split."""
    return opened(task).load(split, lengths).examples


def encode(
    texts: Sequence[str], feature: seqio.Feature, length: int | None = None
) -> tuple[np.ndarray, int]:
    """Tokenises texts as load_examples tokenises a feature's."""
    return shared.encode_rows(texts, feature.vocabulary, length)


__all__ = ["is_no_chatter"]
