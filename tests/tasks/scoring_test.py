"""Postprocessing and metrics, by hand and against T5's on the same predictions."""

import json

import pytest

from prompt_tuning.tasks import accuracy, scoring

BOTH = ("False", "True")


@pytest.fixture
def golden(shared):
    return json.loads((shared / "golden" / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("squad", [scoring.squad]),
        ("cb_mean_3class_f1", [scoring.mean_3class_f1]),
        ("accuracy", [accuracy]),
        ("f1_score_with_invalid", [scoring.f1]),
        ("multirc", [scoring.multirc_f1, scoring.multirc_exact_match]),
    ],
)
def test_metrics_agree_with_t5s(golden, name, metrics):
    made_up = golden[name]
    scores = {}
    for metric in metrics:
        scores |= metric(made_up["targets"], made_up["predictions"])
    assert scores == pytest.approx(made_up["scores"], abs=1e-9)


def test_wsc_referents_agree_with_t5s(golden):
    for case in golden["wsc_simple"]:
        example = {"referent": case["referent"].encode()}
        assert scoring.same_referent(case["prediction"], example) == case["says_true"]


@pytest.mark.parametrize(
    ("said", "referent", "same"),
    [
        ("The  Dog", "dog", 1),
        ("the big dog", "big", 1),
        ("Ann's dog", "dog", 0),
        ("his", "dog", -1),
        ("cat", "dog", 0),
    ],
)
def test_a_referent_is_the_same_in_other_words(said, referent, same):
    example = {"referent": referent.encode(), "label": 1}
    assert scoring.same_referent(said, example) == same
    assert scoring.same_referent(said, example, is_target=True) == 1


def test_postprocessing_takes_what_metrics_need_from_the_example():
    example = {"idx/question": 3, "idx/passage": 1, "idx/query": 2}
    example["answers"] = [b"a", "é".encode()]
    index = scoring.option_index
    assert index("True", BOTH, example, is_target=True) == {"value": 1, "group": 3}
    assert index("true", BOTH, example) == {"value": -1}
    expected = {"value": ["a", "é"], "group": (1, 2)}
    assert scoring.entity("a", example, is_target=True) == expected
    assert scoring.entity("b", example) == {"value": "b"}
    assert scoring.answers("a", example, is_target=True) == ["a", "é"]
    assert scoring.answers("b", example) == "b"
    assert scoring.text("b", example=example) == "b"
    assert [scoring.number(text) for text in ("3.4", "much")] == [3.4, -1.0]


def test_a_text_is_read_before_it_is_looked_up():
    found = scoring.read_first(
        "TRUE", scoring.option_index, str.title, label_classes=BOTH, example={}
    )
    assert found == {"value": 1}


def test_f1_counts_an_illegal_prediction_as_the_other_class():
    # One true positive, one false (illegal on 0), one false negative (illegal on 1).
    assert scoring.f1([1, 0, 1, 0], [1, -1, -1, 0]) == {"f1": pytest.approx(50)}


def test_a_class_that_never_occurs_counts_in_cbs_f1():
    assert scoring.mean_3class_f1([0, 0], [0, 0]) == {
        "mean_3class_f1": pytest.approx(100 / 3)
    }


def test_matthews_and_correlations_are_in_percent():
    score = scoring.matthews_corrcoef([1, 1, 0, 0], [1, 0, 0, 0])
    assert score["matthews_corrcoef"] == pytest.approx(100 / 3**0.5)
    targets, predictions = [0.0, 1.0, 2.0], [1.0, 2.0, 6.0]
    pearson = scoring.pearson_corrcoef(targets, predictions)["pearson_corrcoef"]
    assert pearson == pytest.approx(100 * 5 / (2 * 14) ** 0.5)
    spearman = scoring.spearman_corrcoef(targets, predictions)
    assert spearman == {"spearman_corrcoef": pytest.approx(100)}
    assert scoring.pearson_corrcoef(targets, [1.0] * 3) == {"pearson_corrcoef": 0.0}


def test_squad_forgives_case_articles_and_punctuation():
    scores = scoring.squad([["The U.S.", "b"], ["a b c"]], ["us!", "b d"])
    # The second shares one word of its two with the answer's two: "a" is no word.
    assert scores == {"em": 50.0, "f1": pytest.approx(100 * (1 + 0.5) / 2)}


def test_record_counts_a_query_once():
    targets = [{"value": ["x"], "group": (0, query)} for query in (0, 0, 1)]
    predictions = [{"value": text} for text in ("x", "wrong", "x")]
    assert scoring.record(targets, predictions) == {"em": 100.0, "f1": 100.0}


def test_without_labels_there_is_no_metric():
    groups = [{"value": -1, "group": 0}]
    for metric in (accuracy, scoring.f1, scoring.mean_3class_f1):
        assert metric([-1, -1], [0, 1]) == {}
    assert scoring.matthews_corrcoef([-1], [0]) == {}
    assert scoring.pearson_corrcoef([-1.0], [2.0]) == {}
    assert scoring.multirc_f1(groups, [{"value": 1}]) == {}
    assert scoring.multirc_exact_match(groups, [{"value": 1}]) == {}
    assert scoring.squad([[], []], ["a", "b"]) == {}
    assert scoring.record([{"value": [], "group": 0}], [{"value": "a"}]) == {}


# Table 3 of the paper: average, best and ensemble of five prompts.
TABLE_3 = {
    "boolq": [(91.1,), (91.3,), (91.7,)],
    "cb": [(99.3, 99.0), (100.0, 100.0), (100.0, 100.0)],
    "copa": [(98.8,), (100.0,), (100.0,)],
    "multirc": [(65.7, 88.7), (66.3, 89.0), (67.1, 89.4)],
    "record": [(92.7, 93.4), (92.9, 93.5), (93.2, 93.9)],
    "rte": [(92.6,), (93.5,), (93.5,)],
    "wic": [(76.2,), (76.6,), (77.4,)],
    "wsc": [(95.8,), (96.2,), (96.2,)],
}


@pytest.mark.parametrize(("column", "score"), enumerate([90.49, 91.06, 91.33]))
def test_the_superglue_score_is_the_papers(column, score):
    metrics = {
        task: dict(enumerate(columns[column])) for task, columns in TABLE_3.items()
    }
    assert scoring.superglue_score(metrics) == pytest.approx(score, abs=0.005)


def test_the_superglue_score_needs_all_eight():
    with pytest.raises(ValueError, match=r"needs cb, copa, multirc.* wsc too"):
        scoring.superglue_score({"boolq": {"accuracy": 1.0}, "cb": {}})
