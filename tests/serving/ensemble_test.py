"""Votes, probabilities, agreement and calibration, by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from prompt_tuning.serving import ensemble


def vote(*answers, log_probs=None):
    """The winning member of one example, its share, and whether it was a tie."""
    column = np.zeros(len(answers)) if log_probs is None else np.array(log_probs)
    found = ensemble.vote([[answer] for answer in answers], column[:, None])
    return found.member_M[0], found.share_M[0], found.tied_M[0]


def test_the_majority_wins_whatever_its_log_probability():
    assert vote("a", "b", "b", log_probs=[-0.1, -9, -8]) == (2, pytest.approx(2 / 3), 0)
    assert vote("a") == (0, 1, False)


def test_a_tie_goes_to_the_larger_sum_of_log_probabilities():
    assert vote("a", "b", log_probs=[-2, -1]) == (1, 0.5, True)
    # -1 - 4 is less than -2 - 2.5, though the surest voter is another's.
    found = vote("a", "b", "a", "b", log_probs=[-1, -2, -4, -2.5])
    assert found == (1, 0.5, True)
    assert vote("a", "b") == (0, 0.5, True), "then to the earliest"


def test_each_example_has_a_vote_of_its_own():
    answers = [["a", "x"], ["b", "y"], ["b", "x"]]
    found = ensemble.vote(answers, np.array([[-1, -5], [-3, -1], [-2, -4.0]]))
    assert found.member_M.tolist() == [2, 2]
    assert found.tied_M.tolist() == [False, False]
    none = ensemble.vote([[], []], np.zeros((2, 0)))
    assert none.member_M.shape == none.share_M.shape == none.tied_M.shape == (0,)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (1, np.int64(1), 2),
        (np.array([1, 2]), [1, 2], [2, 1]),
        ({"value": 1, "group": [3]}, {"group": (3,), "value": 1}, {"value": 1}),
        (float("nan"), np.float32("nan"), 0.0),
        (True, np.bool_(True), False),
        (None, None, ""),
    ],
)
def test_what_a_task_gives_for_an_answer_can_be_counted(one, same, other):
    one, same, other = map(ensemble.comparable, (one, same, other))
    assert one == same and hash(one) == hash(same) and one != other


def test_probabilities_are_of_the_labels_that_an_example_may_have():
    scores = np.log([[[0.2, 0.1, 0.1], [0.3, 1e-9, 0.1]]]).astype(np.float32)
    scores[0, 1, 1] = -np.inf
    found = ensemble.probabilities(scores)
    np.testing.assert_allclose(found, [[[0.5, 0.25, 0.25], [0.75, 0, 0.25]]], rtol=1e-6)
    small = ensemble.probabilities(np.array([[[-1000.0, -1000.0]]]))
    np.testing.assert_allclose(small, [[[0.5, 0.5]]])


def test_agreement_of_two_and_of_all():
    found = ensemble.agreement(["aabb", "aaab", "abab"])
    expected = [[1, 0.75, 0.5], [0.75, 1, 0.75], [0.5, 0.75, 1]]
    np.testing.assert_allclose(found.pairs_NxN, expected)
    assert found.mean == pytest.approx((0.75 + 0.5 + 0.75) / 3)
    assert found.unanimous == 0.5
    alone = ensemble.agreement(["ab"])
    assert (alone.mean, alone.unanimous) == (1, 1)


def test_the_calibration_error_by_hand():
    """Two bins: (0, 0.5] has mean confidence 0.4, accuracy 0.5; (0.5, 1] 0.85, 1."""
    confidence = np.array([0.3, 0.5, 0.8, 0.9])
    correct = np.array([False, True, True, True])
    error = ensemble.calibration_error(confidence, correct, bins=2)
    assert error == pytest.approx(0.5 * 0.1 + 0.5 * 0.15)
    assert ensemble.calibration_error(np.ones(2), np.array([True, True])) == 0
    assert ensemble.calibration_error(np.ones(2), np.array([False, False])) == 1
    assert ensemble.calibration_error(np.zeros(1), np.array([True])) == 1


def test_the_calibration_error_is_that_of_scikit_learns_curve():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=1000)
    correct = rng.uniform(size=1000) < confidence**2
    accuracy, mean = calibration_curve(correct, confidence, n_bins=ensemble.BINS)
    counts, _ = np.histogram(confidence, ensemble.BINS, (0, 1))
    expected = np.abs(accuracy - mean) @ counts / 1000
    error = ensemble.calibration_error(confidence, correct)
    assert error == pytest.approx(expected)
