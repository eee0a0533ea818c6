"""Headers of zarr arrays, held against the files beside them.

TensorStore ends the process on some headers, and reserves whatever memory others ask
for. So it sees none that has not been looked at here.
"""

import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import storage

HEADER = ".zarray"
_MOST_HEADER = 2**16  # bytes
_MOST_RANK = 32
_MOST_ARRAY = 2**44  # bytes; a hundred times the largest T5
_DEFLATE = 1_040  # zlib and gzip make nothing smaller than a 1,032nd


class Header(NamedTuple):
    """The bytes of an array and of each of its chunks, unpacked; what packs a chunk."""

    array: int
    chunk: int
    packer: str | None


def headers(folder: str, names: Iterable[str]) -> dict[str, Header]:
    """What the arrays of a folder, here or in a bucket, say of themselves.

    Those that have no header are left out.

    Raises:
      UserError: a header cannot be meant.
    """
    local = "://" not in folder
    opening = {
        name: None if local else storage.keys(folder).read(f"{name}/{HEADER}")
        for name in names
    }
    out = {}
    for name, found in opening.items():
        try:
            if found is not None:
                data = found.result().value
            else:
                file = files.regular(Path(folder, name, HEADER), _MOST_HEADER)
                data = file.read_bytes()
            out |= {name: _header(data)} if data else {}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"the checkpoint {folder} is damaged: the array {name} cannot be "
                f"opened ({error}); copy it again"
            ) from None
    return out


def _header(data: bytes) -> Header:
    """Raises ValueError or TypeError: it describes no array."""
    found = files.parse_json(data)
    if not isinstance(found, dict):
        raise ValueError(f"{HEADER} holds no names and values")
    shape, chunks = (_sizes(found, key) for key in ("shape", "chunks"))
    kind = found.get("dtype")
    if not isinstance(kind, str) or len(shape) != len(chunks) or 0 in chunks:
        raise ValueError(f"{HEADER} has shape {shape}, chunks {chunks}, dtype {kind}")
    size = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
    packer = found.get("compressor") or {}
    array, chunk = (size * math.prod(axes) for axes in (shape, chunks))
    # A chunk may reach over the array's end.
    if array > _MOST_ARRAY or chunk > max(2 ** len(shape) * array, 2**20):
        raise ValueError(f"{HEADER} has shape {shape} in chunks of {chunks}")
    return Header(array, chunk, packer.get("id") if type(packer) is dict else None)


def _sizes(found: dict[str, Any], key: str) -> list[int]:
    value = found.get(key)
    if not isinstance(value, list) or len(value) > _MOST_RANK:
        raise ValueError(f"{HEADER} has no {key} that is a list of sizes")
    if not all(type(size) is int and 0 <= size <= _MOST_ARRAY for size in value):
        raise ValueError(f"{HEADER} has {key} {str(value)[:80]}")
    return value


def check_chunks(folder: Path, header: Header) -> None:
    """Raises ValueError unless each chunk's file here unpacks to a chunk's bytes."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        size = files.regular(path).stat().st_size
        deflated = header.packer in ("gzip", "zlib")
        if size > header.chunk * 1.01 + 2**10:  # what cannot be packed grows a little
            raise ValueError(f"{path.name} has more bytes than {HEADER} says")
        if deflated and header.chunk > size * _DEFLATE:
            raise ValueError(f"{path.name} has too few bytes for what {HEADER} says")
        says = _unpacked(path, header)
        if says is not None and says != header.chunk:
            raise ValueError(f"{path.name} unpacks to other bytes than {HEADER} says")


def _unpacked(path: Path, header: Header) -> int | None:
    """The bytes that a file unpacks to, if its format tells; some more than a chunk's.

    TensorStore takes a stream of zlib or gzip whose checksum is wrong, or which has no
    end, for whole. So it is tried here, in small parts.
    """
    with path.open("rb") as file:
        if header.packer == "blosc":  # in its header
            return int.from_bytes(file.read(8)[4:], "little")
        if header.packer not in ("gzip", "zlib"):
            return None
        unpacker, size = zlib.decompressobj(wbits=47), 0  # either of the two
        while part := unpacker.unconsumed_tail or file.read(2**16):
            try:
                size += len(unpacker.decompress(part, 2**20))
            except zlib.error as error:
                raise ValueError(f"{path.name}: {error}") from None
            if size > header.chunk or unpacker.eof:
                break
        whole = unpacker.eof and not unpacker.unused_data and not file.read(1)
        if size <= header.chunk and not whole:
            raise ValueError(f"{path.name} is no whole stream of {header.packer}")
        return size
