"""A checkpoint's tensors, to be read in parts, and what can go wrong meanwhile."""

import pickle
from collections.abc import Callable
from typing import NamedTuple

import msgpack
import numpy as np
from safetensors import SafetensorError

Index = tuple[slice, ...]


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


def first_line(error: Exception) -> str:
    """What an error says, shortly."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
