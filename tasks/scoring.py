"""Postprocessing of decoded texts, and metrics in percent, as T5 computes them.

Postprocess functions are given the text that a model wrote or, with `is_target`, a
target's text, and the `example`, whose features they may use. Without any labelled
target a metric is {}. SciPy and scikit-learn take most of a second to import, and so
are imported by the metrics that need them.
"""

import collections
import re
import statistics
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prompt_tuning.tasks import label_index

Metrics = dict[str, float]
Example = Mapping[str, Any]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Words that do not distinguish one referent from another.
_DETERMINERS = frozenset(
    """a an few her his each every many much my our some that the their these this
    those which whose your""".split()
)


def read_first(
    text: str,
    postprocess: Callable[..., object],
    read: Callable[[str], str],
    said_classes: Sequence[str] = (),
    **keywords: object,
) -> object:
    """Postprocesses read(text), a label in the task's own words.

    `said_classes`, the labels in the model's words, are only for prompt_tuning to read.
    """
    return postprocess(read(text), **keywords)


def option_index(
    text: str,
    label_classes: Sequence[str],
    example: Example,
    is_target: bool = False,
    **unused: object,
) -> dict[str, Any]:
    """MultiRC: {"value": label}; for a target also its question, as "group"."""
    group = {"group": int(example["idx/question"])} if is_target else {}
    return {"value": label_index(text, label_classes)} | group


def entity(
    text: str, example: Example, is_target: bool = False, **unused: object
) -> dict[str, Any]:
    """ReCoRD: {"value": text}; for a target all answers, and its query as "group"."""
    if not is_target:
        return {"value": text}
    group = int(example["idx/passage"]), int(example["idx/query"])
    return {"value": answers(text, example, is_target), "group": group}


def answers(
    text: str, example: Example, is_target: bool = False, **unused: object
) -> str | list[str]:
    """SQuAD and similar sets: the text; for a target all answers."""
    if not is_target:
        return text
    return [answer.decode() for answer in example["answers"]]


def same_referent(
    text: str, example: Example, is_target: bool = False, **unused: object
) -> int:
    """WSC: 1 if the text names span 1, else 0; for a target, the label.

    It does if its words are among span 1's, or the reverse; -1 if it has no words.
    """
    if is_target:
        return int(example["label"])
    said, referent = _bare(text), _bare(example["referent"].decode())
    if not said:
        return -1
    if ("'" in said) != ("'" in referent):
        return 0
    said_words, words = set(said.split(" ")), set(referent.split(" "))
    return int(said_words <= words or words <= said_words)


def _bare(text: str) -> str:
    words = text.strip().lower().split(" ")
    return " ".join(word for word in words if word not in _DETERMINERS)


def text(text: str, **unused: object) -> str:
    """Definite pronoun resolution: the text itself."""
    return text


def number(text: str, **unused: object) -> float:
    """STS-B's score; -1 for a text that is not a number."""
    try:
        return float(text)
    except ValueError:
        return -1.0


def mean_3class_f1(targets: Sequence[int], predictions: Sequence[int]) -> Metrics:
    """CB's F1: the mean of its three classes' F1 scores."""
    if not _labelled(targets):
        return {}
    import sklearn.metrics

    score = sklearn.metrics.f1_score(
        targets,
        predictions,
        labels=[0, 1, 2],
        average="macro",
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {"mean_3class_f1": 100 * float(score)}


def f1(targets: Sequence[int], predictions: Sequence[int]) -> Metrics:
    """F1 of class 1 of two; a prediction of neither counts as the wrong one."""
    if not _labelled(targets):
        return {}
    valid = [
        prediction if prediction in (0, 1) else 1 - target
        for target, prediction in zip(targets, predictions, strict=True)
    ]
    import sklearn.metrics

    score = sklearn.metrics.f1_score(
        targets,
        valid,
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {"f1": 100 * float(score)}


def matthews_corrcoef(targets: Sequence[int], predictions: Sequence[int]) -> Metrics:
    """CoLA's and AX's metric; -1, illegal, is a class of its own."""
    if not _labelled(targets):
        return {}
    import sklearn.metrics

    score = sklearn.metrics.matthews_corrcoef(targets, predictions)
    return {"matthews_corrcoef": 100 * float(score)}


def pearson_corrcoef(targets: Sequence[float], predictions: Sequence[float]) -> Metrics:
    """STS-B's first metric; 0 if all predictions are the same."""
    import scipy.stats

    return _correlation("pearson_corrcoef", scipy.stats.pearsonr, targets, predictions)


def spearman_corrcoef(
    targets: Sequence[float], predictions: Sequence[float]
) -> Metrics:
    """STS-B's second metric; 0 if all predictions are the same."""
    import scipy.stats

    return _correlation(
        "spearman_corrcoef", scipy.stats.spearmanr, targets, predictions
    )


def _correlation(
    name: str, correlate: Callable, targets: Sequence, predictions: Sequence
) -> Metrics:
    if not _labelled(targets):
        return {}
    if len(set(predictions)) < 2 or len(set(targets)) < 2:
        return {name: 0.0}
    return {name: 100 * float(correlate(targets, predictions)[0])}


def multirc_f1(targets: Sequence[dict], predictions: Sequence[dict]) -> Metrics:
    """MultiRC's F1a: over all answer options."""
    return f1([t["value"] for t in targets], [p["value"] for p in predictions])


def multirc_exact_match(
    targets: Sequence[dict], predictions: Sequence[dict]
) -> Metrics:
    """MultiRC's EM: the share of questions with all options right."""
    if not _labelled([target["value"] for target in targets]):
        return {}
    right = collections.defaultdict(list)
    for target, prediction in zip(targets, predictions, strict=True):
        right[target["group"]].append(target["value"] == prediction["value"])
    return {"exact_match": 100 * statistics.fmean(map(all, right.values()))}


def squad(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> Metrics:
    """Exact match and word F1, each against the best of an example's answers.

    Case, punctuation and articles are ignored, as in SQuAD's own script.
    """
    pairs = [
        ([_normal(answer) for answer in answers], _normal(prediction))
        for answers, prediction in zip(targets, predictions, strict=True)
        if answers
    ]
    if not pairs:
        return {}
    matches = [prediction in answers for answers, prediction in pairs]
    scores = [
        max(_word_f1(a, prediction) for a in answers) for answers, prediction in pairs
    ]
    means = [100 * statistics.fmean(values) for values in (matches, scores)]
    return dict(zip(("em", "f1"), means, strict=True))


def record(targets: Sequence[dict], predictions: Sequence[dict]) -> Metrics:
    """SQuAD's metrics, on only the first example of each query."""
    first = {}
    for target, prediction in zip(targets, predictions, strict=True):
        first.setdefault(target["group"], (target["value"], prediction["value"]))
    return squad(*zip(*first.values(), strict=True))


def _normal(text: str) -> str:
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def _word_f1(answer: str, prediction: str) -> float:
    expected, said = answer.split(), prediction.split()
    shared = (collections.Counter(expected) & collections.Counter(said)).total()
    return 2 * shared / (len(expected) + len(said)) if shared else 0.0


def _labelled(targets: Sequence[float]) -> bool:
    return any(target != -1 for target in targets)


SUPERGLUE = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")


def superglue_score(metrics: Mapping[str, Metrics]) -> float:
    """The SuperGLUE score: the mean of eight tasks, each the mean of its metrics.

    Args:
      metrics: {task, by its alias: {metric: percent}}.

    Raises:
      ValueError: a task is missing.
    """
    missing = [task for task in SUPERGLUE if not metrics.get(task)]
    if missing:
        raise ValueError(f"the SuperGLUE score needs {', '.join(missing)} too")
    return statistics.fmean(
        statistics.fmean(metrics[task].values()) for task in SUPERGLUE
    )
