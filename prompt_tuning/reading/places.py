"""Where prompts live: norms, distances to the vocabulary, and maps of both."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prompt_tuning.reading import neighbours

MOST_ROWS = 2_048  # of a vocabulary, where each row is compared with each


class Spread(NamedTuple):
    """Of some numbers."""

    mean: float
    least: float
    most: float


def spread(values: np.ndarray) -> Spread:
    """Mean, least and most."""
    return Spread(*(float(f(values)) for f in (np.mean, np.min, np.max)))


def norms(x_PxD: np.ndarray) -> np.ndarray:
    """The L2 norm of each vector, [P]."""
    return np.linalg.norm(np.asarray(x_PxD, np.float64), axis=-1)


def distances(prompt_PxD: np.ndarray, table_VxD: np.ndarray) -> np.ndarray:
    """The L2 distance from each vector to its nearest piece, [P]."""
    return neighbours.nearest(prompt_PxD, table_VxD, 1, "l2").values_PxK[:, 0]


def vocabulary_distances(table_VxD: np.ndarray, seed: int = 0) -> np.ndarray:
    """The L2 distance from each vocabulary row to its nearest other row.

    Of a large vocabulary, that of 2,048 rows drawn from it.
    """
    ids = sample(len(table_VxD), seed)
    rows, found = table_VxD[ids], []
    for i in range(0, len(ids), 256):
        part = slice(i, i + 256)
        near = neighbours.nearest(rows[part], table_VxD, 1, "l2", ids[part])
        found.append(near.values_PxK[:, 0])
    return np.concatenate(found)


def sample(rows: int, seed: int = 0) -> np.ndarray:
    """The ids of all rows, or of 2,048 of them, in order."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(rows, MOST_ROWS, replace=False))


class Map(NamedTuple):
    """Vectors in a plane: the vocabulary's [V, 2], and each prompt's [P, 2].

    note: what the axes say, for a picture.
    """

    table_Vx2: np.ndarray
    prompts: list[np.ndarray]
    note: str


def pca(table_VxD: np.ndarray, prompts: Sequence[np.ndarray]) -> Map:
    """The first two principal components of vocabulary and prompts together."""
    from sklearn.decomposition import PCA  # takes a second to import

    both = np.concatenate([table_VxD, *prompts]).astype(np.float64)
    model = PCA(2, random_state=0)
    flat = model.fit_transform(both)
    first, second = 100 * model.explained_variance_ratio_
    note = f"PCA ({first:.0f} and {second:.0f}% of the variance)"
    return _map(flat, len(table_VxD), prompts, note)


def tsne(table_VxD: np.ndarray, prompts: Sequence[np.ndarray]) -> Map:
    """t-SNE of vocabulary and prompts together, by cosine; distances say little."""
    from sklearn.manifold import TSNE

    both = np.concatenate([table_VxD, *prompts])
    # By cosine: vectors at length 1, whose squared distances are 2 - 2 cosine.
    directions = neighbours.unit(both).astype(np.float32)
    perplexity = min(30.0, (len(both) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, max_iter=500, random_state=0)
    flat = model.fit_transform(directions)
    return _map(flat, len(table_VxD), prompts, "t-SNE of the cosines")


def _map(flat: np.ndarray, size: int, prompts: Sequence[np.ndarray], note: str) -> Map:
    ends = np.cumsum([size, *map(len, prompts)])
    parts = [flat[a:b] for a, b in itertools.pairwise(ends)]
    return Map(flat[:size], parts, note)
