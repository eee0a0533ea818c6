"""Parts of one official file, to train and to validate on where there is no other.

    parts={"train": by_place(0, 80), "validation": by_place(80, 100)}

The same examples are in a part whenever, and wherever, the file is read.
"""

import functools
import zlib
from collections.abc import Callable

from prompt_tuning.tasks.files import Pieces, Record

Part = Callable[[Pieces], Pieces]


def by_place(start: int, end: int) -> Part:
    """The pieces from `start` to `end` percent of the file.

    Where neighbours are alike, as paragraphs of one article, leave a gap between parts.
    """

    def part(pieces: Pieces) -> Pieces:
        every = list(pieces)
        return iter(every[len(every) * start // 100 : len(every) * end // 100])

    return part


def by_text(field: str, start: int, end: int) -> Part:
    """The records whose `field` has a hash from `start` to `end` percent.

    So records of the same text, as several questions on one passage, stay together.
    """

    def is_inside(record: Record) -> bool:
        percent = zlib.crc32(str(record.get(field)).encode(errors="replace")) % 100
        return start <= percent < end

    def part(pieces: Pieces) -> Pieces:
        for where, parse in pieces:
            yield where, functools.partial(_filtered, parse, is_inside)

    return part


def _filtered(
    parse: Callable[[], list[Record]], is_inside: Callable[[Record], bool]
) -> list[Record]:
    return [record for record in parse() if is_inside(record)]
