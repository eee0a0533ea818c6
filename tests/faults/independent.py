"""The same files read another way, with as little of our code as there can be.

What a reader accepts must be what is read here. Nothing here is a test.
"""

import ast
import csv
import gzip
import io
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": jnp.bfloat16, "BOOL": "?"}
TYPES |= {f"{s}{8 * n}": f"<{s.lower()}{n}" for s in "IU" for n in (1, 2, 4, 8)}


def safetensors(path: Path) -> dict[str, np.ndarray]:
    """All the arrays of a file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    said, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    out = {}
    for name, entry in said.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            kind = np.dtype(TYPES[entry["dtype"]])
            values = np.frombuffer(body[start:end], kind)
            out[name] = values.reshape(entry["shape"])
    return out


def sharded(folder: Path) -> dict[str, np.ndarray]:
    """All the arrays of the files that an index names."""
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8-sig"))
    out = {}
    for name in sorted(set(index["weight_map"].values())):
        out |= safetensors(folder / name)
    return out


def npy(path: Path) -> np.ndarray:
    """A prompt's array in float32."""
    array = np.load(path, allow_pickle=False)
    if array.dtype.str == "|V2":
        array = array.view(jnp.bfloat16)
    return array.astype(np.float32)


def zarr(folder: Path) -> np.ndarray:
    """An array in zarr's format 2, of chunks in gzip, zlib or as they are."""
    said = json.loads((folder / ".zarray").read_text("utf-8-sig"))
    kind, shape, chunks = np.dtype(said["dtype"]), said["shape"], said["chunks"]
    out = np.zeros(shape, kind)
    packer = (said["compressor"] or {}).get("id")
    unpack = {"gzip": gzip.decompress, "zlib": zlib.decompress, None: bytes}[packer]
    separator = said.get("dimension_separator", ".")
    for place in np.ndindex(*(-(-a // b) for a, b in zip(shape, chunks, strict=True))):
        data = unpack((folder / separator.join(map(str, place))).read_bytes())
        values = np.frombuffer(data, kind).reshape(chunks, order=said["order"])
        where = tuple(
            slice(i * n, min((i + 1) * n, m))
            for i, n, m in zip(place, chunks, shape, strict=True)
        )
        out[where] = values[tuple(slice(w.stop - w.start) for w in where)]
    return out


def t5x(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that the index of a checkpoint of T5X names or holds."""

    def array(code, data):
        shape, kind, values = msgpack.unpackb(data, raw=True)
        # A shape in bytes is one in small numbers.
        return np.frombuffer(values, kind.decode()).reshape(tuple(shape))

    data = (folder / "checkpoint").read_bytes()
    tree = msgpack.unpackb(data, ext_hook=array, strict_map_key=False)
    out = {}

    def walk(node, name):
        if isinstance(node, dict) and "kvstore" in node:
            path = node["kvstore"]["path"].rstrip("/").split("/")[-1]
            out[name[1:]] = zarr(folder / path)
        elif isinstance(node, dict):
            for key, part in node.items():
                walk(part, f"{name}/{key}")
        else:
            out[name[1:]] = node

    walk(tree["optimizer"]["target"], "")
    return out


def pieces(path: Path) -> list[str]:
    """The texts of a SentencePiece model's pieces."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    return [piece.piece for piece in model.pieces]


def text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def table(path: Path, delimiter: str) -> list[dict]:
    reader = csv.DictReader(io.StringIO(text(path), newline=""), delimiter=delimiter)
    return list(reader)


def json_lines(path: Path) -> list[Any]:
    lines = re.split(r"\r\n|\r|\n", text(path))
    return [json.loads(line) for line in lines if line.strip()]


def inputs(path: Path) -> list[dict]:
    """What `predict` is to answer."""
    lines = re.split(r"\r\n|\r|\n", text(path))
    lines = lines if lines[-1] else lines[:-1]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in lines if line.strip()]
    said = (json.loads(x) if x.lstrip()[:1] == "{" else {"inputs": x} for x in lines)
    return list(said)


def gin(content: str) -> dict[str, Any] | None:
    """{name: value} of a gin file by Python's own grammar; None where it is not."""
    macro = re.sub(r"%(\w+)", r"__macro('\1')", content)
    try:
        tree = ast.parse(re.sub(r"(?m)^\w+(?=/\w)", "", macro))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    out: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            return None
        try:
            out[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None  # a macro
    return out


def same(ours: Any, theirs: Any) -> bool:
    """Equality of what JSON and arrays make, NaN as itself, 1 not as True."""
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape:
            return False
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        return bool(np.array_equal(ours, theirs, equal_nan=True))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(
            same(ours[key], theirs[key]) for key in ours
        )
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(same(*pair) for pair in pairs)
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    return type(ours) is type(theirs) and ours == theirs
