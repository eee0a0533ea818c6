"""safetensors files, ours or Hugging Face's, with the names in the file."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats.tensors import Tensor


def open_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by the names in it.

    Raises:
      UserError: the file is not whole.
    """
    try:
        file = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); make or copy it again"
        ) from None

    def tensor(name: str) -> Tensor:
        part = file.get_slice(name)
        return Tensor(tuple(part.get_shape()), lambda index: part[index or ...])

    return {name: tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
