"""Reads official files as records with TFDS's field names: a reader per format.

    for where, parse in jsonl(Path("D/superglue/CB/train.jsonl")):
        for record in parse(): ...

A reader raises a DataError if the file as a whole cannot be read. Otherwise it yields
each piece of the file (a line, a question) as its place, for messages, and a function
that parses it. Only that function raises the DataError of a bad piece, so a caller can
stop there, or count it and continue.
"""

import functools
import gzip
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning.tasks import DataError

# Field names to values of type str, int, float, bool, list or Record.
Record = dict[str, Any]
Pieces = Iterator[tuple[str, Callable[[], list[Record]]]]

MOST_BYTES = 2**32  # the largest of the paper's, ReCoRD's, has under 2**27
BOM = b"\xef\xbb\xbf"  # MRPC's files start with it
GIT_LFS = b"version https://git-lfs.github.com/spec/"
# MRQA's files unpack to five times their bytes; what unpacks to more is no text.
MOST_UNPACKED = 100
_SMALL = 2**24  # bytes that any file may unpack to


class BrokenLine(DataError):
    """A line of a table that lacks some of its columns."""


def need(record: object, field: str, kind: type | tuple[type, ...] = str) -> Any:
    """A field of a record; raises DataError if it is missing or of another type."""
    if not isinstance(record, dict) or field not in record:
        there = ", ".join(record) if isinstance(record, dict) else repr(record)[:80]
        raise DataError(f"there is no field {field!r}, only {there or 'nothing'}")
    value = record[field]
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(kind.__name__ for kind in kinds)
        raise DataError(f"{field!r} is {str(value)[:80]!r}; it must be of type {names}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DataError(f"{field!r} is {str(value)[:80]}; it must fit into 64 bits")
    return value


def _decoded(data: bytes) -> str:
    if b"\0" in data:  # UTF-16 has some, and its bytes may well be valid UTF-8
        raise DataError("the text has a zero byte, and so is not UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"the text is not UTF-8 ({error.reason})") from None


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no file, but a folder, a pipe or a device")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise DataError(
                f"{path} has {size:,} bytes; such a file has {MOST_BYTES:,} at most"
            )
        data = path.read_bytes()
        if data.startswith(GIT_LFS):
            raise DataError(
                f"{path} is a pointer of Git LFS, not the file itself: get that with "
                "`git lfs pull`, or download it"
            )
        data = _unpacked(path, len(data)) if path.suffix == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    data = data.removeprefix(BOM)
    if not data.strip():
        raise DataError(f"{path} is empty; it must hold examples")
    return data


def _unpacked(path: Path, size: int) -> bytes:
    most = max(_SMALL, MOST_UNPACKED * size)
    with gzip.open(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise DataError(
            f"{path} unpacks to more than {MOST_UNPACKED} times its {size:,} bytes, as "
            "no text does; copy it again"
        )
    return data


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the lines that are not blank, each with its place.

    A line ends at a line feed, a carriage return or both, as in Python's text files,
    which is how TFDS reads them.
    """
    data, number, end = _content(path), 1, 0
    for match in re.finditer(rb"[^\r\n]+", data):
        # One at a time: a list of all is many times as large as a file of short lines.
        between = data[end : match.start()]
        ends = between.count(b"\n") + between.count(b"\r") - between.count(b"\r\n")
        number, end = number + ends, match.end()
        if match[0].strip():
            yield f"{path}, line {number}", match[0]


def _json(data: bytes) -> Any:
    """JSON as the standard has it: without NaN and what becomes infinite."""

    def finite(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError(f"{text[:20]} is no number in JSON")
        return float(text)

    return json.loads(_decoded(data), parse_constant=finite, parse_float=finite)


def _json_object(line: bytes) -> Record:
    try:
        record = _json(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"the line is not JSON ({error.msg}, column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the line is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise DataError("the line is not a JSON object in braces")
    return record


def jsonl(
    path: Path, flatten: Callable[[Record], list[Record]] = lambda record: [record]
) -> Pieces:
    """SuperGLUE's files: JSON lines, which `flatten` turns into records."""
    for where, line in _lines(path):
        yield where, functools.partial(_flat, line, flatten)


def _flat(line: bytes, flatten: Callable[[Record], list[Record]]) -> list[Record]:
    return flatten(_json_object(line))


def mrqa(path: Path) -> Pieces:
    """MRQA's files: gzipped; a header, then lines with a context and its questions.

    TFDS strips the texts, T5 does not. Once rendered, this shows only where a context
    ends in a word and a space.
    """
    for number, (where, line) in enumerate(_lines(path)):
        if number or b'"header"' not in line[:80]:
            yield where, functools.partial(_mrqa_questions, line)


def _mrqa_questions(line: bytes) -> list[Record]:
    record = _json_object(line)
    return [
        found
        for question in need(record, "qas", list)
        for found in _question(record, question)
    ]


def tsv(path: Path, columns: Mapping[str, str], headless: Sequence[str] = ()) -> Pieces:
    """GLUE's files: tab-separated; quotation marks have no special meaning.

    Args:
      columns: TFDS's field name -> column. A file may lack the label's column.
      headless: the columns of a file without a header line.
    """
    lines = _lines(path)
    place, first = next(lines)
    try:
        header = _decoded(first).split("\t")
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    if headless and columns["sentence"] not in header:
        header = list(headless)
        lines = itertools.chain([(place, first)], lines)
    lacking = [column for field, column in columns.items() if column not in header]
    if any(column != columns["label"] for column in lacking):
        raise DataError(
            f"{path}, line 1: there is no column {lacking[0]!r}, only "
            f"{', '.join(header)}"
        )
    places = {
        field: header.index(column)
        for field, column in columns.items()
        if column not in lacking
    }
    for where, line in lines:
        yield where, functools.partial(_row, line, places, len(header))


def _row(line: bytes, places: Mapping[str, int], width: int) -> list[Record]:
    cells = _decoded(line).split("\t")
    if len(cells) <= max(places.values()):
        raise BrokenLine(f"the line has {len(cells)} columns; it must have {width}")
    record = {field: cells[place] for field, place in places.items()}
    if record.get("label") == "":
        raise BrokenLine("the label is empty")
    return [record]


def squad(path: Path) -> Pieces:
    """SQuAD's format: one JSON object of articles, paragraphs and questions."""
    data = _content(path)
    try:
        content = _json(data)
        articles = need(content, "data", list)
        if str(content.get("version", "")).lstrip("v").startswith("2"):
            raise DataError(
                "this is SQuAD 2.0, which asks questions that have no answer; give "
                "SQuAD 1.1, train-v1.1.json and dev-v1.1.json"
            )
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: the file is not JSON ({error.msg})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from None
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_items(article, "paragraphs")):
            for q, question in enumerate(_items(paragraph, "qas")):
                place = f"{path}, data[{a}].paragraphs[{p}].qas[{q}]"
                yield place, functools.partial(_question, paragraph, question)


def _items(record: object, field: str) -> list:
    """A list in a record; without one, the record, for _question to reject."""
    items = record.get(field) if isinstance(record, dict) else None
    return items if isinstance(items, list) else [record]


def _question(paragraph: Any, question: Any) -> list[Record]:
    record = {
        "context": need(paragraph, "context"),
        "question": need(question, "question"),
    }
    if question.get("is_impossible"):
        raise DataError(
            "the question has no answer (is_impossible), as in SQuAD 2.0; give SQuAD "
            "1.1"
        )
    if question.get("answers") is not None:
        record["answers"] = question["answers"]
    return [record]


def pronouns(path: Path) -> Pieces:
    """DPR: a sentence, its pronoun, two candidates, the right one, an empty line."""
    lines = _content(path).splitlines()
    for start in range(0, len(lines), 5):
        block = lines[start : start + 5]
        if any(line.strip() for line in block):
            yield f"{path}, line {start + 1}", functools.partial(_pronoun, block)


def _pronoun(block: Sequence[bytes]) -> list[Record]:
    texts = [_decoded(line).strip() for line in block]
    if len(texts) < 4 or not all(texts[:4]) or any(texts[4:]):
        raise DataError(
            "there must be a sentence, its pronoun, two candidates, the right one and "
            "an empty line"
        )
    candidates = [candidate.strip() for candidate in texts[2].split(",")]
    if texts[3] not in candidates:
        raise DataError(f"{texts[3]!r} is not one of the candidates {texts[2]!r}")
    label = candidates.index(texts[3])
    return [
        {"sentence": texts[0], "pronoun": texts[1]}
        | {"candidates": candidates, "label": label}
    ]
