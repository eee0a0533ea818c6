"""safetensors files, ours or Hugging Face's, with the names in the file."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats.tensors import Tensor

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
