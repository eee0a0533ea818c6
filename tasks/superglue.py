"""SuperGLUE (Wang et al., 2019) as T5 renders it, without the data set's name in front.

    prompt-tuning train --gin.MIXTURE_OR_TASK_NAME="'cb'" \
        --gin.MIXTURE_OR_TASK_MODULE="'tasks.superglue'" --data_dir=D

To add a task, add a row to TABLE. The examples come from the official files,
D/superglue/CB/train.jsonl, val.jsonl and test.jsonl, or from TFDS without a D.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import seqio
import sklearn.metrics
import tensorflow as tf
from tensorflow_datasets.core.download import downloader

from tasks import UNKNOWN, DataError, accuracy, label_index

# Field names to values, as in a line of the official files.
Record = dict[str, object]

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}

# T5's own vocabulary, read when it is first used. The engine puts the frozen model's in
# its place (prompt_tuning.data.get_task).
T5_VOCABULARY = seqio.SentencePieceVocabulary(
    "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model", extra_ids=100
)


def _text(record: Record, field: str) -> str:
    if field not in record:
        raise DataError(f"there is no field {field!r}, only {', '.join(record)}")
    if not isinstance(record[field], str):
        raise DataError(f"{field!r} is {record[field]!r}; it must be a string")
    return record[field]


def hypothesis_premise(record: Record) -> str:
    """What the model reads of an entailment example (T5: fields by alphabet)."""
    hypothesis, premise = _text(record, "hypothesis"), _text(record, "premise")
    return f"hypothesis: {hypothesis} premise: {premise}"


def macro_f1(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """CB's F1: the mean of its three classes' F1 scores, 0 to 100."""
    score = sklearn.metrics.f1_score(
        targets, predictions, labels=[0, 1, 2], average="macro", zero_division=0
    )
    return {"f1": 100 * float(score)}


class Row(NamedTuple):
    """A task. `name` is the released code's, the labels are in TFDS's order."""

    name: str
    alias: str
    folder: str
    tfds_name: str
    labels: tuple[str, ...]
    render: Callable[[Record], str]
    metrics: tuple[Callable[..., dict[str, float]], ...]


TABLE = (
    Row(
        "taskless_super_glue_cb_v102",
        "cb",
        "CB",
        "super_glue/cb:1.0.2",
        ("entailment", "contradiction", "neutral"),
        hypothesis_premise,
        (accuracy, macro_f1),
    ),
    Row(
        "taskless_super_glue_rte_v102",
        "rte",
        "RTE",
        "super_glue/rte:1.0.2",
        ("entailment", "not_entailment"),
        hypothesis_premise,
        (accuracy,),
    ),
)


class Source(seqio.FunctionDataSource):
    """A row's rendered examples: from the official files in data_dir, else from TFDS.

    Both pass through the row's render function; `inputs` and `targets` are strings.
    A DataError says what is wrong with a file, or that TFDS could not be had.
    """

    def __init__(self, row: Row, data_dir: str | None = None) -> None:
        read = functools.partial(_read_files, data_dir) if data_dir else _read_tfds

        def dataset(
            split: str, shuffle_files: bool, seed: int | None = None
        ) -> tf.data.Dataset:
            del shuffle_files, seed  # seqio shuffles examples
            inputs, targets = zip(*read(row, split), strict=True)
            return tf.data.Dataset.from_tensor_slices(
                {"inputs": list(inputs), "targets": list(targets)}
            )

        super().__init__(dataset, splits=FILES)
        self._row = row

    def at(self, data_dir: str) -> "Source":
        """The same examples read from the official files in `data_dir`.

        The engine calls it when the user gives --data_dir.
        """
        return Source(self._row, data_dir)


def _pair(row: Row, record: Record, labelled: bool) -> tuple[str, str]:
    """An example's inputs and targets; where `labelled` is false, a label may lack."""
    if not labelled and "label" not in record:
        return row.render(record), UNKNOWN
    label = _text(record, "label")
    if label not in row.labels:
        raise DataError(
            f"the label is {label!r}; it must be one of {', '.join(row.labels)}"
        )
    return row.render(record), label


def _read_files(data_dir: str, row: Row, split: str) -> Iterator[tuple[bytes, bytes]]:
    path = Path(data_dir, "superglue", row.folder, FILES[split])
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); --data_dir must be the folder "
            f"that holds {_layout(row)}. Without --data_dir the data comes from TFDS"
        ) from None
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} is empty; it must hold an example a line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
            if not isinstance(record, dict):
                raise DataError("the line is not a JSON object in braces")
            inputs, target = _pair(row, record, labelled=split != "test")
            yield inputs.encode(), target.encode()
        except UnicodeError as error:
            reason = f"the text is not UTF-8 ({error.reason})"
            raise DataError(f"{path}, line {number}: {reason}") from None
        except json.JSONDecodeError as error:
            reason = f"the line is not JSON ({error.msg}, column {error.colno})"
            raise DataError(f"{path}, line {number}: {reason}") from None
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None


def _read_tfds(row: Row, split: str) -> Iterator[tuple[bytes, bytes]]:
    # Without a network, TFDS's own 10 attempts at a download take over 3 minutes.
    downloader.MAX_RETRIES = 5
    try:
        source = seqio.TfdsDataSource(row.tfds_name)
        examples = source.get_dataset(split, shuffle=False)
    except Exception as error:  # of whatever library meets the trouble first
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise DataError(
            f"TFDS could not provide {row.tfds_name} ({reason}). Get the official "
            f"files and give with --data_dir the folder that holds {_layout(row)}"
        ) from error
    for example in examples.as_numpy_iterator():
        label = example.pop("label")
        record = {
            field: value.decode() if isinstance(value, bytes) else value
            for field, value in example.items()
        }
        if label >= 0:  # -1 stands for a test example's missing label
            record["label"] = row.labels[label]
        inputs, target = _pair(row, record, labelled=False)
        yield inputs.encode(), target.encode()


def _layout(row: Row) -> str:
    return f"superglue/{row.folder}/{{{','.join(FILES.values())}}}"


def _register(row: Row) -> None:
    """Adds a row to seqio's tasks under its name and its alias."""
    feature = seqio.Feature(T5_VOCABULARY, add_eos=True)
    source = Source(row)
    for name in (row.name, row.alias):
        seqio.TaskRegistry.add(
            name,
            source=source,
            preprocessors=[
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features={"inputs": feature, "targets": feature},
            postprocess_fn=functools.partial(label_index, label_classes=row.labels),
            metric_fns=row.metrics,
        )


for _row in TABLE:
    _register(_row)
