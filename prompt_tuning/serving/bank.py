"""Many prompts in one array on the devices, of which a batch gathers its own.

All prompts are kept on the host. Those used last are on the devices too, as rows of one
array [capacity, P, D]; its capacity doubles up to a number of bytes, after which the
row least recently used is given to another prompt. Only the two small programs below
depend on the array's shape: the model's own program never does.
"""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.t5.extra import END, Extra, Prompt

MOST_BYTES = (
    2**30
)  # of the array: 409 prompts of the largest T5, 13,000 of the smallest
NO_EXTRA = Extra()
CAPACITY, LENGTH = 64, 160  # of the first array; the paper's prompts fit


class Own(NamedTuple):
    """The prompts of a batch, one for each row.

    vectors_BxPxD: 0 after a prompt's end.
    length_B: int32. in_front_B: int32, how many vectors stand in front of the input;
      the others stand after it, before its EOS.
    """

    vectors_BxPxD: jax.Array
    length_B: jax.Array
    in_front_B: jax.Array

    def extra(self, shared: Extra = NO_EXTRA) -> Extra:
        """The prompts as an input of the network; `shared` goes before them."""
        if shared.prompt is not None:
            return shared
        places_1xP = jnp.arange(self.vectors_BxPxD.shape[1])[None]
        before_BxP = jnp.where(places_1xP < self.in_front_B[:, None], 0, END)
        mask_BxP = places_1xP < self.length_B[:, None]
        return shared._replace(prompt=Prompt(self.vectors_BxPxD, before_BxP, mask_BxP))


class Bank:
    """Prompts by name. Any thread may add and remove them."""

    def __init__(self, width: int, mesh: Mesh, most_bytes: int = MOST_BYTES) -> None:
        self.lock = threading.RLock()
        self._mesh, self._width, self._most_bytes = mesh, width, most_bytes
        self._prompts: dict[str, tuple[np.ndarray, int]] = {}
        self._rows: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._array_NxPxD = self._zeros(self._within(CAPACITY, LENGTH, 1), LENGTH)

    def add(self, name: str, prompt_PxD: np.ndarray, in_front: int) -> None:
        """Adds a prompt, or replaces the one of this name.

        Args:
          in_front: so many vectors stand in front of the input, the others after it.
        """
        with self.lock:
            self._rows.pop(name, None)
            self._prompts[name] = np.asarray(prompt_PxD, np.float32), in_front
            self._admit([name])

    def remove(self, name: str) -> None:
        """Forgets a prompt."""
        with self.lock:
            del self._prompts[name]
            self._rows.pop(name, None)

    @property
    def on_devices(self) -> int:
        """How many prompts are in the array."""
        return len(self._rows)

    @property
    def capacity(self) -> int:
        """How many prompts the array holds."""
        return len(self._array_NxPxD)

    def gather(self, names: Sequence[str], length: int) -> Own:
        """The prompts of a batch, [B, length, D] on the devices; all of them must fit.

        Raises:
          UserError: one has been removed.
        """
        with self.lock:
            gone = sorted(set(names) - self._prompts.keys())
            if gone:
                raise UserError(f"the prompt {gone[0]!r} has just been removed")
            self._admit(names)
            found = [self._prompts[name] for name in names]
            batch = {
                "row": np.array([self._rows[name] for name in names], np.int32),
                "length": np.array([len(prompt) for prompt, _ in found], np.int32),
                "in_front": np.array([front for _, front in found], np.int32),
            }
            rows = partitioning.host_rows(self._mesh, len(names))
            placed = partitioning.shard_batch(
                {name: value[rows] for name, value in batch.items()}, self._mesh
            )
            vectors_BxLxD = _gather(self._mesh)(
                self._array_NxPxD, placed["row"], length
            )
        return Own(vectors_BxLxD, placed["length"], placed["in_front"])

    def _admit(self, names: Sequence[str]) -> None:
        """Brings prompts into the array, those used last at the end of `_rows`."""
        wanted = dict.fromkeys(names)
        self._make_room(wanted)
        for name in wanted:
            if name not in self._rows:
                self._rows[name] = self._free_row(wanted)
                prompt_PxD, _ = self._prompts[name]
                missing = self._array_NxPxD.shape[1] - len(prompt_PxD)
                self._array_NxPxD = _write(self._mesh)(
                    self._array_NxPxD,
                    np.pad(prompt_PxD, ((0, missing), (0, 0))),
                    np.int32(self._rows[name]),
                )
            self._rows.move_to_end(name)

    def _make_room(self, wanted: dict[str, None]) -> None:
        """Makes the array large enough, as far as its bytes allow."""
        capacity, length, _ = self._array_NxPxD.shape
        longest = max(len(self._prompts[name][0]) for name in wanted)
        longer = longest > length
        if longer:  # the other prompts come back when they are used
            length = max(longest, 2 * length)
            self._rows.clear()
        needed = len(self._rows.keys() | wanted.keys())
        while capacity < needed:
            capacity *= 2
        capacity = self._within(capacity, length, len(wanted))
        if longer:
            self._array_NxPxD = self._zeros(capacity, length)
        elif capacity > len(self._array_NxPxD):
            self._array_NxPxD = _grow(self._mesh)(self._array_NxPxD, capacity)

    def _within(self, capacity: int, length: int, least: int) -> int:
        """The capacity that the bytes allow, but at least that of one batch."""
        return max(min(capacity, self._most_bytes // (4 * length * self._width)), least)

    def _free_row(self, wanted: dict[str, None]) -> int:
        if len(self._rows) < len(self._array_NxPxD):
            free = set(range(len(self._array_NxPxD))) - set(self._rows.values())
            return min(free)
        oldest = next(name for name in self._rows if name not in wanted)
        return self._rows.pop(oldest)

    def _zeros(self, capacity: int, length: int) -> jax.Array:
        shape = capacity, length, self._width
        sharding = partitioning.replicated(self._mesh)
        return jnp.zeros(shape, jnp.float32, device=sharding)


@functools.cache
def _gather(mesh: Mesh) -> Callable[..., jax.Array]:
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    @functools.partial(jax.jit, static_argnums=2, out_shardings=sharding)
    def gather(array_NxPxD: jax.Array, row_B: jax.Array, length: int) -> jax.Array:
        missing = max(0, length - array_NxPxD.shape[1])
        own_BxPxD = array_NxPxD[row_B, :length]
        return jnp.pad(own_BxPxD, ((0, 0), (0, missing), (0, 0)))

    return gather


@functools.cache
def _write(mesh: Mesh) -> Callable[..., jax.Array]:
    sharding = partitioning.replicated(mesh)

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding)
    def write(
        array_NxPxD: jax.Array, prompt_PxD: jax.Array, row: jax.Array
    ) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(array_NxPxD, prompt_PxD, row, 0)

    return write


@functools.cache
def _grow(mesh: Mesh) -> Callable[..., jax.Array]:
    sharding = partitioning.replicated(mesh)

    @functools.partial(jax.jit, static_argnums=1, out_shardings=sharding)
    def grow(array_NxPxD: jax.Array, capacity: int) -> jax.Array:
        missing = capacity - len(array_NxPxD)
        return jnp.pad(array_NxPxD, ((0, missing), (0, 0), (0, 0)))

    return grow
