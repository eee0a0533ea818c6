"""A checkpoint's tensors, which can be read in parts, and the errors of reading."""

import contextlib
import pickle
import tokenize
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgpack
import numpy as np
from safetensors import SafetensorError

from prompt_tuning.errors import UserError

Index = tuple[slice, ...]


class Tensor(NamedTuple):
    """An array in a file. read(index) returns its part at `index`, a slice per axis.

    rounded: what `read` multiplies, if the file has int8 numbers of this shape and a
      float32 scale for each channel.
    """

    shape: tuple[int, ...]
    read: Callable[[Index], np.ndarray]
    rounded: "tuple[Tensor, Tensor] | None" = None

    @property
    def all(self) -> Index:
        return (slice(None),) * len(self.shape)


def scaled(numbers: Tensor, scales: Tensor, channel: int) -> Tensor:
    """The float32 matrix of int8 numbers, each index along `channel` with a scale."""

    def read(index: Index) -> np.ndarray:
        index = index or numbers.all
        values, scale = numbers.read(index), scales.read((index[channel],))
        if values.dtype != np.int8:
            raise ValueError(f"it has scales, but is of type {values.dtype}, not int8")
        return values * np.expand_dims(scale.astype(np.float32), 1 - channel)

    return Tensor(numbers.shape, read, (numbers, scales))


# Raised by files that are damaged, half-written or out of reach.
READ_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
    msgpack.UnpackException,
)


@contextlib.contextmanager
def told(problem: str, advice: str) -> Iterator[None]:
    """Tells an error of reading: the problem, its first line, and what to do."""
    try:
        yield
    except UserError:
        raise
    except READ_ERRORS as error:
        raise UserError(f"{problem} ({first_line(error)}); {advice}") from None


def first_line(error: Exception) -> str:
    """An error's message, shortened."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
