"""Ways to damage an input, each the same for the same seed. Nothing here is a test.

Half of them know nothing of what they damage. The others know its format, and so reach
further: a header or JSON in which one value is another, sound in all else.
"""

import ast
import contextlib
import gzip
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
from safetensors import numpy as safetensors

DEEP = 100_000
ODD = [b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"NaN", b"1e999", b"-1", b"[]"]
ODD += [b"{}", b"null", b"true", b'"', b"\n", b"\r", b"\t", b"[" * DEEP, b"1" * 5_000]
ODD += [b"9223372036854775808", b"4611686018427387904", b"0", b'{"a":' * (DEEP // 2)]
ODD += [b"F8_E4M3", "\u2028".encode(), b"\x85", b"\x1c", b"\xef\xbb\xbf", b"{", b"}"]
ODD += [b"'", b",", b"\\", b"%", b"@", b"-Infinity", b"<extra_id_0>", b"~", b"1e5"]
WHOLE = [b"", b"\n", b"[]", b"{}", b"null", b"PK\3\4", b"\x80\4N.", b"\0" * 100]
WHOLE += [b"[" * DEEP, b"9" * 5_000, b"version https://git-lfs.github.com/spec/v1\n"]
WHOLE += [gzip.compress(b"{}\n" * 10_000_000), b"\n" * 100_000, b"\x1f\x8b\x08\0"]
WHOLE += [b"<!DOCTYPE html><html>404</html>", "ä".encode("utf-16"), b"\xef\xbb\xbf"]
WHOLE += [safetensors.save({"a": np.ones((2, 3), np.float32)})]
# Each as a value of JSON, of msgpack and of Python.
VALUES = [None, True, False, 0, -1, 1, 2, 3, 4, 1.5, 10**9, 2**31, 2**63, 2**64 - 1]
VALUES += [10**30, 1e300, "", "x", "5", "\U0001f600", "..", "/etc/passwd", "a/b", "\0"]
VALUES += [
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    "F32",
    "F8_E4M3",
    "BF16",
    "<f4",
    "|O",
    "x" * 999,
]
VALUES += [[0], [1, 1], [10**9, 10**9], [-1, 2], [2**62, 4], [1] * 40, [True], ["a"]]


def damage(
    path: Path,
    seed: int,
    text: bool = False,
    piped: bool = False,
    made: bool = False,
) -> str:
    """Damages one file of an input, and says how.

    Args:
      text, piped, made: as in kinds.Kind.
    """
    rng = random.Random(seed)
    file = _choose(path, rng)
    places = [place for place in PLACES if not (made or (piped and place is pipe))]
    way = rng.choice(BLIND if text else [*BLIND, *places, *STRUCTURED * 2])
    if way in PLACES:
        way(file, rng)
    else:
        data = file.read_bytes()
        at = rng.randrange(min(len(data), rng.choice((100, 2_000, 10**9))) or 1)
        try:
            changed = way(data, at, rng)
        except _Unfit:
            changed = flip(data, at, rng)
        file.write_bytes(changed)
    return f"{file.name}, {way.__name__}"


def _choose(path: Path, rng: random.Random) -> Path:
    there = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    beside = path.with_suffix(".json")
    there += [beside] if path.is_file() and beside.is_file() and beside != path else []
    # Headers break more than what they are of.
    heads = [p for p in there if p.suffix == ".json" or p.name.startswith((".", "_"))]
    return rng.choice(sorted(heads if heads and rng.random() < 0.5 else there))


class _Unfit(Exception):
    """The way does not fit the bytes."""


# Bytes


def flip(data, at, rng):
    data = bytearray(data)
    for place in [at, *rng.choices(range(max(len(data), 1)), k=rng.randrange(4))]:
        data[place : place + 1] = bytes([rng.randrange(256)])
    return bytes(data)


def cut(data, at, rng):
    return data[:at] + (b"" if rng.random() < 0.5 else data[at + rng.randrange(9) :])


def insert(data, at, rng):
    return data[:at] + rng.choice(ODD) + data[at:]


def swap(data, at, rng):
    return data[:at] + rng.choice(ODD) + data[at + rng.randrange(1, 20) :]


def number(data, at, rng):
    digits = [i for i, byte in enumerate(data[:5_000]) if byte in b"0123456789"]
    at = rng.choice(digits or [at])
    return data[:at] + rng.choice(ODD) + data[at + 1 :]


def double(data, at, rng):
    return data[:at] + data[at : at + 50] * 2 + data[at + 50 :]


def zero(data, at, rng):
    size = rng.choice((1, 8, 100, len(data)))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def splice(data, at, rng):
    other = rng.choice(WHOLE)[:5_000]
    return data[:at] + other[rng.randrange(len(other) or 1) :] + data[at:]


def grow(data, at, rng):
    return data + rng.choice((data, bytes(9), b"\n", b"x", b"\n\n\n"))


def whole(data, at, rng):
    return rng.choice(WHOLE)


def encode(data, at, rng):
    """The same text as other programs save it."""
    with contextlib.suppress(UnicodeError):
        text = data.decode()
        names = "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp1252"
        return text.encode(rng.choice((*names, "utf-8-sig")), "replace")
    raise _Unfit


def line_ends(data, at, rng):
    ends = (b"\r\n", b"\r", b"\n\n", "\u2028".encode(), b"\x0b", b"\0\n")
    return data.replace(b"\n", rng.choice(ends))


# Structure: what holds JSON, and what a change of one value in it makes


def _changed(value, rng):
    """The value with one thing in it, at any depth, another."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = value.copy()
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        fate = rng.random()
        if fate < 0.1:
            del value[key]
        elif fate < 0.2 and isinstance(value, dict):
            value[rng.choice(("", "x", "__proto__", "a/b", f"{key} "))] = value.pop(key)
        else:
            value[key] = _changed(value[key], rng)
        return value
    if rng.random() < 0.05:
        nested: list = []
        for _ in range(rng.choice((50, 150))):
            nested = [nested]
        return nested
    return rng.choice(VALUES)


def _json(data):
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise _Unfit from None


def json_value(data, at, rng):
    """One value of JSON, or of a line of it."""
    lines = data.split(b"\n")
    if len(lines) > 2:
        with contextlib.suppress(_Unfit):
            number = rng.randrange(len(lines))
            text = json.dumps(_changed(_json(lines[number]), rng))
            lines[number] = text.encode()
            return b"\n".join(lines)
    return json.dumps(_changed(_json(data), rng)).encode()


def json_twice(data, at, rng):
    """A name that stands twice in one object."""
    names = data.count(b'": ') + data.count(b'":')
    if not names or b"{" not in data:
        raise _Unfit
    start = data.index(b"{") + 1
    end = data.find(b",", start)
    if end < 0:
        raise _Unfit
    return data[: end + 1] + data[start:end] + b"," + data[end + 1 :]


def header(data, at, rng):
    """One value in the header of a .safetensors or .npy file."""
    if data.startswith(b"\x93NUMPY"):
        return _npy_header(data, rng)
    size = int.from_bytes(data[:8], "little")
    if not 0 < size < len(data):
        raise _Unfit
    text = json.dumps(_changed(_json(data[8 : 8 + size]), rng)).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _npy_header(data, rng):
    size = int.from_bytes(data[8:10], "little")
    said = ast.literal_eval(data[10 : 10 + size].decode())
    wrong = {"shape": (1, 1), "descr": "<f4", "fortran_order": True}
    shapes = [(), (48,), (3, 4, 4), (16, 3), (10**9, 10**9), (-3, -16), (0, 0), (2, 16)]
    kinds = ["<f8", ">f4", "<i4", "|O", "<f2", "|V2", "<M8[s]", "|b1", [("a", "<f4")]]
    kinds += ["<U4", "<c8", "<V4", "", 5, "|u1", "<f16", (("<f4"), (2,))]
    key = rng.choice(list(wrong))
    value = {"shape": shapes, "descr": kinds, "fortran_order": [True, 1, "x"]}[key]
    text = (repr(said | {key: rng.choice(value)}).ljust(size - 1) + "\n").encode()
    return data[:8] + len(text).to_bytes(2, "little") + text + data[10 + size :]


def packed(data, at, rng):
    """One value of msgpack."""
    try:
        found = msgpack.unpackb(data, strict_map_key=False)
        return msgpack.packb(_changed(found, rng))
    except Exception:
        raise _Unfit from None


def zipped(data, at, rng):
    """What a gzip file holds, packed again; or more of it."""
    if not data.startswith(b"\x1f\x8b"):
        raise _Unfit
    with gzip.open(io.BytesIO(data)) as file:
        try:
            text = file.read(2**20)
        except Exception:
            raise _Unfit from None
    way = rng.choice((flip, cut, insert, swap, double, json_value, line_ends, whole))
    with contextlib.suppress(_Unfit):
        text = way(text, rng.randrange(len(text) or 1), rng)
    return gzip.compress(text[: 2**22])


# Something else in the file's place


def pipe(file, rng):
    file.unlink()
    os.mkfifo(file)


def folder(file, rng):
    file.unlink()
    file.mkdir()


def link(file, rng):
    to = rng.choice(("/dev/zero", "/dev/null", "nowhere", file.name, ".", "/"))
    file.unlink()
    file.symlink_to(to)


def sparse(file, rng):
    os.truncate(file, rng.choice((2**33, 2**40)))


def gone(file, rng):
    file.unlink()


Way = Callable[[bytes, int, random.Random], bytes]
BLIND: tuple[Way, ...] = (flip, cut, insert, swap, number, double, zero, splice, grow)
BLIND += (whole, encode, line_ends)
STRUCTURED: tuple[Way, ...] = (json_value, json_twice, header, packed, zipped)
PLACES = (pipe, folder, link, sparse, gone)


# Putting it right again


def snapshot(folder: Path) -> dict[Path, bytes]:
    """The files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def restore(folder: Path, files: dict[Path, bytes]) -> None:
    """Makes a folder hold these files again, and nothing else."""
    folders = {parent for path in files for parent in path.parents}
    for path in list(folder.rglob("*")):
        if path in folders and not path.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path not in files or path.is_symlink() or not path.is_file():
            path.unlink(missing_ok=True)
    for path, data in files.items():
        if (
            not path.exists()
            or path.stat().st_size != len(data)
            or path.read_bytes() != data
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
