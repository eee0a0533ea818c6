"""T5X's older format: an index in msgpack, and large arrays in zarr."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from flax import serialization, traverse_util

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import storage, zarr
from prompt_tuning.frozen.formats.tensors import Index, Tensor, first_line

_MOST_INDEX = 2**32  # bytes; it holds an array itself where that is small


def open_folder(folder: str) -> dict[str, Tensor]:
    """The parameters of a checkpoint, here or in a bucket, opened concurrently.

    Raises:
      UserError: an array that the index names is missing.
    """
    tree = serialization.msgpack_restore(_index(folder))["optimizer"]["target"]
    if not isinstance(tree, dict):
        raise UserError(
            f"the T5X checkpoint {folder} is damaged: its index names no "
            "parameters; copy it again"
        )
    flat: dict[str, Any] = traverse_util.flatten_dict(
        tree, sep="/", is_leaf=lambda _, node: "kvstore" in node
    )
    context, store = storage.context(), storage.store(folder)

    def inside(leaf: dict[str, Any]) -> str:
        return leaf["kvstore"]["path"].rstrip("/").split("/")[-1]

    arrays = [leaf for leaf in flat.values() if not isinstance(leaf, np.ndarray)]
    if any(leaf["driver"] != "zarr" for leaf in arrays):
        raise UserError(f"the arrays of {folder} are not zarr, as T5X writes them")
    headers = zarr.headers(folder, map(inside, arrays))

    def spec(leaf: dict[str, Any]) -> dict[str, Any]:
        return {
            "driver": "zarr",
            "kvstore": store | {"path": f"{store['path']}{inside(leaf)}/"},
            "fill_missing_data_reads": False,  # raise an error, do not return zeros
            "recheck_cached_data": False,
        }

    def check(name: str) -> Callable[[], None]:
        if "://" in folder or name not in headers:
            return lambda: None
        return functools.cache(
            lambda: zarr.check_chunks(Path(folder, name), headers[name])
        )

    opening = {
        name: ts.open(spec(leaf), context=context)
        for name, leaf in flat.items()
        if not isinstance(leaf, np.ndarray)
    }
    return {
        name: Tensor(leaf.shape, leaf.__getitem__)
        if name not in opening
        else _stored(name, folder, opening[name], check(inside(leaf)))
        for name, leaf in flat.items()
    }


def _index(folder: str) -> bytes:
    if "://" in folder:
        return storage.keys(folder).read("checkpoint").result().value
    return files.regular(Path(folder, "checkpoint"), _MOST_INDEX).read_bytes()


def _stored(
    name: str, folder: str, opening: ts.Future, check: Callable[[], None]
) -> Tensor:
    try:
        array = opening.result()
    except ValueError as error:
        raise UserError(
            f"the T5X checkpoint {folder} is not whole: {name} cannot be opened "
            f"({first_line(error)}); copy it again"
        ) from None

    def read(index: Index) -> np.ndarray:
        check()
        return np.asarray(array[index].read().result())

    return Tensor(tuple(array.shape), read)
