"""Turns a row of the table of tasks into a seqio task on TFDS or official files.

A task that is only texts becomes a seqio task by register_texts.

register(row)                                   # taskless_super_glue_cb_v102, cb
register(row, prefix=True)                      # super_glue_cb_v102
register(row, sentinel=True)                    # ..._1_sentinel, cb_sentinel
register(row, vocabulary="mt5")                 # mt5_..., mt5_cb
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf
from tensorflow_datasets.core.download import downloader

from prompt_tuning.tasks import (
    UNKNOWN,
    DataError,
    TextTask,
    label_index,
    pocket_model,
)
from prompt_tuning.tasks.files import BrokenLine, Pieces, Record
from prompt_tuning.tasks.parts import Part
from prompt_tuning.tasks.published import PUBLISHED
from prompt_tuning.tasks.render import NO_LABEL, Features
from prompt_tuning.tasks.scoring import read_first

SENTINEL = "<extra_id_0>"  # T5's first; its id is the vocabulary's last


# Their files are read on first use; the frozen model's vocabulary usually replaces them
# (prompt_tuning.tasks_io.tasks.open_task).
VOCABULARIES = {
    "t5": seqio.SentencePieceVocabulary(
        "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model", extra_ids=100
    ),
    "mt5": seqio.SentencePieceVocabulary(
        "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model"
    ),
    "byt5": seqio.ByteVocabulary(),
    "pocket": seqio.SentencePieceVocabulary(pocket_model(), extra_ids=100),
}


class Row(NamedTuple):
    """A task.

    alias: its short name. name: its name in T5 or in the released code.
    files: {split: a path in data_dir}. read: the reader for their format.
    tfds: the name and version in TFDS; "" if TFDS does not have it.
    tfds_splits: TFDS's names of the splits, where they differ.
    render: (record, labels) -> features, one of render.py.
    labels: the label words, in TFDS's order.
    metrics, postprocess: as in seqio.
    prefix: what T5 puts in front of the inputs, or "".
    class_words: for the initialiser, if there are no labels.
    trains_on: train only on examples with this label.
    translate: a word in another task's labels, and our word for it.
    parts: {split: which part of its file it is}, where it is not all of it.
    ragged: whether the official file is known to have broken lines, to be skipped.
    """

    alias: str
    name: str
    files: Mapping[str, str]
    read: Callable[[Path], Pieces]
    tfds: str
    render: Callable[[Record, Sequence[str]], Iterator[Features]]
    labels: tuple[str, ...]
    metrics: tuple[Callable[..., dict[str, float]], ...]
    prefix: str = ""
    postprocess: Callable[..., object] = label_index
    tfds_splits: Mapping[str, str] = {}
    class_words: tuple[str, ...] = ()
    trains_on: int | None = None
    translate: tuple[str, str] = ("", "")
    parts: Mapping[str, Part] = {}
    ragged: bool = False


class Source(seqio.FunctionDataSource):
    """A row's rendered examples, from the official files in data_dir or from TFDS.

    Both go through the row's render function. A DataError says what is wrong with a
    file, or that TFDS is not available.
    """

    def __init__(self, row: Row, data_dir: str | None = None) -> None:
        def dataset(
            split: str, shuffle_files: bool, seed: int | None = None
        ) -> tf.data.Dataset:
            del shuffle_files, seed  # seqio shuffles examples
            return dataset_of([example for _, example in self.read(split)])

        super().__init__(dataset, splits=tuple(row.files))
        self.alias = row.alias
        self._row, self._data_dir = row, data_dir

    def at(self, data_dir: str) -> "Source":
        """The same examples read from the official files in `data_dir`.

        prompt_tuning calls it when the user gives --data_dir.
        """
        return Source(self._row, data_dir)

    def num_input_examples(self, split: str) -> int:
        """For a mixture's rates; seqio's rate_num_examples asks for it."""
        return sum(1 for _ in self.read(split))

    def origin(self, split: str) -> str:
        """Where a split comes from: a path, or its name and version in TFDS."""
        if self._data_dir:
            return str(Path(self._data_dir, self._row.files[split]))
        return f"TFDS {self._row.tfds}" if self._row.tfds else "files alone"

    def available(self, split: str) -> bool:
        """Whether a split can be read without downloading it."""
        if self._data_dir:
            return Path(self.origin(split)).exists()
        try:
            _tfds_split(self._row, split)
            source = seqio.TfdsDataSource(self._row.tfds)
            return bool(self._row.tfds) and source.tfds_dataset.builder.is_prepared()
        except Exception:  # any library's: then it is not available
            return False

    def published(self, split: str) -> tuple[int, dict[str, float]] | None:
        """The paper's number of examples, and each label's percent (Tables 7 to 16)."""
        return PUBLISHED.get(self._row.alias, {}).get(split)

    def read(
        self, split: str, on_error: Callable[[DataError], None] | None = None
    ) -> Iterator[tuple[int, Features]]:
        """Yields a split's examples, each with the number of its record in the source.

        Args:
          on_error: called with the error of a bad line, which is then left out. By
            default the error is raised, except for the broken lines that a file is
            known to have: those are left out, and named on stderr.

        Raises:
          DataError: there is nothing to read.
        """
        row, number, left_out = self._row, 0, []
        for where, parse in self._pieces(split):
            try:
                examples = []
                for record in parse():
                    number += 1
                    examples += [(number, each) for each in _render(row, split, record)]
            except (DataError, UnicodeError) as error:
                bad = DataError(f"{where}: {_reason(error)}")
                if on_error:
                    on_error(bad)
                elif row.ragged and isinstance(error, BrokenLine):
                    left_out.append(where)
                else:
                    raise bad from None
            else:
                yield from examples
        if left_out:
            _tell_once(self.origin(split), tuple(left_out))

    def _pieces(self, split: str) -> Pieces:
        row = self._row
        if not self._data_dir:
            return _read_tfds(row, _tfds_split(row, split))
        path = Path(self._data_dir, row.files[split])
        if not path.exists():
            raise DataError(
                f"there is no {path}; --data_dir must be the folder that holds "
                f"{_layout(row)}"
                + (". Without --data_dir the data comes from TFDS" * bool(row.tfds))
            )
        pieces = row.read(path)
        return row.parts[split](pieces) if split in row.parts else pieces


def _reason(error: DataError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return f"the text is not UTF-8 ({getattr(error, 'reason', error)})"
    return str(error)


@functools.cache
def _tell_once(origin: str, places: tuple[str, ...]) -> None:
    numbers = ", ".join(place.rpartition(" ")[2] for place in places)
    print(
        f"{origin}: {len(places)} lines lack columns and are left out: line {numbers}",
        file=sys.stderr,
    )


def _render(row: Row, split: str, record: Record) -> list[Features]:
    """A record's examples; none if the split leaves it out."""
    labelled = not split.startswith("test")
    record = {key: value for key, value in record.items() if value is not None}
    if not labelled:
        record = {"label": NO_LABEL, "answers": []} | record
    examples = list(row.render(record, row.labels))
    for example in examples:
        unlabelled = example.get("label") == NO_LABEL or example["targets"] in (
            UNKNOWN,
            "-1.0",
        )
        if labelled and unlabelled:
            raise DataError("there is no label; only test examples go without one")
    if split == "train" and row.trains_on is not None:
        examples = [each for each in examples if each["label"] == row.trains_on]
    return [
        {key: _encoded(value) for key, value in example.items()} for example in examples
    ]


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [text.encode() for text in value]
    return value.encode() if isinstance(value, str) else value


def dataset_of(examples: Sequence[Features]) -> tf.data.Dataset:
    """A data set of examples with the same features; string lists vary in length."""
    if not examples:
        raise DataError("there are no examples to read")
    columns = {key: [example[key] for example in examples] for key in examples[0]}
    for key, values in columns.items():
        if isinstance(values[0], list):
            flat = tf.constant([text for texts in values for text in texts], tf.string)
            lengths = [len(texts) for texts in values]
            # The stubs lack this, and that a data set takes any tree.
            columns[key] = tf.RaggedTensor.from_row_lengths(flat, lengths)  # pyright: ignore[reportAttributeAccessIssue]
    return tf.data.Dataset.from_tensor_slices(columns)  # pyright: ignore[reportArgumentType]


def _tfds_split(row: Row, split: str) -> str:
    """TFDS's name of a split.

    Raises:
      DataError: its split of this name is another one here.
    """
    for ours, theirs in row.tfds_splits.items():
        if theirs == split != ours and split not in row.tfds_splits:
            raise DataError(
                f"TFDS {row.tfds} has no {split!r} beside its split of that name, "
                f"which is {ours!r} here: evaluate that, or give --data_dir a folder "
                f"with {row.files[split]}"
            )
    return row.tfds_splits.get(split, split)


def _read_tfds(row: Row, split: str) -> Pieces:
    if not row.tfds:
        raise DataError(
            f"TFDS does not have {row.alias}; give --data_dir the folder that "
            f"holds {_layout(row)}"
        )
    # Without a network, TFDS's own 10 attempts at a download take over 3 minutes.
    downloader.MAX_RETRIES = 5
    try:
        dataset = seqio.TfdsDataSource(row.tfds).get_dataset(split, shuffle=False)
    except Exception as error:  # from any library that fails first
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise DataError(
            f"TFDS could not provide {row.tfds} ({reason}). Get the official files "
            f"and give --data_dir the folder that holds {_layout(row)}"
        ) from error
    for number, example in enumerate(dataset.as_numpy_iterator()):
        where = f"TFDS {row.tfds}, {split}, example {number}"
        yield where, functools.partial(lambda example: [_plain(example)], example)


def _layout(row: Row) -> str:
    return ", ".join(row.files.values())


def _plain(value: Any) -> Any:
    """Converts what TFDS yields to Python's own types."""
    match value:
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case bytes():
            return value.decode()
        case np.ndarray():
            return [_plain(part) for part in value.tolist()]
        case np.generic():
            return value.item()
    return value


def _add_text(dataset: tf.data.Dataset, feature: str, text: str) -> tf.data.Dataset:
    """Puts text in front of a feature."""
    return dataset.map(lambda example: {**example, feature: text + example[feature]})


def _add_sentinel(
    dataset: tf.data.Dataset, output_features: Mapping[str, seqio.utils.Feature]
) -> tf.data.Dataset:
    """Puts the first sentinel in front of the tokenised targets, and of their text."""
    sentinel = [output_features["targets"].vocabulary.vocab_size - 1]

    def add(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        text = SENTINEL + " " + example["targets_pretokenized"]
        tokens = tf.concat([sentinel, example["targets"]], axis=0)
        return {**example, "targets": tokens, "targets_pretokenized": text}

    return dataset.map(add)


def _without_sentinel(text: str) -> str:
    return text.removeprefix(SENTINEL).lstrip()


def _translated(text: str, word: str, ours: str) -> str:
    return text.replace(word, ours)


def _postprocessor(row: Row, sentinel: bool) -> Callable[..., object]:
    """The row's postprocess function, with its words as keywords and texts as read."""
    keywords = {}
    if row.labels:
        keywords["label_classes"] = row.labels
    if row.class_words:
        keywords["class_words"] = row.class_words
    if not sentinel and not any(row.translate):
        return functools.partial(row.postprocess, **keywords)
    word, ours = row.translate
    said = [label.replace(ours, word) if ours else label for label in row.labels]
    if sentinel:
        said = [f"{SENTINEL} {label}" for label in said]
        read = _without_sentinel
    else:
        read = functools.partial(_translated, word=word, ours=ours)
    return functools.partial(
        read_first,
        postprocess=row.postprocess,
        read=read,
        said_classes=tuple(said),
        **keywords,
    )


def register(
    row: Row, prefix: bool = False, sentinel: bool = False, vocabulary: str = "t5"
) -> None:
    """Adds a row to seqio's tasks, under its name and, without a prefix, its alias.

    Args:
      prefix: put the data set's name in front of the inputs, as T5 does.
      sentinel: put <extra_id_0> in front of targets and take it from predictions, the
        paper's setting "Span Corruption + Sentinel" (section 3.2).
      vocabulary: one of VOCABULARIES.
    """
    model = "" if vocabulary == "t5" else f"{vocabulary}_"
    taskless = "" if prefix or not row.prefix else "taskless_"
    names = [model + taskless + row.name + "_1_sentinel" * sentinel]
    if not prefix:
        names.append(model + row.alias + "_sentinel" * sentinel)
    named = functools.partial(_add_text, feature="inputs", text=f"{row.prefix} ")
    feature = seqio.Feature(VOCABULARIES[vocabulary], add_eos=True)
    source = Source(row)
    for name in dict.fromkeys(names):
        seqio.TaskRegistry.add(
            name,
            # seqio's own sources do not fit its protocol.
            source=source,  # pyright: ignore[reportArgumentType]
            preprocessors=[
                *[named] * prefix,
                seqio.preprocessors.tokenize,
                *[_add_sentinel] * sentinel,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features={"inputs": feature, "targets": feature},
            postprocess_fn=_postprocessor(row, sentinel),
            metric_fns=row.metrics,
        )


def register_texts(task: TextTask) -> None:
    """Adds a task of texts to seqio's; its examples are made when they are read."""

    def dataset(
        split: str, shuffle_files: bool, seed: int | None = None
    ) -> tf.data.Dataset:
        del shuffle_files, seed  # the examples have one order
        return dataset_of(list(task.examples(split)))

    source = seqio.FunctionDataSource(
        dataset, splits=tuple(task.splits), num_input_examples=task.splits
    )
    feature = seqio.Feature(VOCABULARIES["pocket"], add_eos=True)
    seqio.TaskRegistry.add(
        task.name,
        source=source,  # pyright: ignore[reportArgumentType]
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=dict.fromkeys(task.features, feature),
        postprocess_fn=task.postprocess_fn,
        metric_fns=list(task.metric_fns),
    )


def register_mixture(
    names: Sequence[str], rates: Mapping[str, float] | Sequence[str]
) -> None:
    """Adds a mixture under each of the names.

    Args:
      rates: {task: how often it is drawn}, or tasks that are drawn equally often.
    """
    parts = list(rates.items() if isinstance(rates, Mapping) else rates)
    for name in names:
        seqio.MixtureRegistry.add(name, parts, default_rate=1.0)
