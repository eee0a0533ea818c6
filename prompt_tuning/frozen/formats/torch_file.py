"""PyTorch's files, such as pytorch_model.bin, if PyTorch is installed."""

import functools
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats.tensors import Index, Tensor


def open_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by the names in it.

    Raises:
      UserError: PyTorch is not installed, or the file holds more than tensors.
    """
    files.regular(path)
    try:
        # Optional: only these files need it.
        import torch  # pyright: ignore[reportMissingImports]
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
    except pickle.UnpicklingError:  # its own message proposes to run the file's code
        raise UserError(
            f"{path} is damaged, or holds more than tensors; give the "
            "pytorch_model.bin that transformers saves"
        ) from None
    others = [name for name, value in tensors.items() if not torch.is_tensor(value)]
    if others:
        raise UserError(
            f"{path} holds more than a model's tensors (such as {others[0]}); give the "
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
