"""The user's own task without any code: a file with a row for each example.

    --gin.MIXTURE_OR_TASK_NAME=reviews.csv
    --gin.INPUTS="'review: {text}'" --gin.TARGETS={sentiment}

It is a .csv or .tsv with a header, or a .jsonl; or a folder of such files: train.* and,
optionally, validation.* (or dev.*) and test.*. Without templates the columns `inputs`
and `targets` are used.

If the targets are a few texts that recur often, they are labels, and the metrics are
accuracy and the mean of the labels' F1. Otherwise they are free text, and the metrics
are exact match and word F1, as SQuAD's. All are in percent.
"""

import collections
import csv
import dataclasses
import io
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.training.task import (
    Evaluation,
    Record,
    Split,
    Task,
    check_split,
    check_words,
    illegal_shares,
    label_ids,
    make_examples,
    verdict,
)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")
SPLITS = {"train": "train", "validation": "validation", "dev": "validation"}
SPLITS |= {"test": "test"}  # file names -> splits
MAX_LABELS = 20
ROWS_A_LABEL = 2  # on average; with fewer, the targets are free text
MAX_VALIDATION = 1_000  # rows to split off: one in ten, but no more than this

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

Template = list[tuple[str, str | None]]  # text, and the column after it, if any


class Row(NamedTuple):
    """An example as text. where: its file and line, for messages."""

    where: str
    inputs: str
    targets: str


def is_own(name: str) -> bool:
    """Whether a task's name is the path of a file or folder of the user's own data.

    A folder without data files counts only if its name has a / in it: a MODEL_DIR may
    have the same name as a task.
    """
    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return True
    return path.is_dir() and ("/" in name or bool(_files(path)))


def open_own(
    path: str,
    inputs: str | None,
    targets: str | None,
    vocabulary: Vocabulary,
    seed: int,
) -> Task:
    """Reads all the files of a task.

    Args:
      inputs, targets: templates with columns in braces, "premise: {premise}", and {{
        for a brace; by default the columns `inputs` and `targets`.
      seed: for the choice of validation rows, if there is no file of them: one in ten
        of train's, at least 1 and at most 1,000.

    Raises:
      UserError: a file is missing or malformed; a template is invalid; a validation or
        test target is not one of train's label words; the vocabulary cannot write a
        label word.
    """
    templates = (
        parse_template("{inputs}" if inputs is None else inputs, "INPUTS"),
        parse_template("{targets}" if targets is None else targets, "TARGETS"),
    )
    files = _files_of_splits(Path(path))
    rows = {split: _rows(file, templates) for split, file in files.items()}
    words = _label_words(rows["train"])  # of all rows, even those held out below
    if words:
        check_words(words, vocabulary)
        _check_targets(rows, words)
    if "validation" not in rows:
        rows["train"], rows["validation"] = _held_out(rows["train"], seed)
    place = Path(path).resolve()
    name = place.name if place.is_dir() else place.stem
    return _OwnTask(name, vocabulary, rows, words)


@dataclasses.dataclass(frozen=True)
class _OwnTask:
    """A Task made of rows. words: the label words, if the targets are labels."""

    name: str
    vocabulary: Vocabulary
    rows: Mapping[str, list[Row]]
    words: tuple[str, ...] | None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def load(self, split: str, lengths: Mapping[str, int] | None = None) -> Split:
        check_split(self.name, split, self.rows)
        rows = self.rows[split]
        eos_id = self.vocabulary.eos_id
        examples = make_examples(
            split,
            {
                self.name: (
                    [_ids(row.inputs, row.where, self.vocabulary) for row in rows],
                    [_ids(row.targets, row.where, self.vocabulary) for row in rows],
                )
            },
            lengths,
            rates={self.name: 1.0},
            labels_LxS=label_ids(self.words, self.vocabulary) if self.words else None,
            eos_ids={"inputs": eos_id, "targets": eos_id},
        )
        return Split(
            examples,
            lambda texts: _score(self.name, rows, texts, self.words),
            {self.name: self.words} if self.words else {},
        )

    def label_words(self) -> tuple[str, ...] | None:
        return self.words

    def class_words(self, split: str) -> tuple[str, ...] | None:
        return self.words if split in self.rows else None

    def tasks(self, split: str) -> tuple[str, ...]:
        return (self.name,) if split in self.rows else ()


# Files -> rows.


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split in a folder."""
    files = collections.defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.stem in SPLITS and path.suffix.lower() in SUFFIXES:
            files[SPLITS[path.stem]].append(path)
    return files


def _files_of_splits(path: Path) -> dict[str, Path]:
    """{split: file}, train first."""
    if not path.is_dir():
        return {"train": path}
    files = _files(path)
    if "train" not in files:
        raise UserError(
            f"the folder {path} has no train.csv, train.tsv or train.jsonl; it must "
            "have one, and may also have validation.* (or dev.*) and test.*"
        )
    for split, found in files.items():
        if len(found) > 1:
            raise UserError(
                f"the folder {path} has {len(found)} files of the split {split!r} "
                f"({', '.join(file.name for file in found)}); keep one of them"
            )
    order = dict.fromkeys(SPLITS.values())
    return {split: files[split][0] for split in order if split in files}


def _rows(path: Path, templates: tuple[Template, Template]) -> list[Row]:
    content = _content(path)
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        records = _table(path, content, DELIMITERS[suffix])
    else:
        records = _json_lines(path, content)
    rows = []
    for line, record in records:
        where = f"{path}, line {line}"
        row = Row(where, *(fill(template, record, where) for template in templates))
        if not row.targets.strip():
            raise UserError(f"{where}: the target is empty; every row needs one")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no rows; it must have one for each example")
    return rows


def _content(path: Path) -> str:
    try:
        data = files.regular(path, files.MOST_TEXT).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); MIXTURE_OR_TASK_NAME may be a "
            "task, or a .csv, .tsv or .jsonl file, or a folder of such files"
        ) from None
    try:
        text = files.text_of(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: the text is not UTF-8 ({error.reason}); save it as "
            "UTF-8"
        ) from None
    if not text.strip():
        raise UserError(f"{path} is empty; it must have a row for each example")
    return text


def table(
    name: object, lines: Iterable[str], delimiter: str
) -> Iterator[tuple[int, dict[str, str] | UserError]]:
    """The rows below the header, each with the line that it starts in.

    Args:
      lines: with their ends.

    Yields:
      (line, its columns; or what is wrong with it)

    Raises:
      UserError: the header has a column twice.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _MOST_CELL))  # long documents
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns, line = None, 1
    try:
        for values in reader:
            values = values if any(value.strip() for value in values) else []
            if values and columns is None:
                columns = values
                _check_columns(columns, f"{name}, line {line}")
            elif values and columns:  # not an empty line
                yield line, _row(f"{name}, line {line}", columns, values)
            line = reader.line_num + 1
    except csv.Error as error:
        yield (
            line,
            UserError(
                f"{name}, line {line}: {error}; a value that starts with a quote must "
                "end with one, and a quote inside it is written twice"
            ),
        )


_MOST_CELL = 2**31 - 1  # characters; a C long on every platform


def _row(
    where: str, columns: Sequence[str], values: Sequence[str]
) -> dict[str, str] | UserError:
    if len(values) == len(columns):
        return dict(zip(columns, values, strict=True))
    return UserError(
        f"{where}: found {len(values)} columns, expected the {len(columns)} of the "
        f"header ({', '.join(columns)}); a value that contains the separator or a line "
        "break needs quotes"
    )


def _table(
    path: Path, content: str, delimiter: str
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, found in table(path, io.StringIO(content, newline=""), delimiter):
        if isinstance(found, UserError):
            raise found
        yield line, found


def _json_lines(path: Path, content: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, text in enumerate(files.lines_of(content), 1):
        if not text.strip():
            continue
        where = f"{path}, line {line}"
        try:
            pairs = files.parse_json(text, _Pairs)
        except ValueError as error:
            raise UserError(
                f"{where}: not JSON ({getattr(error, 'msg', error)}); each line must "
                "be an object"
            ) from None
        if not isinstance(pairs, _Pairs):
            raise UserError(
                f"{where}: found {text.strip()[:80]!r}, expected an object such as "
                '{"inputs": "...", "targets": "..."}'
            )
        _check_columns([name for name, _ in pairs], where)
        yield line, dict(pairs)


class _Pairs(list):
    """A JSON object's names and values; a dict would drop repeated names."""


def _check_columns(columns: Sequence[str], where: str) -> None:
    twice = [name for name, count in collections.Counter(columns).items() if count > 1]
    if twice:
        raise UserError(
            f"{where}: several columns are called {', '.join(map(repr, twice))}; each "
            "needs its own name"
        )


# Templates.


def parse_template(template: str, macro: str) -> Template:
    """Parses a template as str.format does, without formats and conversions."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(
            f"{macro}={template!r} is not a template ({error}); a column is written "
            "{column}, a brace {{ or }}"
        ) from None
    for _, field, form, conversion in parts:
        if form or conversion or field == "":
            raise UserError(
                f"{macro}={template!r} has more or less than a column's name in "
                "braces; a column is written {column}, a brace {{ or }}"
            )
    if all(field is None for _, field, *_ in parts):
        raise UserError(
            f"{macro}={template!r} names no column; a column is written {{column}}"
        )
    return [(text, field) for text, field, *_ in parts]


def fill(template: Template, record: Mapping[str, object], where: str) -> str:
    """The text of a template with a record's columns in it."""
    return "".join(
        text + ("" if column is None else _value(record, column, where))
        for text, column in template
    )


def _value(record: Mapping[str, object], column: str, where: str) -> str:
    if column not in record:
        raise UserError(
            f"{where}: there is no column {column!r}; there are {', '.join(record)}. "
            "INPUTS and TARGETS say what to read: --gin.INPUTS={column}"
        )
    value = record[column]
    if not isinstance(value, str | int | float):  # a bool is an int too
        kind = "null" if value is None else "a list or an object"
        raise UserError(
            f"{where}: {column!r} is {kind}; it must be text, a number, true or false"
        )
    return str(value)


# Labels and splits.


def _label_words(train: Sequence[Row]) -> tuple[str, ...] | None:
    """The distinct targets in order, if they are few enough to be labels."""
    words = tuple(dict.fromkeys(row.targets for row in train))
    few = len(words) <= min(MAX_LABELS, len(train) / ROWS_A_LABEL)
    return words if few else None


def _check_targets(rows: Mapping[str, Sequence[Row]], words: Sequence[str]) -> None:
    for row in (row for split in rows.values() for row in split):
        if row.targets not in words:
            raise UserError(
                f"{row.where}: the target {row.targets!r} is not one of the labels in "
                f"train ({', '.join(words)})"
            )


def _held_out(rows: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the rows to validate on, both in order."""
    size = min(max(len(rows) // 10, 1), MAX_VALIDATION)
    if size == len(rows):
        raise UserError(
            f"{rows[0].where}: one row cannot be split into train and validation; at "
            "least two are needed"
        )
    drawn = np.random.default_rng(seed).permutation(len(rows))[:size]
    held = np.isin(np.arange(len(rows)), drawn)
    pairs = list(zip(rows, held, strict=True))
    return [row for row, out in pairs if not out], [row for row, out in pairs if out]


def _ids(text: str, where: str, vocabulary: Vocabulary) -> np.ndarray:
    try:
        return np.array([*vocabulary.encode(text), vocabulary.eos_id], np.int32)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


# Metrics.


def _score(
    name: str,
    rows: Sequence[Row],
    predictions: Sequence[str],
    words: Sequence[str] | None,
) -> tuple[Evaluation, list[Record]]:
    records = [
        {
            "task": name,
            "index": index,
            "inputs": row.inputs,
            "target": row.targets,
            "prediction": prediction,
        }
        | verdict(prediction, row.targets, words)
        for index, (row, prediction) in enumerate(zip(rows, predictions, strict=True))
    ]
    targets = [row.targets for row in rows]
    if words:
        metrics = label_metrics(targets, predictions, words)
    else:
        metrics = text_metrics(targets, predictions)
    return Evaluation({name: metrics}, illegal_shares(records)), records


def label_metrics(
    targets: Sequence[str], predictions: Sequence[str], words: Sequence[str]
) -> dict[str, float]:
    """Accuracy and the mean F1 of the label words, 0 for a word that never occurs.

    A prediction that is none of the words is wrong. Both are in percent.
    """
    pairs = collections.Counter(zip(targets, predictions, strict=True))
    said, meant = collections.Counter(predictions), collections.Counter(targets)
    right = {word: pairs[word, word] for word in words}
    scores = [2 * right[word] / max(said[word] + meant[word], 1) for word in words]
    return {
        "accuracy": 100 * sum(right.values()) / len(targets),
        "macro_f1": 100 * float(np.mean(scores)),
    }


def text_metrics(
    targets: Sequence[str], predictions: Sequence[str]
) -> dict[str, float]:
    """Exact match and word F1 as SQuAD's script computes them, in percent.

    Case, punctuation and articles are ignored.
    """
    pairs = [
        (_bare(target), _bare(prediction))
        for target, prediction in zip(targets, predictions, strict=True)
    ]
    return {
        "em": 100 * float(np.mean([target == said for target, said in pairs])),
        "f1": 100 * float(np.mean([_word_f1(*pair) for pair in pairs])),
    }


def _bare(text: str) -> list[str]:
    """The words that count."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _word_f1(target: Sequence[str], said: Sequence[str]) -> float:
    shared = (collections.Counter(target) & collections.Counter(said)).total()
    return 2 * shared / (len(target) + len(said)) if shared else 0.0
