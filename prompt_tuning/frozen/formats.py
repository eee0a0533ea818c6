"""Formats of T5 checkpoints: each becomes our parameter names and tensors to be read.

Opening a checkpoint reads names and shapes alone. A tensor, or the part of it that a
host needs, is read when it is asked for.
"""

import functools
import json
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from flax import serialization, traverse_util
from safetensors import SafetensorError, safe_open

from prompt_tuning.errors import UserError

Index = tuple[slice, ...]

RETRIES = 3  # of a request to a bucket, after 1, 2 and 4 seconds
CACHE = 2**28  # bytes of T5X's chunks, decoded: those of several devices are often one


class Tensor(NamedTuple):
    """An array in a file. read(index) gives the part at `index`, a slice an axis."""

    shape: tuple[int, ...]
    read: Callable[[Index], np.ndarray]

    @property
    def all(self) -> Index:
        return (slice(None),) * len(self.shape)


# What goes wrong in files that are damaged, half-written or out of reach.
READ_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
    msgpack.UnpackException,
)


def open_checkpoint(name: str) -> dict[str, Tensor]:
    """Looks what is at `name`, and gives its tensors by our parameters' names.

    Args:
      name: a .safetensors file; or a folder, here or in a bucket (gs://...): of T5X
        (the older format with zarr arrays, or Orbax), or of Hugging Face's transformers
        (.safetensors or pytorch_model.bin, in one file or several).

    Raises:
      UserError: nothing there, no such format, or not whole.
    """
    path = Path(name)
    bucket = name.startswith("gs://")
    try:
        if path.is_file():
            return _own(_open_safetensors(path))
        for index, whole, open_file in (
            ("model.safetensors.index.json", "model.safetensors", _open_safetensors),
            ("pytorch_model.bin.index.json", "pytorch_model.bin", _open_torch),
        ):
            if (path / index).is_file() or (path / whole).is_file():
                return hugging_face(_open_files(path, index, whole, open_file))
        if bucket or path.is_dir():
            if _exists(name, "checkpoint"):
                return _open_t5x(name)
            for item in ("", "/default", "/state", "/params"):  # "state" is T5X's
                if _exists(name + item, "_METADATA"):
                    _check_ended(name)
                    return _open_orbax(name + item)
    except READ_ERRORS as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"the checkpoint {name} cannot be read ({first_line(error)}); it must be "
            "whole, and a bucket within reach"
        ) from None
    raise UserError(
        f"no frozen model at {name!r}{_near(path)}. INITIAL_CHECKPOINT_PATH must be a "
        ".safetensors file, a folder of T5X, Orbax or Hugging Face's transformers, or "
        "pocket_nano, the model in the package"
    )


def first_line(error: Exception) -> str:
    """What an error says, shortly."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _near(path: Path) -> str:
    """What is in the folder instead, to end a message."""
    if not path.exists():
        return ": there is nothing of that name"
    if path.is_file():
        return ""
    steps = sorted(p.name for p in path.glob("checkpoint_*"))
    if steps:
        return f"; give one of the checkpoints in it, such as {steps[-1]}"
    there = sorted(p.name for p in path.iterdir())[:5]
    return f"; it holds {', '.join(there) or 'nothing'}"


# safetensors, of ours or Hugging Face's


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by the names in it."""
    try:
        file = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); make or copy it anew"
        ) from None

    def tensor(name: str) -> Tensor:
        part = file.get_slice(name)
        return Tensor(tuple(part.get_shape()), lambda index: part[index or ...])

    return {name: tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def _own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One file may be ours or, where it was copied from, Hugging Face's."""
    return hugging_face(tensors) if "shared.weight" in tensors else tensors


# Hugging Face's transformers

# Each layer's parts, by their place in it: the norm before, and what it is before.
_PARTS = {
    ("encoder", "0"): ("pre_attention_layer_norm", "attention"),
    ("encoder", "1"): ("pre_mlp_layer_norm", "mlp"),
    ("decoder", "0"): ("pre_self_attention_layer_norm", "self_attention"),
    ("decoder", "1"): ("pre_cross_attention_layer_norm", "encoder_decoder_attention"),
    ("decoder", "2"): ("pre_mlp_layer_norm", "mlp"),
}
_KERNELS = {"q": "query", "k": "key", "v": "value", "o": "out"}
_KERNELS |= {name: name for name in ("wi_0", "wi_1", "wo")}
_IN_LAYER = re.compile(
    r"(encoder|decoder)\.block\.(\d+)\.layer\.(\d)\.(?:layer_norm|"
    r"(?:SelfAttention|EncDecAttention|DenseReluDense)\.(\w+))\.weight"
)
_OUTSIDE = {
    "shared.weight": "token_embedder/embedding",
    "lm_head.weight": "decoder/logits_dense/kernel",
} | {
    name: ours
    for stack in ("encoder", "decoder")
    for name, ours in {
        f"{stack}.final_layer_norm.weight": f"{stack}/{stack}_norm/scale",
        f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
            f"{stack}/relpos_bias/rel_embedding"
        ),
    }.items()
}
_UNUSED = {
    "encoder.embed_tokens.weight",  # a copy of shared.weight
    "decoder.embed_tokens.weight",
    # In some old files; transformers leaves it out too.
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
}


def hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' T5ForConditionalGeneration under our names and layouts.

    Its kernels are [out, in] and ours [in, out]. Unknown names stay as they are.

    Raises:
      UserError: a T5 1.0, whose MLP has no gate or whose softmax is the embedding.
    """
    names = tensors.keys()
    if any(".wi.weight" in name for name in names) or (
        "shared.weight" in names and "lm_head.weight" not in names
    ):
        raise UserError(
            "the checkpoint is of a T5 1.0, or of another model whose softmax is its "
            "embedding: there is no lm_head.weight, or an MLP without gate. Give a "
            "T5 1.1, its LM adaptation, a Flan-T5 or an mT5"
        )
    return {
        our_name(name): _transposed(tensor) if name != "shared.weight" else tensor
        for name, tensor in tensors.items()
        if name not in _UNUSED
    }


def our_name(name: str) -> str:
    """Our name of a tensor of transformers; one that we do not have stays as it is."""
    if match := _IN_LAYER.fullmatch(name):
        stack, layer, place, kernel = match.groups()
        norm, part = _PARTS.get((stack, place), (None, None))
        if part and not kernel:
            return f"{stack}/layers_{layer}/{norm}/scale"
        if part and kernel in _KERNELS:
            return f"{stack}/layers_{layer}/{part}/{_KERNELS[kernel]}/kernel"
    return _OUTSIDE.get(name, name)


def _transposed(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape[::-1], lambda index: tensor.read(index[::-1]).T)


def _open_files(
    folder: Path, index: str, whole: str, open_file: Callable[[Path], dict]
) -> dict[str, Tensor]:
    """The tensors of one file, or of those that an index names."""
    files = {whole}
    if (folder / index).is_file():
        files = set(json.loads((folder / index).read_text())["weight_map"].values())
    for file in sorted(files):
        if not (folder / file).is_file():
            raise UserError(
                f"{folder / index} names {file}, which is not there: the checkpoint is "
                "not whole; copy the rest of it"
            )
    opened = (open_file(folder / file) for file in sorted(files))
    return functools.reduce(dict.__or__, opened)


def _open_torch(path: Path) -> dict[str, Tensor]:
    try:
        import torch  # of no use to anybody who has no such file
    except ImportError:
        raise UserError(
            f"{path} is a PyTorch file, and PyTorch is not installed: `pip install "
            "torch`, or copy the model's .safetensors instead"
        ) from None
    load = functools.partial(torch.load, path, map_location="cpu", weights_only=True)
    try:
        try:
            tensors = load(mmap=True)
        except RuntimeError:  # a file from before PyTorch 1.6 cannot be mapped
            tensors = load()
    except pickle.UnpicklingError:  # whose text proposes to run what is in the file
        raise UserError(
            f"{path} is damaged, or holds more than tensors; give the "
            "pytorch_model.bin that transformers saves"
        ) from None
    others = [name for name, value in tensors.items() if not torch.is_tensor(value)]
    if others:
        raise UserError(
            f"{path} holds more than a model's tensors ({others[0]}, say); give the "
            "pytorch_model.bin that transformers saves"
        )

    def tensor(value: Any) -> Tensor:
        def read(index: Index) -> np.ndarray:
            part = value[index]
            if part.dtype != torch.bfloat16:
                return part.numpy()
            return part.contiguous().view(torch.int16).numpy().view(jax.numpy.bfloat16)

        return Tensor(tuple(value.shape), read)

    return {name: tensor(value) for name, value in tensors.items()}


# T5X


def _exists(folder: str, name: str) -> bool:
    return _keys(folder).read(name).result().state == "value"


def _keys(folder: str) -> ts.KvStore:
    return ts.KvStore.open(_store(folder), context=_context()).result()


def _context() -> ts.Context:
    cache = {"total_bytes_limit": CACHE}
    retries = {"max_retries": RETRIES}
    return ts.Context({"cache_pool": cache, "gcs_request_retries": retries})


def _store(folder: str) -> dict[str, str]:
    if not folder.startswith("gs://"):
        return {"driver": "file", "path": f"{Path(folder).resolve()}/"}
    bucket, _, inside = folder.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": inside.rstrip("/") + "/"}


def _open_t5x(folder: str) -> dict[str, Tensor]:
    """The older format: an index in msgpack, the large arrays in zarr."""
    index = _keys(folder).read("checkpoint").result()
    tree = serialization.msgpack_restore(index.value)["optimizer"]["target"]
    flat = traverse_util.flatten_dict(
        tree, sep="/", is_leaf=lambda _, node: "kvstore" in node
    )
    context, store = _context(), _store(folder)

    def spec(leaf: dict[str, Any]) -> dict[str, Any]:
        inside = leaf["kvstore"]["path"].rstrip("/").split("/")[-1]
        return {
            "driver": leaf["driver"],
            "kvstore": store | {"path": f"{store['path']}{inside}/"},
            "fill_missing_data_reads": False,  # an error, not zeros
            "recheck_cached_data": False,
        }

    opening = {
        name: ts.open(spec(leaf), context=context)
        for name, leaf in flat.items()
        if not isinstance(leaf, np.ndarray)
    }
    return {
        name: Tensor(leaf.shape, leaf.__getitem__)
        if name not in opening
        else _stored(name, folder, opening[name])
        for name, leaf in flat.items()
    }


def _stored(name: str, folder: str, opening: ts.Future) -> Tensor:
    try:
        array = opening.result()
    except ValueError as error:
        raise UserError(
            f"the T5X checkpoint {folder} is not whole: {name} cannot be opened "
            f"({first_line(error)}); copy it again"
        ) from None
    return Tensor(
        tuple(array.shape), lambda index: np.asarray(array[index].read().result())
    )


def _check_ended(folder: str) -> None:
    """Raises unless Orbax marked the folder, or a step with it inside, as whole."""
    if not ocp.utils.is_checkpoint_finalized(_absolute(folder)):
        raise UserError(
            f"{folder} is not whole: whoever wrote it was stopped before the end; give "
            "a checkpoint that was finished"
        )


def _absolute(folder: str) -> str:
    return folder if folder.startswith("gs://") else str(Path(folder).resolve())


def _open_orbax(folder: str) -> dict[str, Tensor]:
    """Orbax: a tree that holds the parameters, or a T5X state that holds them."""
    checkpointer = ocp.PyTreeCheckpointer()
    where = _absolute(folder)  # as Orbax wants it
    tree = checkpointer.metadata(where).item_metadata.tree
    path = next(path for path in _PARAMS if _at(tree, path) is not None)
    flat = traverse_util.flatten_dict(_at(tree, path), sep="/")

    @functools.lru_cache(maxsize=1)  # several devices' parts of one tensor
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
        if hasattr(leaf, "shape")  # a state of an optimizer is a list
    }


# Where the parameters are in a tree that Orbax saved: T5X's, and ours or anybody's.
_PARAMS = (("target",), ("optimizer", "target"), ("params", "params"), ("params",), ())


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
