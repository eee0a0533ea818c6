"""A checkpoint's tensors, which can be read in parts, and the errors of reading."""

import pickle
import tokenize
from collections.abc import Callable
from typing import NamedTuple

import msgpack
import numpy as np
from safetensors import SafetensorError

Index = tuple[slice, ...]


class Tensor(NamedTuple):
    """An array in a file. read(index) returns its part at `index`, a slice per axis."""

    shape: tuple[int, ...]
    read: Callable[[Index], np.ndarray]

    @property
    def all(self) -> Index:
        return (slice(None),) * len(self.shape)


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


def first_line(error: Exception) -> str:
    """An error's message, shortened."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
