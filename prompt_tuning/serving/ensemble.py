"""Several prompts' answers to the same examples, made into one (paper section 6).

Pure functions of N members' answers to M examples. The paper takes "simple majority
voting"; of ties it says nothing: here the answer whose voters' log-probabilities sum to
the most wins.
"""

import collections
import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

BINS = 15  # of a calibration error, as in Guo et al. (2017)


class Vote(NamedTuple):
    """A vote on each of M examples.

    member_M: int, of those that gave the winning answer the one that was surest of it.
    share_M: the share of the members that gave it.
    tied_M: bool, whether another answer had as many votes.
    """

    member_M: np.ndarray
    share_M: np.ndarray
    tied_M: np.ndarray


class Agreement(NamedTuple):
    """How often members give the same answer, as shares of the examples.

    pairs_NxN: of each two. mean: over all pairs of different members, 1 for a single
    member. unanimous: all of them do.
    """

    pairs_NxN: np.ndarray
    mean: float
    unanimous: float


def comparable(answer: Any) -> Hashable:
    """An answer as a task's postprocess function gives it, as a value to count."""
    if isinstance(answer, np.ndarray | np.generic):
        answer = answer.tolist()
    if isinstance(answer, Mapping):
        return frozenset((key, comparable(value)) for key, value in answer.items())
    if isinstance(answer, list | tuple):
        return tuple(map(comparable, answer))
    return "nan" if answer != answer else answer  # else no NaN would equal another


def vote(answers_NxM: Sequence[Sequence[Any]], log_probs_NxM: np.ndarray) -> Vote:
    """The majority's answer to each example.

    Of answers with as many votes the one wins whose voters' log-probabilities sum to
    more; of those that are equal even in that, the earliest member's.

    Args:
      answers_NxM: of each member, after the task's own post-processing.
      log_probs_NxM: of what each member wrote, in nats.
    """
    member, share, tied = [], [], []
    for column, answers in enumerate(zip(*answers_NxM, strict=True)):
        voters = collections.defaultdict(list)
        for index, answer in enumerate(map(comparable, answers)):
            voters[answer].append(index)
        log_probs_N = log_probs_NxM[:, column]
        most = max(map(len, voters.values()))
        first = [those for those in voters.values() if len(those) == most]
        winners = max(first, key=lambda those: log_probs_N[those].sum())
        member.append(max(winners, key=lambda index: log_probs_N[index]))
        share.append(most / len(answers))
        tied.append(len(first) > 1)
    return Vote(np.array(member, int), np.array(share), np.array(tied, bool))


def probabilities(scores_NxMxL: np.ndarray) -> np.ndarray:
    """The probabilities [N, M, L] of labels, which sum to 1, by their scores in nats.

    A score of -inf is a label that the example may not have.
    """
    best_NxMx1 = scores_NxMxL.max(axis=-1, keepdims=True)
    p_NxMxL = np.exp(scores_NxMxL.astype(np.float64) - best_NxMx1)
    return p_NxMxL / p_NxMxL.sum(axis=-1, keepdims=True)


def agreement(answers_NxM: Sequence[Sequence[Any]]) -> Agreement:
    """How often the members give the same answers."""
    rows = [list(map(comparable, row)) for row in answers_NxM]
    pairs_NxN = np.array([[_equal(one, other) for other in rows] for one in rows])
    pairs = [pairs_NxN[i, j] for i, j in itertools.combinations(range(len(rows)), 2)]
    unanimous = np.mean([len(set(column)) == 1 for column in zip(*rows, strict=True)])
    return Agreement(pairs_NxN, float(np.mean(pairs or [1.0])), float(unanimous))


def _equal(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    return float(np.mean([a == b for a, b in zip(one, other, strict=True)]))


def calibration_error(
    confidence_M: np.ndarray, correct_M: np.ndarray, bins: int = BINS
) -> float:
    """The expected calibration error, from 0 to 1 (Guo et al., 2017, equation 3).

    The mean distance of confidence and accuracy over `bins` equally wide bins of
    confidence, weighted by the examples in them. A bin holds its upper bound.

    Args:
      confidence_M: the probability of each prediction. correct_M: bool.
    """
    confidence_M, correct_M = np.asarray(confidence_M, float), np.asarray(correct_M)
    bin_M = np.clip(np.ceil(confidence_M * bins) - 1, 0, bins - 1)
    gaps = [
        abs(confidence_M[bin_M == b].sum() - correct_M[bin_M == b].sum())
        for b in np.unique(bin_M)
    ]
    return float(sum(gaps) / len(confidence_M))
