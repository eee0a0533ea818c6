"""Rows to be answered, read one at a time from a file or a pipe.

A line is a text, or a JSON object; a .csv or .tsv has a header. A row that cannot be
read is told as such, and the rest is read on.
"""

import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.training import own_data

MOST_LINE = 2**26  # characters
MOST_BAD = (
    1_000  # rows from the start on; where none can be read, the rest is no better
)


class Row(NamedTuple):
    """A row of the input.

    where: for messages. fields: its own. text, prompt: what is to be answered, and with
    which prompt, once they are known. error: why it cannot be answered, if it cannot.
    """

    line: int
    where: str
    fields: Mapping[str, Any]
    text: str = ""
    prompt: str = ""
    error: str = ""


def read(source: str) -> Iterator[Row]:
    """The rows of a file, or of standard input for "-".

    Raises:
      UserError: no row can be read, or it is no text at all.
    """
    return _some_good(_rows(source))


def resolved(
    rows: Iterable[Row], resolve: Callable[[Row], tuple[str, str]]
) -> Iterator[Row]:
    """The rows with their text and prompt.

    Args:
      resolve: gives them, or raises UserError, which becomes the row's error.

    Raises:
      UserError: no row can be answered.
    """

    def each() -> Iterator[Row]:
        for row in rows:
            try:
                text, prompt = ("", "") if row.error else resolve(row)
                yield row._replace(text=text, prompt=prompt)
            except UserError as error:
                yield row._replace(error=str(error))

    return _some_good(each())


def text_of(row: Row, template: str | None = None) -> str:
    """The text to be answered: the column "inputs", or the template filled.

    Raises:
      UserError: it is not there, or is no text.
    """
    if isinstance(row.fields.get("inputs"), str):
        return row.fields["inputs"]
    if template is not None and "inputs" not in row.fields:
        parsed = own_data.parse_template(template, "INPUTS")
        return own_data.fill(parsed, row.fields, row.where)
    raise UserError(
        f'{row.where} has no "inputs" with a text; each object needs one, '
        '{"inputs": "..."}, and each table such a column'
    )


def _some_good(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; where none of the first is good, an error instead."""
    bad = []
    for row in rows:
        bad += [row] if row.error else []
        if not row.error or len(bad) == MOST_BAD:
            break
    else:
        row = None
    if bad and (row is None or row.error):
        raise UserError(bad[0].error)
    yield from bad
    if row is not None:
        yield row
    yield from rows


def _rows(source: str) -> Iterator[Row]:
    suffix = Path(source).suffix.lower()
    if suffix == ".json":
        raise _one_value(source)
    try:
        if source == "-":
            yield from _parsed(source, suffix, sys.stdin.buffer)
            return
        with Path(source).open("rb") as file:  # which may be a pipe, <(...)
            yield from _parsed(source, suffix, file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(_unreadable(source, error)) from None


def _unreadable(source: str, problem: object) -> str:
    return (
        f"the inputs {source!r} cannot be read ({problem}); give a UTF-8 file of "
        "text lines or JSON objects, or - for standard input"
    )


def _one_value(source: str) -> UserError:
    return UserError(
        f"the inputs {source!r} are a table or one JSON value; give a text, or a "
        'JSON object such as {"inputs": "..."}, in each line, or a .csv or .tsv'
    )


def _parsed(source: str, suffix: str, file: BinaryIO) -> Iterator[Row]:
    if suffix in own_data.DELIMITERS:
        lines = _lines(source, file, newline="")
        yield from _table(source, lines, own_data.DELIMITERS[suffix])
        return
    lines = _no_array(source, _lines(source, file, newline=None))
    for number, line in enumerate(lines, start=1):
        text, where = line.removesuffix("\n"), f"line {number} of {source}"
        if suffix == ".jsonl" and not text.strip():
            continue
        if not _is_utf_8(text):
            problem = _unreadable(source, f"line {number} is not UTF-8")
            yield Row(number, where, {}, error=problem)
        elif suffix == ".jsonl" or text.lstrip().startswith("{"):
            yield _object(text, number, where)
        else:
            yield Row(number, where, {"inputs": text})


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # what is none was read as surrogates
        return False
    return True


def _object(text: str, number: int, where: str) -> Row:
    try:
        fields = files.parse_json(text)
    except ValueError as error:
        problem = (
            f"{where} should be a JSON object but is not one ({error}); give one whole "
            "object a line, or plain text"
        )
        return Row(number, where, {}, error=problem)
    if isinstance(fields, dict):
        return Row(number, where, fields)
    problem = f'{where} has no "inputs" with a text; each line needs an object with one'
    return Row(number, where, {}, error=problem)


def _table(source: str, lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    for number, found in own_data.table(source, lines, delimiter):
        where = f"{source}, line {number}"
        if isinstance(found, UserError):
            yield Row(number, where, {}, error=str(found))
        elif not all(map(_is_utf_8, found.values())):
            problem = _unreadable(source, f"line {number} is not UTF-8")
            yield Row(number, where, {}, error=problem)
        else:
            yield Row(number, where, found)


# Bytes -> lines


class _Checked(io.RawIOBase):
    """A file of bytes, read as they come; it raises at a zero byte."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._first = file, name, True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = getattr(self._file, "read1", self._file.read)
        data = read(len(buffer))
        if self._first:
            files.check_pointer(data, self._name)
            self._first = False
        if b"\0" in data:
            files.text_of(data)  # raises
        buffer[: len(data)] = data
        return len(data)


def _lines(source: str, file: BinaryIO, newline: str | None) -> Iterator[str]:
    """The lines with their ends; bytes that are no UTF-8 as surrogates."""
    stream = io.TextIOWrapper(
        io.BufferedReader(_Checked(file, source), 2**16),
        encoding="utf-8-sig",
        errors="surrogateescape",
        newline=newline,
    )
    while line := stream.readline(MOST_LINE + 1):
        if len(line) > MOST_LINE:
            raise UserError(
                f"{source} has a line of more than {MOST_LINE:,} characters; give one "
                "text, or one JSON object, in each line"
            )
        yield line


def _no_array(source: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines, unless together they are one JSON array; a text may start as one."""
    head = []
    for line in lines:
        head.append(line)
        if len(head) == MOST_BAD or len("".join(head).strip().replace(" ", "")) > 1:
            break
    if re.match(r"\s*\[\s*[\[{\"\]]", "".join(head)):
        head += lines
        if _is_array("".join(head)):
            raise _one_value(source)
    return itertools.chain(head, lines)


def _is_array(text: str) -> bool:
    try:
        return isinstance(files.parse_json(text), list)
    except ValueError:
        return False
