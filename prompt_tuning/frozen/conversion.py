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

    Raises:
      UserError: as load_frozen; or `model` is in int8, which only exists once loaded.
    """
    _check_dtype(model.config.param_dtype)
    if output.suffix != ".safetensors":
        raise UserError(f"--output is {str(output)!r}; it must end in .safetensors")
    _check_vocabulary(name, output)
    tensors = weights.fitting_tensors(name, model)
    types = _types(tensors, model, model.config.param_dtype)
    shapes = {key: (x.shape, types[key]) for key, x in tensors.items()}
    values = (_value(name, key, x).astype(types[key]) for key, x in tensors.items())
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
            "a checkpoint is written in float32 or bfloat16, and either is rounded to "
            "int8 while it is read: give T5Config.param_dtype=int8 to `train` instead"
        )


def _types(
    tensors: Mapping[str, formats.Tensor], model: Transformer, dtype: str
) -> dict[str, np.dtype]:
    """The types in which a model of a param_dtype is kept: norms stay float32."""
    config = dataclasses.replace(model.config, scan_layers=False, param_dtype=dtype)
    shapes = partitioning.param_shapes(Transformer(config))
    kept: dict[str, Any] = traverse_util.flatten_dict(shapes, sep="/")
    return {key: np.dtype(kept[key].dtype) for key in tensors}


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
