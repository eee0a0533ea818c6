"""Lexical clusters: pieces that are one word in several forms (paper section 7).

The paper's example is {Technology, technology, Technologies, technological,
technologies}. Related meanings are not told: that needs more than the letters.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import snowballstemmer
from scipy.sparse import csgraph

KINDS = ("case", "stem", "prefix")  # from the closest relation to the loosest
SHARED = 4  # letters of a shared prefix
_STEMMED = 3  # letters of the shortest word that has a stem


class Cluster(NamedTuple):
    """Related pieces. kind: the loosest relation that holds them together."""

    kind: str
    pieces: tuple[str, ...]


def relation(one: str, other: str) -> str | None:
    """How two pieces are related: by "case", "stem" or "prefix", or None.

    Case includes whether they begin a word (▁). Stems are English (Porter2). A prefix
    is of at least four letters.
    """
    one, other = _bare(one), _bare(other)
    if not one or not other:
        return None
    if one == other:
        return "case"
    if _stem(one) == _stem(other):
        return "stem"
    start = one[:SHARED]
    return "prefix" if start.isalpha() and start == other[:SHARED] else None


def _bare(piece: str) -> str:
    return piece.removeprefix("▁").casefold()


@functools.lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    if len(word) < _STEMMED or not word.isalpha():
        return word
    return _stemmer().stemWord(word)


@functools.cache
def _stemmer() -> Any:
    return snowballstemmer.stemmer("english")


def clusters(pieces: Sequence[str]) -> list[Cluster]:
    """The clusters of two or more among some pieces, the largest first."""
    kinds: dict[tuple[int, int], str] = {}
    linked = np.zeros((len(pieces),) * 2, bool)
    for pair in itertools.combinations(range(len(pieces)), 2):
        if kind := relation(*(pieces[i] for i in pair)):
            kinds[pair], linked[pair] = kind, True
    _, label_P = csgraph.connected_components(linked, directed=False)
    found = []
    for label in np.unique(label_P):
        (inside,) = np.nonzero(label_P == label)
        if len(inside) > 1:
            found.append(_cluster(pieces, kinds, inside.tolist()))
    return sorted(found, key=lambda one: -len(one.pieces))


def _cluster(
    pieces: Sequence[str], kinds: dict[tuple[int, int], str], inside: list[int]
) -> Cluster:
    """Each member joins by its closest relation; the loosest of those is the kind."""
    joined = [
        min(
            (kinds[pair] for pair in kinds if i in pair and {*pair} <= {*inside}),
            key=KINDS.index,
        )
        for i in inside
    ]
    return Cluster(max(joined, key=KINDS.index), tuple(pieces[i] for i in inside))


def share(pieces: Sequence[str]) -> float:
    """The share of some pieces that are in a cluster with another of them."""
    inside = sum(len(cluster.pieces) for cluster in clusters(pieces))
    return inside / max(1, len(pieces))
