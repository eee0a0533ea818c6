"""What tasks have in common: rows and lengths, records, scores, the majority."""

import json

import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import POCKET
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.training import task

BYTES = load_vocabulary("byt5")  # ids are bytes + 3
EOS = {"inputs": 1, "targets": 1}


def rows(*texts):
    return [np.array([*BYTES.encode(text), 1], np.int32) for text in texts]


def make(parts, lengths=None, labels=None, rates=None, eos_ids=EOS):
    rates = rates or dict.fromkeys(parts, 1.0)
    labels = labels and task.label_ids(labels, BYTES)
    return task.make_examples(
        "train", parts, lengths, rates=rates, labels_LxS=labels, eos_ids=eos_ids
    )


# Texts -> ids.


def test_texts_become_padded_rows_that_end_with_eos():
    ids, cut = task.encode_rows(["ab", "", "abcd"], BYTES)
    a, b, c, d = range(100, 104)
    assert ids.tolist() == [[a, b, 1, 0, 0], [1, 0, 0, 0, 0], [a, b, c, d, 1]]
    assert (ids.dtype, cut) == (np.int32, 0)
    ids, cut = task.encode_rows(["ab", "abc", "abcd"], BYTES, length=3)
    assert ids.tolist() == [[a, b, 1]] * 3 and cut == 2
    ids, cut = task.encode_rows(["a" * 511, "a" * 512], BYTES)
    assert ids.shape == (2, 512) and (ids[:, -1] == 1).all() and cut == 1


def test_label_ids_are_what_the_model_writes_for_each_word():
    ids = task.label_ids(("yes", "no"), BYTES)
    assert ids.shape == (2, 4)
    assert [BYTES.decode(row) for row in ids] == ["yes", "no"]
    assert [row[row != 0][-1] for row in ids] == [1, 1]


def test_lengths_default_to_the_longest_row_or_label():
    parts = {"one": (rows("abc", "a"), rows("b", "no"))}
    assert make(parts).lengths == {"inputs": 4, "targets": 3}
    assert make(parts, labels=("yes", "no")).lengths["targets"] == 4
    assert make(parts, {"targets": 9}).lengths == {"inputs": 4, "targets": 9}
    long = make({"one": (rows("a" * 600), rows("b" * 600))})
    assert long.lengths == {"inputs": 512, "targets": 601}
    assert long.cut == {"inputs": 1, "targets": 0}


def test_longer_rows_are_cut_before_their_eos_and_counted():
    parts = {"one": (rows("abc", "a", "ab"), rows("no", "b", "b"))}
    examples = make(parts, {"inputs": 3, "targets": 2})
    assert [row.tolist() for row in examples.inputs] == [
        [100, 101, 1],
        [100, 1],
        [100, 101, 1],
    ]
    assert examples.cut == {"inputs": 1, "targets": 1}
    assert all(row.dtype == np.int32 for row in examples.inputs + examples.targets)
    bare = make(parts, {"inputs": 2}, eos_ids={"inputs": None, "targets": 1})
    assert bare.inputs[0].tolist() == [100, 101]


def test_examples_of_a_mixture_keep_sizes_and_rates_by_task():
    parts = {"often": (rows("a", "b"), rows("x", "y")), "rare": (rows("c"), rows("z"))}
    examples = make(parts, rates={"rare": 1, "often": 4, "elsewhere": 2})
    assert examples.split == "train"
    assert examples.sizes == {"often": 2, "rare": 1}
    assert examples.rates == {"often": 4.0, "rare": 1.0}
    assert [BYTES.decode(examples.targets[row]) for row in examples.rows("rare")] == [
        "z"
    ]


def test_a_task_without_rows_is_a_user_error():
    with pytest.raises(UserError, match="two has no examples in its split 'train'"):
        make({"one": (rows("a"), rows("b")), "two": ([], [])})


@pytest.mark.parametrize("lengths", [{"input": 8}, {"inputs": 0}, {"targets": "8"}])
def test_lengths_that_mean_nothing_are_a_user_error(lengths):
    with pytest.raises(UserError, match="TASK_FEATURE_LENGTHS has"):
        make({"one": (rows("a"), rows("b"))}, lengths)


# Predictions.


def test_a_verdict_needs_label_words_and_of_right_and_wrong_a_label():
    words = ("yes", "no")
    assert task.verdict("yes", "yes", words) == {"legal": True, "correct": True}
    assert task.verdict("Yes", "yes", words) == {"legal": False, "correct": False}
    assert task.verdict("yes", "<unk>", words) == {"legal": True}
    assert task.verdict("yes", "yes", None) == {}


def test_the_illegal_share_is_of_each_task_with_label_words():
    said = [("cb", True), ("cb", False), ("cb", False), ("rte", True), ("squad", None)]
    records = [
        {"task": name} | ({} if legal is None else {"legal": legal})
        for name, legal in said
    ]
    assert task.illegal_shares(records) == {"cb": pytest.approx(2 / 3), "rte": 0.0}


def test_predictions_are_written_one_a_line(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("an older file")
    records = [{"index": 0, "prediction": "ä\n"}, {"index": 1, "legal": True}]
    task.write_predictions(records, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records and "ä" in lines[0]
    assert list(tmp_path.iterdir()) == [path]


def test_the_development_score_averages_a_tasks_metrics_first():
    assert task.development_score({"cb": {"accuracy": 90.0, "f1": 80.0}}) == 85.0
    both = {"cb": {"accuracy": 90.0, "f1": 80.0}, "rte": {"accuracy": 55.0}, "x": {}}
    assert task.development_score(both) == 70.0
    assert task.development_score(both, trained=["rte", "x"]) == 55.0
    assert task.development_score(both, trained=["x"]) == 70.0
    with pytest.raises(UserError, match="no metric"):
        task.development_score({"x": {}})


def test_where_less_is_better_a_metric_counts_negatively():
    less = task.Lower(30.0)
    assert less == 30.0 and json.dumps({"errors": less}) == '{"errors": 30.0}'
    assert task.development_score({"cb": {"errors": less}}) == -30.0
    both = {"cb": {"errors": less, "accuracy": 90.0}, "rte": {"loss": task.Lower(2)}}
    assert task.development_score(both) == 14.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), task.Lower("-inf")])
def test_a_metric_that_is_no_number_is_a_user_error(value):
    task.check_finite({"cb": {"f1": 0.0}, "x": {}})
    with pytest.raises(UserError, match=r"cb: the metric f1 is -?(nan|inf) here"):
        task.check_finite({"cb": {"accuracy": 1.0, "f1": value}})


def test_each_example_has_the_labels_of_its_own_task():
    examples = make(
        {"a": (rows("x", "y"), rows("p", "q")), "b": (rows("z"), rows("q"))}
    )
    words = {"a": ("p", "q"), "b": ["q", "r", "s"]}
    split = task.Split(examples, lambda texts: None, words)
    found, own_NxL = split.labels()
    assert found == ["p", "q", "r", "s"]
    assert own_NxL.astype(int).tolist() == [*[[1, 1, 0, 0]] * 2, [0, 1, 1, 1]]
    with pytest.raises(UserError, match=r"^b names no label words"):
        task.Split(examples, lambda texts: None, {"a": ("p",)}).labels()


def test_the_majority_is_the_most_frequent_training_target_of_each_task():
    def of(**targets):
        parts = {name: (rows(*texts), rows(*texts)) for name, texts in targets.items()}
        return make(parts)

    train = of(one=["no", "yes", "no"], two=["b"])
    development = of(two=["a", "b"], one=["yes"], three=["c"])
    said = task.majority_predictions(train, development, BYTES)
    assert said == ["b", "b", "no", ""]

    def score(texts):
        assert texts == said
        metrics = {"one": {"accuracy": 0.0}, "two": {"accuracy": 50.0}, "three": {}}
        metrics["two"]["pearson"] = float("nan")  # for constant predictions
        return task.Evaluation(metrics, {}), []

    split = task.Split(development, score)
    baseline = task.majority_baseline(train, split, BYTES)
    assert baseline == {"one": {"accuracy": 0.0}, "two": {"accuracy": 50.0}}


def test_the_majority_is_cut_as_the_examples_are():
    train = make({"one": (rows("a"), rows("word"))}, {"targets": 3})
    assert task.majority_predictions(train, train, BYTES) == ["wo"]


@pytest.mark.parametrize("name", ["byt5", "pocket"])
def test_a_label_with_a_sentinel_is_what_the_task_trains_on(name):
    """The released code's tasks put the last id in front of the target's own ids."""
    path = {"pocket": str(POCKET / "spiece.model")}.get(name, name)
    vocabulary = load_vocabulary(path)
    labels_LxS = task.label_ids(["<extra_id_0> yes", "yes"], vocabulary)
    marked, plain = (row[row > 0].tolist() for row in labels_LxS)
    assert plain == [*vocabulary.encode("yes"), vocabulary.eos_id]
    assert marked == [vocabulary.vocab_size - 1, *plain]
