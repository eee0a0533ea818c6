"""The vocabulary pieces next to a prompt's vectors (paper section 7).

Vectors are compared in float64: a prompt may lie a thousandth of its length from a
piece. Letters: P positions, V pieces, D width, K neighbours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prompt_tuning.reading import lexical

MEASURES = ("cosine", "dot", "l2")
DRAWS = 10  # of each control


class Nearest(NamedTuple):
    """The nearest pieces, the nearest first.

    ids_PxK: their ids. values_PxK: cosine, dot product or L2 distance.
    """

    ids_PxK: np.ndarray
    values_PxK: np.ndarray


def unit(x_PxD: np.ndarray) -> np.ndarray:
    """The vectors at length 1, float64; a zero vector stays zero."""
    x_PxD = np.asarray(x_PxD, np.float64)
    norm_Px1 = np.linalg.norm(x_PxD, axis=-1, keepdims=True)
    return x_PxD / np.where(norm_Px1 > 0, norm_Px1, 1)


def compare(x_PxD: np.ndarray, table_VxD: np.ndarray, measure: str) -> np.ndarray:
    """Each vector beside each piece, [P, V]: cosine, dot product or L2 distance."""
    x_PxD, table_VxD = (np.asarray(a, np.float64) for a in (x_PxD, table_VxD))
    if measure == "cosine":
        return unit(x_PxD) @ unit(table_VxD).T
    dot_PxV = x_PxD @ table_VxD.T
    if measure == "dot":
        return dot_PxV
    square_PxV = (x_PxD**2).sum(-1)[:, None] + (table_VxD**2).sum(-1) - 2 * dot_PxV
    return np.sqrt(np.maximum(square_PxV, 0))


def nearest(
    x_PxD: np.ndarray,
    table_VxD: np.ndarray,
    k: int,
    measure: str = "cosine",
    without_P: np.ndarray | None = None,
) -> Nearest:
    """The k nearest pieces of each vector.

    Args:
      without_P: the id of a piece that does not count, for each vector: itself.
    """
    values_PxV = compare(x_PxD, table_VxD, measure)
    far_PxV = values_PxV if measure == "l2" else -values_PxV
    if without_P is not None:
        far_PxV = far_PxV.copy()
        far_PxV[np.arange(len(far_PxV)), without_P] = np.inf
    ids_PxK = np.argsort(far_PxV, axis=1, kind="stable")[:, :k]
    values_PxK = np.take_along_axis(values_PxV, ids_PxK, axis=1)
    if measure == "l2":  # once more, as the expanded square cancels
        between = np.asarray(x_PxD, np.float64)[:, None] - table_VxD[ids_PxK]
        values_PxK = np.linalg.norm(between, axis=-1)
    return Nearest(ids_PxK, values_PxK)


def repeated(ids_P: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
    """{piece: the positions that it is nearest to}, of those nearest to several.

    The paper calls it excess capacity that long prompts have many.
    """
    ids = [int(i) for i in ids_P]
    of = {i: [p for p, other in enumerate(ids) if other == i] for i in set(ids)}
    several = [(i, places) for i, places in of.items() if len(places) > 1]
    return dict(sorted(several, key=lambda one: (-len(one[1]), one[1])))


# What is counted of a prompt and of the controls


class Counts(NamedTuple):
    """Means over a prompt's positions.

    cosine: of the nearest piece. distinct: nearest pieces, P at most. in_clusters: the
    share of the K neighbours that are in a lexical cluster. tightness: the cosine of
    the K neighbours with one another. labels: label words with a piece among any
    position's K neighbours.
    """

    cosine: float
    distinct: float
    in_clusters: float
    tightness: float
    labels: float


def counts(
    found: Nearest,
    table_VxD: np.ndarray,
    pieces: Sequence[str],
    labels: Sequence[Sequence[int]] = (),
) -> Counts:
    """Counts of the neighbours by cosine.

    Args:
      pieces: the vocabulary's, [V].
      labels: the pieces' ids of each label word.
    """
    shares = [lexical.share([pieces[int(i)] for i in row]) for row in found.ids_PxK]
    rows_PxKxD = unit(table_VxD[found.ids_PxK])
    return Counts(
        float(found.values_PxK[:, 0].mean()),
        len(np.unique(found.ids_PxK[:, 0])),
        float(np.mean(shares)),
        float(np.mean([among(rows) for rows in rows_PxKxD])),
        sum(bool(np.isin(found.ids_PxK, ids).any()) for ids in labels),
    )


def among(x_PxD: np.ndarray) -> float:
    """The mean cosine of vectors with one another; 1 of a single one."""
    cosines = compare(x_PxD, x_PxD, "cosine")
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    return float(pairs.mean()) if pairs.size else 1.0


class Pair(NamedTuple):
    """Two positions of a prompt, and their cosine."""

    cosine: float
    positions: tuple[int, int]


def most_alike(x_PxD: np.ndarray) -> Pair | None:
    """The two positions with the highest cosine; None of a single one."""
    if len(x_PxD) < 2:
        return None
    cosines = compare(x_PxD, x_PxD, "cosine")
    rows, columns = np.triu_indices(len(cosines), 1)
    best = int(np.argmax(cosines[rows, columns]))
    one, other = int(rows[best]), int(columns[best])
    return Pair(float(cosines[one, other]), (one, other))


def controls(
    prompt_PxD: np.ndarray,
    table_VxD: np.ndarray,
    pieces: Sequence[str],
    k: int,
    labels: Sequence[Sequence[int]] = (),
    seed: int = 0,
) -> dict[str, Counts]:
    """The same counts of what was not trained, means of ten draws each.

    Random vectors have the norms of the prompt's and any direction. Random vocabulary
    rows do not count as their own neighbours.
    """
    rng = np.random.default_rng(seed)
    drawn = {"random vectors": [], "vocabulary rows": []}
    norms_Px1 = np.linalg.norm(prompt_PxD, axis=1, keepdims=True)
    for _ in range(DRAWS):
        vectors = norms_Px1 * unit(rng.normal(size=prompt_PxD.shape))
        found = nearest(vectors, table_VxD, k)
        drawn["random vectors"].append(counts(found, table_VxD, pieces, labels))
        more = len(prompt_PxD) > len(table_VxD)
        ids_P = rng.choice(len(table_VxD), len(prompt_PxD), replace=more)
        found = nearest(table_VxD[ids_P], table_VxD, k, without_P=ids_P)
        drawn["vocabulary rows"].append(counts(found, table_VxD, pieces, labels))
    return {
        name: Counts(*np.mean(each, axis=0).tolist()) for name, each in drawn.items()
    }


# Label words


class Label(NamedTuple):
    """A label word among a prompt's neighbours.

    home: the position that was initialised with it, or None. rank: of the word there,
    by cosine, among all pieces; 1 is the nearest. others: positions with one of its
    pieces among their K neighbours, home left out.
    """

    word: str
    home: int | None
    rank: int | None
    others: tuple[int, ...]


def label(
    word: str,
    ids: Sequence[int],
    home: int | None,
    prompt_PxD: np.ndarray,
    table_VxD: np.ndarray,
    ids_PxK: np.ndarray,
) -> Label:
    """Where a label word is found, as the mean of its pieces' embeddings.

    Args:
      ids: of its pieces.
      home: the position that was initialised with it, if any was.
    """
    having = np.isin(ids_PxK, ids).any(axis=1)
    others = tuple(int(p) for p in np.nonzero(having)[0] if p != home)
    if home is None:
        return Label(word, None, None, others)
    x_1xD = prompt_PxD[home : home + 1]
    mean_1xD = np.asarray(table_VxD)[list(ids)].mean(axis=0, keepdims=True)
    own = compare(x_1xD, mean_1xD, "cosine")[0, 0]
    rest_V = np.delete(compare(x_1xD, table_VxD, "cosine")[0], list(ids))
    return Label(word, home, 1 + int((rest_V > own).sum()), others)
