"""safetensors files, ours or Hugging Face's, with the names in the file."""

import collections
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats.tensors import Tensor
from prompt_tuning.outputs import atomic, is_writer

# What NumPy and JAX can read; there are 4- and 8-bit floats besides.
_TYPES = {"F64", "F32", "F16", "BF16", "BOOL"}
_TYPES |= {f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)}


def open_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by the names in it.

    Raises:
      UserError: the file is not whole.
    """
    try:
        file = safe_open(files.regular(path), framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); make or copy it again"
        ) from None

    def tensor(name: str) -> Tensor:
        part = file.get_slice(name)
        if part.get_dtype() not in _TYPES:
            raise UserError(
                f"{path}: {name} is of type {part.get_dtype()}, which cannot be read; "
                "give a checkpoint in float32, bfloat16 or float16"
            )
        return Tensor(tuple(part.get_shape()), lambda index: part[index or ...])

    return {name: tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "int8": "I8"}


def write(
    path: Path,
    shapes: Mapping[str, tuple[tuple[int, ...], Any]],
    tensors: Iterable[np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a file tensor by tensor, which the library cannot do.

    The format is the header's length in 8 bytes, the header in JSON, then the data.

    Args:
      shapes: {name: (shape, type)} of the tensors, in their order.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for key, (shape, dtype) in shapes.items():
        start, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        name, offsets = _NAMES[np.dtype(dtype).name], [start, end]
        header[key] = {"dtype": name, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if not is_writer():  # it only helps to gather them
        collections.deque(tensors, maxlen=0)
        return
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            file.write(np.ascontiguousarray(tensor).view(np.uint8).data)
