"""Neighbours of a planted prompt: rows of a table plus noise, where all is known."""

import numpy as np
import pytest
from sklearn.metrics import pairwise

from prompt_tuning.reading import neighbours

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(60, 24))
PIECES = [f"▁{chr(97 + i % 26)}{i}" for i in range(60)]
PLANTED = [7, 3, 7, 11, 3, 7]
PROMPT = 3 * TABLE[PLANTED] + 0.01 * RNG.normal(size=(6, 24))


def test_cosine_dot_product_and_l2_are_scikit_learns():
    theirs = {
        "cosine": pairwise.cosine_similarity(PROMPT, TABLE),
        "dot": pairwise.linear_kernel(PROMPT, TABLE),
        "l2": pairwise.euclidean_distances(PROMPT, TABLE),
    }
    for measure, expected_PxV in theirs.items():
        found = neighbours.compare(PROMPT, TABLE, measure)
        np.testing.assert_allclose(found, expected_PxV, atol=1e-9)
        order = np.argsort(expected_PxV if measure == "l2" else -expected_PxV, axis=1)
        near = neighbours.nearest(PROMPT, TABLE, 4, measure)
        np.testing.assert_array_equal(near.ids_PxK, order[:, :4])
        expected = np.take_along_axis(expected_PxV, order[:, :4], axis=1)
        np.testing.assert_allclose(near.values_PxK, expected, atol=1e-9)


def test_a_zero_vector_has_a_cosine_of_zero():
    assert not neighbours.compare(np.zeros((1, 24)), TABLE, "cosine").any()


def test_planted_pieces_are_found_and_their_repeats_counted():
    near = neighbours.nearest(PROMPT, TABLE, 3)
    assert near.ids_PxK[:, 0].tolist() == PLANTED
    assert (near.values_PxK[:, 0] > 0.999).all()
    repeats = neighbours.repeated(near.ids_PxK[:, 0])
    assert repeats == {7: [0, 2, 5], 3: [1, 4]}
    counts = neighbours.counts(near, TABLE, PIECES, [[7], [11], [59]])
    assert counts.distinct == 3
    assert counts.cosine == pytest.approx(near.values_PxK[:, 0].mean())
    assert counts.in_clusters == 0
    expected = sum(bool((near.ids_PxK == i).any()) for i in (7, 11, 59))
    assert counts.labels == expected >= 2


def test_a_tiny_distance_from_a_large_vector_is_exact():
    table = 1e4 * TABLE
    prompt = table[[5]] + 1e-6
    near = neighbours.nearest(prompt, table, 1, "l2")
    assert near.ids_PxK[0, 0] == 5
    assert near.values_PxK[0, 0] == pytest.approx(1e-6 * 24**0.5, rel=1e-3)


def test_a_row_is_not_its_own_neighbour():
    ids = np.arange(60)
    near = neighbours.nearest(TABLE, TABLE, 59, without_P=ids)
    assert not (near.ids_PxK == ids[:, None]).any()


def test_clusters_and_tightness_of_planted_neighbours():
    table = np.eye(6)
    pieces = ["▁walk", "▁walks", "Walk", "▁cat", "▁dog", "▁hen"]
    near = neighbours.Nearest(np.array([[0, 1, 2], [3, 4, 0]]), np.ones((2, 3)))
    counts = neighbours.counts(near, table, pieces)
    assert counts.in_clusters == 0.5
    assert counts.tightness == 0
    assert neighbours.among(np.array([[1, 0], [1, 1]])) == pytest.approx(0.5**0.5)
    assert neighbours.among(np.ones((1, 3))) == 1


def test_controls_lie_apart_from_a_planted_prompt_and_repeat():
    found = neighbours.controls(PROMPT, TABLE, PIECES, 3)
    assert found == neighbours.controls(PROMPT, TABLE, PIECES, 3)
    for counts in found.values():
        assert 0 < counts.cosine < 0.9
        assert counts.distinct > 4
    more = np.concatenate([PROMPT] * 11)  # positions than pieces
    assert neighbours.controls(more, TABLE, PIECES, 3)["vocabulary rows"].distinct <= 60


def test_labels_at_home_and_elsewhere():
    near = neighbours.nearest(PROMPT, TABLE, 1)

    def label(ids, home):
        return neighbours.label("w", ids, home, PROMPT, TABLE, near.ids_PxK)

    assert label([7], 0) == ("w", 0, 1, (2, 5))
    assert label([11], None) == ("w", None, None, (3,))
    lost = label([7], 1)  # where piece 3 is nearest
    cosines = pairwise.cosine_similarity(PROMPT[[1]], TABLE)[0]
    assert lost.rank == 1 + (cosines > cosines[7]).sum()
    assert lost.others == (0, 2, 5)


def test_a_label_of_several_pieces_is_their_mean():
    prompt = TABLE[[1, 2]].mean(0, keepdims=True)
    near = neighbours.nearest(prompt, TABLE, 2)
    found = neighbours.label("w", [1, 2], 0, prompt, TABLE, near.ids_PxK)
    assert found.rank == 1


def test_the_two_positions_that_are_most_alike_are_told():
    planted = np.array([[1, 0, 0], [0, 2, 0], [0, 3, 3], [0, 0, -1]], np.float32)
    found = neighbours.most_alike(planted)
    assert found.positions == (1, 2) and found.cosine == pytest.approx(0.5**0.5)
    assert neighbours.most_alike(planted[:1]) is None
