"""Folders of Orbax: T5X's newer format, and training states, ours and others'."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import zarr
from prompt_tuning.frozen.formats.tensors import Tensor


def check_ended(folder: str) -> None:
    """Raises UserError unless Orbax marked the folder, or its parent step, as whole."""
    if not ocp.utils.is_checkpoint_finalized(_absolute(folder)):
        raise UserError(
            f"{folder} is not whole: writing it was stopped before the end; give a "
            "checkpoint that was finished"
        )


def _absolute(folder: str) -> str:
    return folder if folder.startswith("gs://") else str(Path(folder).resolve())


def open_folder(folder: str) -> dict[str, Tensor]:
    """The tensors of a tree, or of a T5X state, that holds the parameters.

    Raises:
      UserError: it is damaged.
    """
    checkpointer = ocp.PyTreeCheckpointer()
    where = _absolute(folder)  # Orbax wants an absolute path
    if "://" not in folder:
        for path in Path(folder).rglob("*"):  # a pipe would be waited on
            if not path.is_dir():
                said = path.name.startswith((".", "_", "manifest"))
                files.regular(path, files.MOST_JSON if said else None)
        # Arrays in folders of their own; others have checksums.
        names = [path.parent.name for path in Path(folder).glob(f"*/{zarr.HEADER}")]
        for name, header in zarr.headers(folder, names).items():
            zarr.check_chunks(Path(folder, name), header)
    found = checkpointer.metadata(where).item_metadata
    if found is None:
        raise UserError(
            f"{folder} is damaged: Orbax cannot read which tensors are in it; copy the "
            "checkpoint again"
        )
    tree = found.tree
    if not isinstance(tree, dict):
        raise UserError(
            f"{folder} holds no names of tensors, and so no model; give a checkpoint "
            "of a T5, or copy it again"
        )
    path = next(path for path in _PARAMS if _at(tree, path) is not None)
    flat: dict[str, Any] = traverse_util.flatten_dict(_at(tree, path), sep="/")

    @functools.lru_cache(maxsize=1)  # for several devices' parts of a tensor
    def whole(name: str) -> np.ndarray:
        item = traverse_util.unflatten_dict({(*path, *name.split("/")): 0})
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item
        )
        args = ocp.args.PyTreeRestore(item, as_numpy, partial_restore=True)
        (array,) = jax.tree.leaves(checkpointer.restore(where, args=args))
        return array

    return {
        name: Tensor(tuple(leaf.shape), lambda index, name=name: whole(name)[index])
        for name, leaf in flat.items()
        if hasattr(leaf, "shape")  # an optimizer's state has lists
    }


# Where a tree that Orbax saved may hold the parameters: in T5X's, ours, or others'.
_PARAMS = (("target",), ("optimizer", "target"), ("params", "params"), ("params",), ())


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
