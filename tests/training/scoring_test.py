"""Scoring by hand-made rows; tests/tasks_io/evaluate_test.py compares it with seqio."""

import functools

import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.training import scoring
from prompt_tuning.training.task import Lower


def number_of(text, words=(), **unused):
    return words.index(text) if text in words else -1


def share(targets, predictions):
    pairs = zip(targets, predictions, strict=True)
    return {"share": sum(a == b for a, b in pairs) / len(targets)}


def errors(targets, predictions, lower_is_better=True):
    return {"errors": 1 - share(targets, predictions)["share"]}


def part(targets, name="letters", words=("yes", "no"), metrics=(share,)):
    return scoring.Part(
        name=name,
        split="validation",
        rows=[{"inputs": f"letter {t}", "targets": t} for t in targets],
        text=lambda row, key: row[key],
        target=lambda row: row["targets"],
        postprocess=functools.partial(number_of, words=words),
        keywords={"label_classes": words} if words else {},
        metrics=[*map(scoring.of_answers, metrics)],
    )


def test_each_task_is_scored_on_its_own_predictions():
    score = scoring.make_score([part(["yes", "no"]), part(["no"], name="more")])
    (metrics, illegal), records = score(["yes", "what", "no"])
    assert metrics == {"letters": {"share": 0.5}, "more": {"share": 1.0}}
    assert illegal == {"letters": 0.5, "more": 0.0}
    assert records[1] == {
        "task": "letters",
        "index": 1,
        "inputs": "letter no",
        "target": "no",
        "prediction": "what",
        "legal": False,
        "correct": False,
    }
    assert [(r["task"], r["index"]) for r in records[2:]] == [("more", 0)]
    with pytest.raises(ValueError, match="2 predictions of 3 examples"):
        score(["yes", "no"])


def test_a_metric_may_use_the_texts_and_say_that_less_is_better():
    def length(targets, said, texts):
        return {"length": len(texts[0]), "word": "not a number"}

    one = part(["yes"])
    one.metrics.append(scoring.Metric(functools.partial(errors), length))
    (metrics, _), _ = scoring.make_score([one])(["maybe"])
    assert metrics == {"letters": {"share": 0.0, "length": 5.0}}
    kinds = [type(value) for value in metrics["letters"].values()]
    assert kinds == [float, Lower]


def test_targets_must_be_labels_unless_there_are_none():
    with pytest.raises(UserError, match="example 1 of validation has the target 'x'"):
        part(["yes", "x"])
    assert part(["<unk>", "<unk>"]).unlabelled and not part(["yes"]).unlabelled
    metrics, records = part(["<unk>"]).score(["no"])
    assert metrics == {} and records[0]["legal"] and "correct" not in records[0]


def test_a_task_without_metrics_is_a_user_error():
    with pytest.raises(UserError, match="letters has no metrics"):
        part(["yes"], metrics=()).score(["yes"])


def test_words_are_those_of_the_first_keyword_that_a_task_has():
    said = {
        "a": {"label_classes": ("x", "y"), "said_classes": ("u",)},
        "b": {"label_classes": ["y", "x"], "class_words": ["v"]},
        "c": scoring.keywords(print),
    }
    assert scoring.said_words(said) == ("u", "y", "x")
    assert scoring.init_words(said) == ("x", "y", "v")
    assert scoring.said_words({"c": said["c"]}) is None
    for wrong in ("xy", ["x", "x"], [1]):
        with pytest.raises(UserError, match="label_classes of d are"):
            scoring.said_words({"d": {"label_classes": wrong}})
