"""Makes NumPy batches from a tokenised split.

Batch i is a function of (seed, i) alone, so the position in the data is the step
number: resuming costs nothing, and a checkpoint holds nothing about the data. Examples
are padded, never packed.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Batch = dict[str, np.ndarray]
Integers = Sequence[int] | np.ndarray

# Lengths that a batch's inputs are padded to, where the longest of them fits.
BUCKETS = (64, 96, 128, 192, 256, 384)


@dataclasses.dataclass(frozen=True)
class Examples:
    """A tokenised split.

    inputs, targets: a row of int32 ids for each example, EOS included, no padding.
    lengths: {"inputs": T, "targets": S}, the lengths that batches are padded to.
    cut: how many inputs and targets were longer than that, and so were cut.
    sizes: the number of examples of each task, in the order of the rows.
    rates: how often a mixture draws from each task, relative to the others.
    """

    split: str
    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    lengths: dict[str, int]
    cut: dict[str, int]
    sizes: dict[str, int]
    rates: dict[str, float]

    def __len__(self) -> int:
        return len(self.inputs)

    def fingerprint(self) -> str:
        """The SHA-256 of all token ids, in their order, and of the tasks and rates."""
        start = repr((self.sizes, self.rates))
        return fingerprint(self.inputs, self.targets, start=start)

    def task_ids(self, rows: Integers) -> np.ndarray:
        """The place in `sizes` of each row's task, int32."""
        ends = np.cumsum(list(self.sizes.values()))
        return np.searchsorted(ends, rows, side="right").astype(np.int32)

    def rows(self, task_name: str) -> range:
        """The rows that hold one task's examples in a mixture."""
        names = list(self.sizes)
        counts = list(self.sizes.values())
        start = sum(counts[: names.index(task_name)])
        return range(start, start + self.sizes[task_name])


def fingerprint(*columns: Sequence[np.ndarray], start: str = "") -> str:
    """The SHA-256 of a text and of ragged token ids, their lengths included."""
    digest = hashlib.sha256(start.encode())
    for rows in columns:
        digest.update(np.array([len(row) for row in rows], "<i8").tobytes())
        digest.update(np.concatenate(rows).astype("<i4").tobytes() if rows else b"")
    return digest.hexdigest()


def pad(rows: Sequence[Integers], length: int) -> np.ndarray:
    """Ragged token ids -> int32 [len(rows), length], 0 after each row's end."""
    padded = np.zeros((len(rows), length), np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def bucket(longest: int, length: int) -> int:
    """The length to pad inputs of at most `longest` tokens to, instead of `length`.

    Less padding is computed, and the step compiles only once for each bucket.
    """
    return min((b for b in BUCKETS if longest <= b < length), default=length)


def batches(
    examples: Examples,
    batch_size: int,
    seeds: Sequence[int],
    start_step: int = 0,
    host_rows: Integers | slice = slice(None),
    window: int = 1,
) -> Iterator[Batch]:
    """Yields batches without end, the first being batch number `start_step`.

    With one task, every epoch is a permutation drawn from (seed, epoch), and a batch
    may hold the end of one epoch and the start of the next. With a mixture, each
    example's task is drawn by its rate and the example uniformly from that task, both
    from (seed, step).

    Args:
      seeds: one for each of the N trained trees; their batches lie side by side.
      host_rows: which rows of each batch this host makes (partitioning.host_rows).
      window: within this many batches examples are sorted by their inputs' length,
        and the order of the batches is drawn anew. There is less padding, but batches
        are less mixed in what correlates with length, such as labels. 1: no sorting.

    Yields:
      T5X's keys, int32: encoder_input_tokens [B, N, T], where T is the smallest bucket
      that holds the batch's longest input; and, all [B, N, S], decoder_target_tokens,
      decoder_input_tokens (the targets shifted right by one, 0 in front) and
      decoder_loss_weights (1 on the target, 0 on padding). Of a mixture also task_ids
      [B, N], the place in examples.sizes of each example's task.
    """
    split = examples, batch_size
    for each in _rows_and_lengths_of_all(*split, seeds, start_step, window):
        length = max(length for _, length in each)
        yield _side_by_side(examples, [rows[host_rows] for rows, _ in each], length)


def _side_by_side(examples: Examples, rows: Sequence[np.ndarray], length: int) -> Batch:
    """The batch [B, N, ...] of each tree's rows, inputs padded to `length`."""
    made = [_padded(examples, own, length) for own in rows]
    return {key: np.stack([batch[key] for batch in made], 1) for key in made[0]}


def _padded(examples: Examples, rows: np.ndarray, length: int) -> Batch:
    batch = teacher_forcing(
        pad([examples.inputs[row] for row in rows], length),
        pad([examples.targets[row] for row in rows], examples.lengths["targets"]),
    )
    mixed = len(examples.sizes) > 1
    return batch | ({"task_ids": examples.task_ids(rows)} if mixed else {})


def in_parts(
    examples: Examples,
    batch_size: int,
    seeds: Sequence[int],
    start_step: int,
    buckets: Sequence[int],
    part_size: int,
) -> Iterator[list[Batch]]:
    """Yields the random batches of `batches`, each as a list of parts of like lengths.

    Every tree's rows of a batch are sorted by the length of their input and cut into
    parts of `part_size`; a part is padded to the smallest of `buckets` that holds it.
    """
    for each in _sorted_rows_of_all(examples, batch_size, seeds, start_step):
        parts = []
        for start in range(0, batch_size, part_size):
            rows = [own[start : start + part_size] for own in each]
            longest = max(len(examples.inputs[own[-1]]) for own in rows)
            length = min(bucket for bucket in buckets if longest <= bucket)
            parts.append(_side_by_side(examples, rows, length))
        yield parts


def _sorted_rows_of_all(
    examples: Examples, batch_size: int, seeds: Sequence[int], start_step: int
) -> Iterator[list[np.ndarray]]:
    for each in _rows_and_lengths_of_all(examples, batch_size, seeds, start_step, 1):
        lengths = [[len(examples.inputs[row]) for row in rows] for rows, _ in each]
        yield [
            rows[np.argsort(own, kind="stable")]
            for (rows, _), own in zip(each, lengths, strict=True)
        ]


PART = 4  # examples: enough for a CPU, whose cache holds their arrays
WORTH_PARTS = 0.85  # of the padded tokens that are left


def part_buckets(
    examples: Examples, batch_size: int, seeds: Sequence[int]
) -> tuple[int, ...]:
    """The buckets for parts of PART examples; none if parts save little padding."""
    if batch_size % PART:
        return ()
    split = examples, batch_size, seeds
    buckets = best_buckets(*split, PART)
    in_one = sum(
        batch_size * max(length for _, length in each)
        for each in itertools.islice(_rows_and_lengths_of_all(*split, 0, 1), 30)
    )
    parted = sum(
        PART * part["encoder_input_tokens"].shape[2]
        for parts in itertools.islice(in_parts(*split, 0, buckets, PART), 30)
        for part in parts
    )
    return buckets if parted < WORTH_PARTS * in_one else ()


SHORTEST = 64  # tokens: below it a step is hardly faster


def best_buckets(
    examples: Examples,
    batch_size: int,
    seeds: Sequence[int],
    part_size: int,
    count: int = 6,
) -> tuple[int, ...]:
    """The `count` lengths, or fewer, to which in_parts pads least.

    They are chosen for the parts of the first batches, in multiples of 8; the last
    holds every example.
    """
    coming = _sorted_rows_of_all(examples, batch_size, seeds, 0)
    longest = [
        max(len(examples.inputs[own[end - 1]]) for own in each)
        for each in itertools.islice(coming, 100)
        for end in range(part_size, batch_size + 1, part_size)
    ]
    most = max(map(len, examples.inputs))
    # A few of the longest parts may not have come yet.
    return _least_waste([*longest, most], count, examples.lengths["inputs"])


def _least_waste(sizes: Sequence[int], count: int, most: int) -> tuple[int, ...]:
    """At most `count` lengths up to `most`, for the least sum of padded sizes."""
    rounded = [min(most, max(SHORTEST, -8 * (-size // 8))) for size in sizes]
    lengths, numbers = np.unique(rounded, return_counts=True)
    before = np.concatenate([[0], np.cumsum(numbers)])
    # best[i]: (the cost of the i shortest lengths, their buckets)
    best = {0: (0, ())}
    for _ in range(count):
        best = best | {
            end: min(
                (
                    cost + int(before[end] - before[start]) * int(lengths[end - 1]),
                    (*chosen, int(lengths[end - 1])),
                )
                for start, (cost, chosen) in best.items()
                if start < end
            )
            for end in range(1, len(lengths) + 1)
        }
    return best[len(lengths)][1]


def teacher_forcing(inputs_BxT: np.ndarray, targets_BxS: np.ndarray) -> Batch:
    """The batch, with T5X's four keys, of padded inputs and targets."""
    return {
        "encoder_input_tokens": inputs_BxT,
        "decoder_input_tokens": np.pad(targets_BxS[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets_BxS,
        "decoder_loss_weights": (targets_BxS != 0).astype(np.int32),
    }


def input_lengths(
    examples: Examples,
    batch_size: int,
    seeds: Sequence[int],
    start_step: int,
    steps: int,
    window: int = 1,
) -> list[int]:
    """The input lengths T of the next `steps` batches, each once, by first use."""
    coming = _rows_and_lengths_of_all(examples, batch_size, seeds, start_step, window)
    lengths = (
        max(length for _, length in each) for each in itertools.islice(coming, steps)
    )
    return list(dict.fromkeys(lengths))


def _rows_and_lengths_of_all(
    examples: Examples,
    batch_size: int,
    seeds: Sequence[int],
    start_step: int,
    window: int,
) -> Iterator[tuple[tuple[np.ndarray, int], ...]]:
    runs = (
        _rows_and_lengths(examples, batch_size, seed, start_step, window)
        for seed in seeds
    )
    return zip(*runs, strict=True)


def _rows_and_lengths(
    examples: Examples, batch_size: int, seed: int, start_step: int, window: int
) -> Iterator[tuple[np.ndarray, int]]:
    choose = _rows_by_rate if len(examples.sizes) > 1 else _rows_by_epoch
    rows_of = choose(examples, batch_size, seed)
    if window > 1:
        rows_of = _by_length(rows_of, examples, seed, window)
    for step in itertools.count(start_step):
        rows = np.asarray(rows_of(step))  # of all hosts, which pad to one length
        longest = max(len(examples.inputs[row]) for row in rows)
        yield rows, bucket(longest, examples.lengths["inputs"])


def _by_length(
    rows_of: Callable[[int], Integers], examples: Examples, seed: int, window: int
) -> Callable[[int], Integers]:
    """Regroups the rows of every `window` steps into batches of similar length."""

    @functools.lru_cache(maxsize=1)
    def batches_of(number):
        steps = range(number * window, (number + 1) * window)
        rows = np.array([rows_of(step) for step in steps])
        sizes = [len(examples.inputs[row]) for row in rows.flat]
        sorted_rows = rows.flat[np.argsort(sizes, kind="stable")].reshape(rows.shape)
        return np.random.default_rng((seed, number)).permutation(sorted_rows)

    return lambda step: batches_of(step // window)[step % window]


def _rows_by_epoch(
    examples: Examples, batch_size: int, seed: int
) -> Callable[[int], Integers]:
    @functools.lru_cache(maxsize=2)  # a batch may span two epochs
    def permutation(epoch):
        return np.random.default_rng((seed, epoch)).permutation(len(examples))

    def rows_of(step):
        positions = range(step * batch_size, (step + 1) * batch_size)
        places = (divmod(position, len(examples)) for position in positions)
        return [permutation(epoch)[place] for epoch, place in places]

    return rows_of


def _rows_by_rate(
    examples: Examples, batch_size: int, seed: int
) -> Callable[[int], Integers]:
    sizes = np.array(list(examples.sizes.values()))
    starts = np.cumsum(sizes) - sizes
    rates = np.array([examples.rates[name] for name in examples.sizes])

    def rows_of(step):
        rng = np.random.default_rng((seed, step))
        tasks = rng.choice(len(sizes), size=batch_size, p=rates / rates.sum())
        return starts[tasks] + rng.integers(sizes[tasks])

    return rows_of
