"""Norms, distances and maps of planted vectors."""

import numpy as np
import pytest
from scipy.spatial import distance

from prompt_tuning.reading import places

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 8)).astype(np.float32)


def test_norms_and_their_spread():
    norms = places.norms(np.array([[3.0, 4.0], [0, 1], [6, 8]]))
    assert norms.tolist() == [5, 1, 10]
    assert places.spread(norms) == (pytest.approx(16 / 3), 1, 10)


def test_distances_to_the_nearest_piece_are_those_planted():
    step = np.zeros(8)
    step[0] = 0.25
    found = places.distances(TABLE[[4, 9]] + step, TABLE)
    np.testing.assert_allclose(found, 0.25, rtol=1e-5)


def test_a_vocabulary_row_is_measured_to_its_nearest_other():
    all_VxV = distance.cdist(TABLE, TABLE)
    np.fill_diagonal(all_VxV, np.inf)
    found = places.vocabulary_distances(TABLE)
    np.testing.assert_allclose(found, all_VxV.min(axis=1), rtol=1e-5)


def test_of_a_large_vocabulary_a_sample_is_taken():
    ids = places.sample(40_000)
    assert len(np.unique(ids)) == places.MOST_ROWS
    assert (ids == places.sample(40_000)).all()
    assert len(places.sample(50)) == 50


def test_maps_keep_who_is_who():
    prompts = [TABLE[:3], TABLE[[10]] + 0.01]
    for draw in (places.pca, places.tsne):
        flat = draw(TABLE, prompts)
        assert flat.table_Vx2.shape == (50, 2)
        assert [p.shape for p in flat.prompts] == [(3, 2), (1, 2)]
    flat = places.pca(TABLE, prompts)
    np.testing.assert_allclose(flat.prompts[0], flat.table_Vx2[:3], atol=1e-5)
    assert "% of the variance" in flat.note
