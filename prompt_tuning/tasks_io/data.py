"""seqio tasks and mixtures -> tokenised splits (TensorFlow from here on).

A split is tokenised once, into memory.
"""

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import absl.logging
import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.training import batching


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """Holds back what C++ code writes to stderr, and shows it only on an exception."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only, once it has started
with _held_stderr():  # it tells of its start whatever the level
    import seqio
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # the accelerators are JAX's

Task = seqio.Task | seqio.Mixture

KEYS = ("inputs", "targets")  # the features of a task that the model reads
MAX_INPUT_LENGTH = 512  # tokens; T5's length for SuperGLUE and GLUE
EXTRA_IDS = 100  # T5's sentinels, after the SentencePiece model's own ids
SENTINEL = "<extra_id_0>"  # the first of them, which has the last id
# Vocabularies by name.
NAMED = {
    "t5": "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model",
    "mt5": "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
}
SEED = 42  # of stochastic preprocessors; seqio.Evaluator's default


def is_no_chatter(record: logging.LogRecord) -> bool:
    """False for what seqio and TFDS have to say below an error."""
    packages = {"seqio", "tensorflow_datasets"}
    return record.levelno >= logging.ERROR or packages.isdisjoint(
        Path(record.pathname).parts
    )


absl.logging.get_absl_logger().addFilter(is_no_chatter)
for _name in ("tensorflow", "urllib3"):  # urllib3 tells of every attempt of a download
    logging.getLogger(_name).setLevel(logging.ERROR)


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


def import_tasks(module: str | Sequence[str]) -> None:
    """Imports what registers tasks: modules, or their names with spaces between.

    Raises:
      UserError: there is no such module.
    """
    for name in module.split() if isinstance(module, str) else module:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there; what it imports is not
            raise UserError(
                f"there is no module {name!r} (MIXTURE_OR_TASK_MODULE); it must be "
                "installed or in the folder you are in; its name is like tasks.pocket"
            ) from None


def get_task(
    name: str,
    module: str | Sequence[str] = (),
    vocabulary: seqio.Vocabulary | None = None,
    data_dir: str | None = None,
    tfds_data_dir: str | None = None,
) -> Task:
    """Finds a registered task or mixture and fits it to the model and to local files.

    Args:
      module: imported first, for the tasks that it registers.
      vocabulary: the frozen model's; it takes the place of the registered one.
      data_dir: a folder of official files, for the sources that can read them: those
        with a method `at(data_dir)`, which returns the source that does.
      tfds_data_dir: where TFDS keeps what it downloads.

    Raises:
      UserError: no such module, task or mixture.
    """
    import_tasks(module)
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        raise UserError(
            f"there is no task or mixture {name!r} (MIXTURE_OR_TASK_NAME); "
            + (f"near it: {', '.join(near)}" if near else "`tasks` lists all there are")
        )
    if tfds_data_dir:
        seqio.set_tfds_data_dir_override(tfds_data_dir)
    return _fitted(seqio.get_mixture_or_task(name), vocabulary, data_dir)


def _fitted(
    task: Task, vocabulary: seqio.Vocabulary | None, data_dir: str | None
) -> Task:
    if isinstance(task, seqio.Mixture):
        parts = [
            (_fitted(part, vocabulary, data_dir), task.get_rate(part))
            for part in task.tasks
        ]
        return seqio.Mixture(task.name, parts)
    changes = {}
    if vocabulary:
        changes["output_features"] = {
            key: dataclasses.replace(feature, vocabulary=vocabulary)
            for key, feature in task.output_features.items()
        }
    if data_dir and hasattr(task.source, "at"):
        changes["source"] = task.source.at(data_dir)
    return task.replace(**changes)


def label_words(task: Task) -> tuple[str, ...] | None:
    """The words a task's targets are taken from; None if it does not say.

    They are the `label_classes` keyword of its postprocess function, a
    functools.partial, as in T5's own tasks. A mixture has those of all its tasks.
    """
    return _words(seqio.get_subtasks(task), "label_classes")


def class_words(task: Task, split: str) -> tuple[str, ...] | None:
    """The words for class-label initialisation, also of tasks without label words.

    They are the `class_words` keyword, else the label words, of the tasks that have
    the split, which is the one to train on.
    """
    parts = [part for part in seqio.get_subtasks(task) if split in part.splits]
    return _words(parts, "class_words", "label_classes")


def label_tokens(task: Task) -> np.ndarray | None:
    """What the model writes for each label, int32 [L, S]; None without label words.

    It is the `said_classes` keyword if that differs from the label words: the words of
    the task that the model was tuned on, or a sentinel in front.
    """
    parts = seqio.get_subtasks(task)
    words = _words(parts, "said_classes", "label_classes")
    return words and encode(words, task.output_features["targets"])[0]


def reading(task: seqio.Task) -> Callable[[str], str]:
    """What a task's postprocess function makes of a text before it looks up a label.

    It is the `read` keyword: a text in the label words from one that the model wrote.
    """
    return getattr(task.postprocessor, "keywords", {}).get("read", str)


def _words(parts: Sequence[seqio.Task], *keywords: str) -> tuple[str, ...] | None:
    """Of each task the first keyword that it has."""
    words: dict[str, None] = {}
    for part in parts:
        there = getattr(part.postprocessor, "keywords", {})
        found = (there[keyword] for keyword in keywords if there.get(keyword))
        words |= dict.fromkeys(next(found, ()))
    return tuple(words) or None


def load_examples(
    task: Task, split: str, lengths: Mapping[str, int] | None = None
) -> batching.Examples:
    """Tokenises a split.

    Args:
      lengths: of "inputs" and "targets" in tokens, EOS included. One that is not given
        is that of the longest example or label, for inputs at most 512. Longer rows
        are cut before their EOS, and counted.

    Raises:
      UserError: the task has no such split, or nothing in it; lengths make no sense.
    """
    _check_lengths(lengths or {})
    if split not in task.splits:
        raise UserError(
            f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}"
        )
    parts = [part for part in seqio.get_subtasks(task) if split in part.splits]
    loaded = {part.name: _tokenise(part, split, lengths) for part in parts}
    for name, part in loaded.items():
        if not part["inputs"]:
            raise UserError(f"{name} has no examples in its split {split!r}")
    rows = {key: [row for part in loaded.values() for row in part[key]] for key in KEYS}
    longest = {key: max(map(len, rows[key])) for key in KEYS}
    longest["inputs"] = min(longest["inputs"], MAX_INPUT_LENGTH)
    labels_LxS = label_tokens(task)
    if labels_LxS is not None:  # a split without labels, or of another task's
        longest["targets"] = max(longest["targets"], labels_LxS.shape[1])
    lengths = longest | dict(lengths or {})
    inputs, targets = (
        [_cut(row, lengths[key], task.output_features[key]) for row in rows[key]]
        for key in KEYS
    )
    return batching.Examples(
        split=split,
        inputs=inputs,
        targets=targets,
        lengths=lengths,
        cut={key: sum(len(row) > lengths[key] for row in rows[key]) for key in KEYS},
        sizes={name: len(part["inputs"]) for name, part in loaded.items()},
        rates={part.name: _rate(task, part) for part in parts},
    )


def _check_lengths(lengths: Mapping[str, int]) -> None:
    for key, length in lengths.items():
        if key not in KEYS or not isinstance(length, int) or length < 1:
            raise UserError(
                f"TASK_FEATURE_LENGTHS has {key!r}: {length!r}; it may have 'inputs' "
                "and 'targets', each with a whole number of tokens of at least 1"
            )


def text(task: Task, example: Mapping[str, np.ndarray], key: str) -> str:
    """A feature of an example of seqio's as text, from before the tokens if kept."""
    before_tokens = example.get(f"{key}_pretokenized")
    if isinstance(before_tokens, bytes):
        return before_tokens.decode()
    if key not in example:
        return ""
    return task.output_features[key].vocabulary.decode(example[key].tolist())


def _rate(task: Task, part: seqio.Task) -> float:
    return float(task.get_rate(part)) if isinstance(task, seqio.Mixture) else 1.0


def _tokenise(
    task: seqio.Task, split: str, lengths: Mapping[str, int] | None
) -> dict[str, list[np.ndarray]]:
    """A task's rows at their full length."""
    dataset = task.get_dataset(
        sequence_length=needed_lengths(task, lengths),
        split=split,
        shuffle=False,
        seed=SEED,
    ).map(lambda example: {key: example[key] for key in KEYS})
    examples = list(dataset.as_numpy_iterator())
    return {key: [row[key] for row in examples] for key in KEYS}


def needed_lengths(
    task: seqio.Task, lengths: Mapping[str, int] | None
) -> Mapping[str, int] | None:
    """The lengths, if a preprocessor of the task cannot do without; else None.

    None makes seqio return whole rows, whose cutting we count ourselves.
    """
    parameters = (
        inspect.signature(preprocessor).parameters.get("sequence_length")
        for preprocessor in task.preprocessors
    )
    needs = any(p and p.default is inspect.Parameter.empty for p in parameters)
    return lengths if needs else None


def _cut(row: np.ndarray, length: int, feature: seqio.Feature) -> np.ndarray:
    if len(row) <= length:
        return row
    if not feature.add_eos:
        return row[:length]
    return np.append(row[: length - 1], np.int32(feature.vocabulary.eos_id))


def encode(
    texts: Sequence[str], feature: seqio.Feature, length: int | None = None
) -> tuple[np.ndarray, int]:
    """Tokenises texts as load_examples tokenises a feature's.

    Args:
      feature: task.output_features["inputs"], say.
      length: T in tokens, EOS included; by default the longest text's, at most 512.

    Returns:
      [N, T] int32 ids, 0 where padded, and how many texts were cut.
    """
    ends = [feature.vocabulary.eos_id] if feature.add_eos else []
    rows = [np.array(_ids(text, feature.vocabulary) + ends) for text in texts]
    length = length or min(max(map(len, rows)), MAX_INPUT_LENGTH)
    cut = sum(len(row) > length for row in rows)
    return batching.pad([_cut(row, length, feature) for row in rows], length), cut


def _ids(text: str, vocabulary: seqio.Vocabulary) -> list[int]:
    """Token ids; of the first sentinel too, which not every vocabulary has by name."""
    if not text.startswith(SENTINEL):
        return vocabulary.encode(text)
    words = text.removeprefix(SENTINEL).lstrip()
    return [vocabulary.vocab_size - 1, *vocabulary.encode(words)]
