"""Other people's files: what they are is looked at before they are read.

A pipe would be waited on for ever, a device read for ever, and a few kilobytes may say
that they hold terabytes.
"""

import io
import json
import math
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prompt_tuning.errors import UserError

MOST_JSON = 2**26  # bytes; the indices of the largest models have under 2**21
MOST_TEXT = 2**32  # bytes of rows, which are read into memory
MOST_DEPTH = 100  # of brackets in JSON
MOST_DIGITS = 300  # of a number in JSON; a float has no more
GIT_LFS = b"version https://git-lfs.github.com/spec/"


def regular(path: Path, most: int | None = None) -> Path:
    """The path, of a file that can be read in one go.

    Args:
      most: the bytes that it may have.

    Raises:
      OSError: nothing is there, or out of reach.
      UserError: it is a pipe or a device, larger than `most`, or what Git LFS leaves in
        a file's place.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "it is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is a pipe or a device; give the path of a file")
    if most is not None and found.st_size > most:
        raise UserError(
            f"{path} has {found.st_size:,} bytes; such a file has {most:,} at most: "
            "give the right one"
        )
    with path.open("rb") as file:
        check_pointer(file.read(len(GIT_LFS)), path)
    return path


def check_pointer(start: bytes, name: object) -> None:
    """Raises UserError if a file starts as what Git LFS leaves in another's place."""
    if start.startswith(GIT_LFS):
        raise UserError(
            f"{name} is a pointer of Git LFS, not the file itself: get that with "
            "`git lfs pull`, or download it"
        )


def text_of(data: bytes) -> str:
    """Text in UTF-8, with or without a byte-order mark.

    Raises:
      UnicodeDecodeError: it is none; or it has a zero byte, as UTF-16 has, whose bytes
        may well be valid UTF-8.
    """
    if (at := data.find(b"\0")) >= 0:
        reason = "a zero byte, which is in UTF-16 or in what is no text"
        raise UnicodeDecodeError("utf-8", data, at, at + 1, reason)
    return data.decode("utf-8-sig")


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text, without their ends.

    A line ends at a line feed, a carriage return or both. str.splitlines() would end
    one at U+2028 and the like too, which may stand inside JSON and inside sentences.
    """
    for line in io.StringIO(text, newline=None):
        yield line.removesuffix("\n")


def read_stream(file: BinaryIO, most: int = MOST_TEXT) -> bytes:
    """All of a file or pipe of text; it stops where that ends, at a zero byte.

    Raises:
      UserError: there are more than `most` bytes.
    """
    parts, size = [], 0
    while part := file.read(2**20):
        parts.append(part)
        size += len(part)
        if b"\0" in part:
            break
        if size > most:
            raise UserError(f"there are more than {most:,} bytes; give them in parts")
    return b"".join(parts)


def read_json(path: Path, mend: str) -> Any:
    """What a JSON file holds.

    Args:
      mend: what to do where it is damaged, to end the message.

    Raises:
      UserError: it cannot be read, whatever the reason.
    """
    try:
        return parse_json(regular(path, MOST_JSON).read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        problem = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read ({problem}); {mend}") from None


def parse_json(
    text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """JSON as the standard has it: finite numbers, whole characters.

    Args:
      pairs: what is made of an object's names and values, instead of a dict.

    Raises:
      ValueError: there is anything else in it; or brackets more than 100 deep, or
        numbers of more than 300 digits.
    """
    text = text_of(text) if isinstance(text, bytes) else text
    try:
        value = json.loads(
            text,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=pairs or _names,
        )
        _check_depth(value, 0)
    except RecursionError:
        raise ValueError(_DEEP) from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(
                "a \\u escape is half of a pair that makes a character"
            ) from None
    return value


_DEEP = f"brackets are more than {MOST_DEPTH} deep"


def _check_depth(value: Any, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise ValueError(_DEEP)
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, dict | list | tuple):
                _check_depth(part, depth + 1)


def _names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number has {len(text):,} digits")
    return int(text)
