"""Batches of packed text: rows of one length, cut from one long array of token ids.

Batch i is a function of (seed, i) alone, and reads only the ids that it needs, so a run
resumes at any step at no cost.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from prompt_tuning.training.batching import Batch, pad, teacher_forcing

# tokens_BxL, rng -> (inputs [B, up to T], targets [B, up to S]), ending with EOS
Objective = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
_ORDER, _NOISE = 0, 1  # what a generator is seeded for


def rows(
    tokens: np.ndarray, length: int, seed: tuple[int, ...]
) -> Callable[[int, int], np.ndarray]:
    """A function (first, count) -> rows [count, length] int32 of the endless sequence.

    The text is cut into rows without regard to documents, as T5 does; each epoch cuts
    it at other places, and has an order of its own.

    Args:
      tokens: ids [number of tokens], at least `length`; may be memory-mapped.

    Raises:
      ValueError: there are fewer tokens.
    """
    if len(tokens) < length:
        raise ValueError(f"there are {len(tokens)} tokens, but a row has {length}")
    per_epoch = max(1, len(tokens) // length - 1)
    spare = 1 + len(tokens) - per_epoch * length

    @functools.lru_cache(maxsize=2)  # a batch may span two epochs
    def starts(epoch: int) -> np.ndarray:
        rng = np.random.default_rng((*seed, _ORDER, epoch))
        return rng.integers(spare) + length * rng.permutation(per_epoch)

    def take(first: int, count: int) -> np.ndarray:
        places = (divmod(first + row, per_epoch) for row in range(count))
        chosen = np.array([starts(epoch)[place] for epoch, place in places])
        return tokens[chosen[:, None] + np.arange(length)].astype(np.int32)

    return take


def batches(
    take: Callable[[int, int], np.ndarray],
    objective: Objective,
    shape: tuple[int, int, int],
    seed: tuple[int, ...],
    start_step: int = 0,
) -> Iterator[Batch]:
    """Yields batches without end, as objectives.batches does, of full rows.

    Args:
      take: from `rows`.
      objective: one of objectives.py for rows.
      shape: B, T and S.
      seed: for the objective's draws.
      start_step: the number of the first batch.
    """
    size, input_length, length = shape
    for step in itertools.count(start_step):
        rng = np.random.default_rng((*seed, _NOISE, step))
        inputs, targets = objective(take(step * size, size), rng)
        yield teacher_forcing(pad([*inputs], input_length), pad([*targets], length))
