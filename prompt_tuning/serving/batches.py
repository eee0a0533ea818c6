"""Rows of any prompts, lengths and wishes, put into batches of a few shapes.

A row is a prompt's vectors and a text's tokens; the batch is padded to their length
together, so that a long prompt of a short text costs as much as a short prompt of a
long text, and both may be in one batch.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.training import batching
from prompt_tuning.training.task import label_ids

# Positions of prompt and input together that a batch is padded to, and so on in steps
# of 256.
LENGTHS = (*batching.BUCKETS, 512, 640, 768, 1_024)
SHORTEST_ANSWER = 8  # tokens; a batch's longest answer is padded to a power of two


class Row(NamedTuple):
    """One answer to be given, or one text whose labels are scored.

    tokens: int32, EOS included. prompt: its name. vectors: its length.
    most, temperature, top_p, seed, number: as decoding.Sampling.
    """

    tokens: np.ndarray
    prompt: str
    vectors: int
    most: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    number: int = 0

    @property
    def positions(self) -> int:
        """Of prompt and input together, in the encoder."""
        return self.vectors + len(self.tokens)


def length_of(positions: int, ahead: Collection[int] = ()) -> int:
    """The length that `positions` are padded to: one compiled ahead, if enough."""
    there = (n for n in (*sorted(ahead), *LENGTHS) if positions <= n)
    return next(there, -256 * (-positions // 256))


def answer_length(most: int, ahead: Collection[int] = ()) -> int:
    """The length that answers of at most `most` tokens are padded to.

    Args:
      ahead: lengths that are compiled, one of which is taken if it is enough. A longer
        one costs memory and no time: decoding ends with the batch's last answer.
    """
    there = min((length for length in ahead if length >= most), default=None)
    return there or max(SHORTEST_ANSWER, 1 << (most - 1).bit_length())


def in_batches(
    rows: Sequence[Row], sizes: Sequence[int], ahead: Collection[int] = ()
) -> Iterator[tuple[np.ndarray, list[Row]]]:
    """Yields batches of like rows, as (their places in `rows`, the rows).

    The last of an answer's length is filled up to one of `sizes` by repeating its last
    row; the places are those of the rows that are not repeated.
    """
    answers = np.array([answer_length(row.most, ahead) for row in rows], np.int64)
    positions = np.array([row.positions for row in rows], np.int64)
    order = np.lexsort((positions, answers))
    start = 0
    while start < len(order):
        places = order[start : start + max(sizes)]
        places = places[answers[places] == answers[places[0]]]
        start += len(places)
        size = min(size for size in sizes if size >= len(places))
        batch = [rows[place] for place in places]
        yield places, batch + [batch[-1]] * (size - len(batch))


def label_ids_of_rows(
    labels: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    least: tuple[int, int] = (2, 4),
) -> list[np.ndarray]:
    """Token ids [C, S] of each row's labels, 0 where padded.

    C and S are powers of two, and the same for all rows: there are few such shapes. A
    label that is padding alone has the score 0.

    Args:
      least: C and S are not smaller than these.

    Raises:
      UserError: a label is none that the vocabulary can write.
    """
    kinds = {tuple(words): label_ids(words, vocabulary) for words in labels}
    shapes = np.array([least, *(ids.shape for ids in kinds.values())])
    most = [1 << (int(size) - 1).bit_length() for size in shapes.max(axis=0)]
    padded = {
        words: np.pad(ids, [(0, m - n) for m, n in zip(most, ids.shape, strict=True)])
        for words, ids in kinds.items()
    }
    return [padded[tuple(words)] for words in labels]
