"""Frozen models written anew: in our format, or as transformers loads them.

Either reads any checkpoint that load_frozen reads, tensor by tensor.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights
from prompt_tuning.frozen.formats import (
    config_json,
    hugging_face,
    safetensors_file,
    tokenizer_json,
)
from prompt_tuning.frozen.vocabulary import Vocabulary, check_vocabulary
from prompt_tuning.outputs import check_own_folder, write_json
from prompt_tuning.t5.network import Transformer


def convert(name: str, model: Transformer, output: Path) -> None:
    """Writes a checkpoint in our format, in the model's param_dtype.

    In int8 it is what load_frozen makes of the checkpoint in int8.

    Raises:
      UserError: as load_frozen.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"--output is {str(output)!r}; it must end in .safetensors")
    _check_vocabulary(name, output)
    tensors = weights.fitting_tensors(name, model)
    kept = _kept(model, model.config.param_dtype)
    shapes = {key: (kept[key].shape, np.dtype(kept[key].dtype)) for key in sorted(kept)}
    values = (
        part
        for key, tensor in tensors.items()
        for part in _parts(name, key, tensor, shapes[key][1])
    )
    safetensors_file.write(output, shapes, values)
    beside, origin = weights.find_vocabulary(name), {"converted_from": name}
    weights.write_beside(output, model.config, beside, origin)


def to_hugging_face(
    name: str,
    model: Transformer,
    vocabulary: Vocabulary,
    folder: Path,
    dtype: str | None = None,
) -> None:
    """Writes a checkpoint as a folder that transformers loads, tokenizer included.

    A head that is tied but not scaled, which only transformers 5 knows, is written as
    one of its own, so that every version computes the same.

    Args:
      dtype: of the kernels and tables, as T5Config.param_dtype; None: each tensor keeps
        the type that it has.

    Raises:
      UserError: as load_frozen; int8 is asked for; the folder holds something else.
    """
    _check_dtype(dtype or "float32")
    check_vocabulary(vocabulary.vocab_size, model.config.vocab_size)
    tensors = weights.fitting_tensors(name, model)
    types = _types(tensors, model, dtype) if dtype else _stored_types(name, tensors)
    config = model.config
    if config.tied_head and not config.scale_decoder_outputs:
        config = dataclasses.replace(config, tied_head=False)
        tensors[_HEAD] = hugging_face.transposed(tensors[_TABLE])
        types[_HEAD] = types[_TABLE]
    tokenizer = tokenizer_json.files(vocabulary)
    check_own_folder(folder, WRITTEN)
    theirs = hugging_face.named(tensors)
    shapes = {
        their: (tensor.shape, types[key]) for their, (key, tensor) in theirs.items()
    }
    values = (
        _value(name, key, tensor).astype(types[key]) for key, tensor in theirs.values()
    )
    file = folder / hugging_face.WEIGHTS
    safetensors_file.write(file, shapes, values, {"format": "pt"})
    kind = np.dtype(types[_TABLE]).name
    write_json(folder / config_json.NAME, config_json.written(config, kind))
    write_json(folder / GENERATION, config_json.IDS)
    for file_name, content in tokenizer.items():
        write_json(folder / file_name, content)
    if vocabulary.file:
        weights.write_vocabulary(folder, vocabulary.file)


_HEAD, _TABLE = "decoder/logits_dense/kernel", "token_embedder/embedding"
GENERATION = "generation_config.json"
WRITTEN = {config_json.NAME, hugging_face.WEIGHTS, GENERATION, weights.VOCABULARY}
WRITTEN |= {tokenizer_json.SETTINGS, tokenizer_json.TOKENIZER}


def _check_dtype(dtype: str) -> None:
    if dtype == "int8":
        raise UserError(
            "transformers has no int8 as this package writes it: give T5Config."
            "param_dtype float32 or bfloat16, or leave out --format"
        )


def _types(
    tensors: Mapping[str, formats.Tensor], model: Transformer, dtype: str
) -> dict[str, np.dtype]:
    """The types in which a model of a param_dtype is kept: norms stay float32."""
    kept = _kept(model, dtype)
    return {key: np.dtype(kept[key].dtype) for key in tensors}


def _kept(model: Transformer, dtype: str) -> dict[str, Any]:
    """The shapes and types in a file of a model of a param_dtype, by name."""
    config = dataclasses.replace(model.config, scan_layers=False, param_dtype=dtype)
    shapes = partitioning.param_shapes(Transformer(config))
    return traverse_util.flatten_dict(shapes, sep="/")


def _parts(
    name: str, key: str, tensor: formats.Tensor, dtype: np.dtype
) -> list[np.ndarray]:
    """All of a tensor in a type; int8 is followed by its scales."""
    if dtype != np.int8:
        return [_value(name, key, tensor).astype(dtype)]
    if not tensor.rounded:
        return weights.as_int8(key, _value(name, key, tensor))
    numbers, scales = tensor.rounded
    rounded = weights.read(name, key, numbers, numbers.all, np.int8)
    return [rounded, _value(name, f"{key}_scale", scales).astype(np.float32)]


def _stored_types(
    name: str, tensors: Mapping[str, formats.Tensor]
) -> dict[str, np.dtype]:
    """The types that the tensors have, by their first numbers; float64 is rounded."""

    def stored(key: str, tensor: formats.Tensor) -> np.dtype:
        first = tuple(slice(0, 1) for _ in tensor.shape)
        found = weights.read(name, key, tensor, first).dtype
        return np.dtype(np.float32) if found.itemsize > 4 else found

    return {key: stored(key, tensor) for key, tensor in tensors.items()}


def _value(name: str, key: str, tensor: formats.Tensor) -> np.ndarray:
    """All of a tensor, which must be finite."""
    values = weights.read(name, key, tensor, tensor.all)
    weights.check_finite(name, {key: np.isfinite(values).all()})
    return values


def _check_vocabulary(name: str, output: Path) -> None:
    """Raises UserError if another vocabulary than `name`'s is beside `output`."""
    old, new = output.parent / weights.VOCABULARY, weights.find_vocabulary(name)
    if old.is_file() and not (new and old.read_bytes() == new.read_bytes()):
        raise UserError(
            f"{old} exists, and is not the vocabulary of {name}; give --output another "
            "folder, as a model's vocabulary lies beside it"
        )
