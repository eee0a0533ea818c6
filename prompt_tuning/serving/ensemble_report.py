"""What an ensemble and its members score, as a table and for ensemble.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prompt_tuning.runs import report
from prompt_tuning.serving import ensemble
from prompt_tuning.serving.members import Answers
from prompt_tuning.training.task import (
    Evaluation,
    Lower,
    Metrics,
    Record,
    Split,
    check_finite,
    development_score,
)


def results(
    split: Split, names: Sequence[str], said: Answers
) -> tuple[dict[str, Any], list[Record]]:
    """The scores of members and ensemble, for ensemble.json; and each example's votes.

    The "average" and "best" of the members are those of the paper's Table 3, the best
    chosen by the mean of a task's metrics. "ece", the calibration error, is of label
    probabilities, and of a vote of the share of the members. All but shares of
    "illegal" labels and "ece", from 0 to 1, are as the task's metrics have them.
    """
    singles = [split.score(texts) for texts in said.texts_NxM]
    answers_NxM = [split.answers(texts) for texts in said.texts_NxM]
    for evaluation, _ in singles:
        check_finite(evaluation.metrics)
    vote = ensemble.vote(answers_NxM, said.log_probs_NxM)
    texts = [said.texts_NxM[n][m] for m, n in enumerate(vote.member_M)]
    voted, records = split.score(texts)
    p_NxMxL = None
    if said.scores_NxMxL is not None:
        p_NxMxL = ensemble.probabilities(said.scores_NxMxL)
    single_eces, mean = _by_probability(split, said.words_L, p_NxMxL, len(names))
    metrics = [evaluation.metrics for evaluation, _ in singles]
    found = {
        "split": split.examples.split,
        "examples": len(split.examples),
        "cut": split.examples.cut,
        "members": {
            name: one._asdict() | {"ece": ece}
            for name, (one, _), ece in zip(names, singles, single_eces, strict=True)
        },
        "average": {"metrics": average(metrics), "ece": _mean(single_eces)},
        "best": best(names, metrics),
        "vote": voted._asdict() | {"ece": _ece(vote.share_M, records)},
        "mean_probability": mean,
        "agreement": _told(ensemble.agreement(answers_NxM)),
        "ties": int(vote.tied_M.sum()),
    }
    lines = [
        record
        | {
            "answers": [texts[m] for texts in said.texts_NxM],
            "share": float(vote.share_M[m]),
            "tied": bool(vote.tied_M[m]),
        }
        | _mean_probabilities(said.words_L, p_NxMxL, m)
        for m, record in enumerate(records)
    ]
    return found, lines


def _mean_probabilities(
    words_L: Sequence[str], p_NxMxL: np.ndarray | None, m: int
) -> dict[str, dict[str, float]]:
    """The members' mean probability of each label that example `m` may have."""
    if p_NxMxL is None:
        return {}
    mean_L = p_NxMxL[:, m].mean(axis=0).tolist()
    return {"probabilities": {w: p for w, p in zip(words_L, mean_L, strict=True) if p}}


def _by_probability(
    split: Split, words_L: Sequence[str], p_NxMxL: np.ndarray | None, count: int
) -> tuple[list[float | None], dict[str, Any] | None]:
    """Each member's calibration error, and the scores of their mean probabilities."""
    if p_NxMxL is None:
        return [None] * count, None

    def scored(p_MxL: np.ndarray) -> tuple[Evaluation, float | None]:
        texts = [words_L[int(i)] for i in p_MxL.argmax(axis=-1)]
        evaluation, records = split.score(texts)
        return evaluation, _ece(p_MxL.max(axis=-1), records)

    evaluation, ece = scored(p_NxMxL.mean(axis=0))
    return [scored(p)[1] for p in p_NxMxL], evaluation._asdict() | {"ece": ece}


def _ece(confidence_M: np.ndarray, records: Sequence[Record]) -> float | None:
    """The calibration error; None where it is not known what is correct."""
    if not all("correct" in record for record in records):
        return None
    correct = np.array([record["correct"] for record in records])
    return ensemble.calibration_error(confidence_M, correct)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _told(found: ensemble.Agreement) -> dict[str, Any]:
    pairs = found.pairs_NxN.tolist()
    return {"mean": found.mean, "unanimous": found.unanimous, "pairs": pairs}


def average(members: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over the members."""
    return {
        task: {
            name: type(value)(np.mean([one[task][name] for one in members]))
            for name, value in values.items()
        }
        for task, values in members[0].items()
    }


def best(names: Sequence[str], members: Sequence[Metrics]) -> dict[str, Any]:
    """The best member of each task, and its metrics."""
    chosen: dict[str, str] = {}
    metrics: Metrics = {}
    for task, values in members[0].items():
        if not values:
            continue
        scores = [development_score({task: one[task]}) for one in members]
        chosen[task] = names[int(np.argmax(scores))]
        metrics[task] = members[int(np.argmax(scores))][task]
    return {"members": chosen, "metrics": metrics}


def table(found: Mapping[str, Any]) -> str:
    """The results as the paper's Table 3 has them, and agreement and calibration."""
    header = ["task", "metric", "average", "best", "vote", "mean probability"]
    mean, rows = found["mean_probability"], []
    for task, metrics in found["best"]["metrics"].items():
        for name, value in metrics.items():
            columns = [found["average"], found["best"], found["vote"], mean]
            numbers = [_number(one and one["metrics"][task][name]) for one in columns]
            rows.append([task, name + " (less is better)" * isinstance(value, Lower)])
            rows[-1] += numbers
    members, agreed = found["members"], found["agreement"]
    lines = [
        f"{found['split']}, {found['examples']} examples, {len(members)} prompts in "
        "one pass",
        "",
        *([report.lay_out([header, *rows], 2)] if rows else ["no labels, no metrics"]),
        "",
        f"same answer   {100 * agreed['mean']:.1f}% of the examples for two members, "
        f"{100 * agreed['unanimous']:.1f}% for all; {found['ties']} votes were tied",
    ]
    errors = (found["average"], found["vote"], mean or {})
    shown = [_number(one.get("ece") and 100 * one["ece"]) for one in errors]
    lines.append(
        f"calibration   error in percent: {shown[0]} of a single prompt (average), "
        f"{shown[1]} of the vote's share, {shown[2]} of the mean probability"
    )
    lines += [f"best of {t}  {one}" for t, one in found["best"]["members"].items()]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
