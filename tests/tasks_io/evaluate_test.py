"""Evaluation: metrics, illegal labels, label scoring, baselines, predictions."""

import functools
import json

import numpy as np
import pytest
import seqio
import tensorflow as tf

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io import data, evaluate
from prompt_tuning.training import batching
from tasks import accuracy, label_index

VOCABULARY = seqio.ByteVocabulary()  # ids are bytes + 3; no file needed
FEATURE = seqio.Feature(VOCABULARY, add_eos=True)
# The letter asked about decides: "yes" to a, "no" to b.
TEXTS = [("letter a", "yes"), ("letter b", "no"), ("letter bb", "no")]


def half(targets, predictions):
    """A second metric, half of the first."""
    return {"half": accuracy(targets, predictions)["accuracy"] / 2}


def make_task(texts=TEXTS, name="letters", **changes):
    def dataset(split, shuffle_files, seed=None):
        inputs, targets = zip(*texts, strict=True)
        lines = {"inputs": list(inputs), "targets": list(targets)}
        return tf.data.Dataset.from_tensor_slices(lines)

    return seqio.Task(
        **{
            "name": name,
            "source": seqio.FunctionDataSource(dataset, splits=["train", "validation"]),
            "preprocessors": [
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            "output_features": {"inputs": FEATURE, "targets": FEATURE},
            "postprocess_fn": functools.partial(
                label_index, label_classes=("yes", "no")
            ),
            "metric_fns": [accuracy, half],
        }
        | changes
    )


def evaluator(task, batch_size=2):
    examples = data.load_examples(task, "validation")
    return evaluate.make_evaluator(task, examples, batch_size)


def tokens(words, length=8):
    return batching.pad([[*VOCABULARY.encode(word), 1] for word in words], length)


def always(word):
    return lambda inputs: tokens([word] * len(inputs))


def by_letter(inputs_NxT):
    texts = [VOCABULARY.decode(row.tolist()) for row in inputs_NxT]
    return tokens(["yes" if "a" in text else "no" for text in texts])


def test_metrics_are_the_tasks_own():
    task = make_task()
    run = evaluator(task)
    assert run(by_letter).metrics == {"letters": {"accuracy": 100.0, "half": 50.0}}
    third = pytest.approx(100 / 3)
    assert run(always("yes")).metrics["letters"]["accuracy"] == third
    # The same evaluator again: nothing of an earlier call is left in it.
    assert run(by_letter).metrics["letters"]["accuracy"] == 100.0
    assert not [name for name in seqio.TaskRegistry.names() if "letters" in name]


def test_the_model_sees_batches_of_one_size_and_every_example_once():
    seen = []

    def predict(inputs_NxT):
        seen.append([VOCABULARY.decode(row.tolist()) for row in inputs_NxT])
        return by_letter(inputs_NxT)

    assert evaluator(make_task(), batch_size=2)(predict).metrics["letters"]
    first, second, last = (text for text, _ in TEXTS)
    assert seen == [[first, second], [last, last]]


def test_predictions_keep_their_order_across_batches():
    inputs = np.arange(14, dtype=np.int32).reshape(7, 2)
    outputs = evaluate.predict_in_batches(lambda x: x + 1, inputs, batch_size=3)
    np.testing.assert_array_equal(outputs, inputs + 1)


def test_inputs_of_like_lengths_are_predicted_together_and_cut():
    inputs = np.zeros((6, 512), np.int32)
    for row, size in enumerate((400, 10, 64, 70, 0, 120)):
        inputs[row, :size] = row + 1
    seen = []

    def predict(inputs_NxT):
        seen.append(inputs_NxT.shape)
        return inputs_NxT[:, :1]

    outputs = evaluate.predict_in_batches(predict, inputs, batch_size=2)
    np.testing.assert_array_equal(outputs, inputs[:, :1])
    assert seen == [(2, 64), (2, 96), (2, 512)]


def test_illegal_labels_are_wrong_and_their_share_is_told():
    # Neither a longer word nor another case is the label.
    said = {"letter a": "yes", "letter b": "now", "letter bb": "No"}

    def predict(inputs_NxT):
        return tokens([said[VOCABULARY.decode(row.tolist())] for row in inputs_NxT])

    evaluation = evaluator(make_task())(predict)
    assert evaluation.illegal == {"letters": pytest.approx(2 / 3)}
    assert evaluation.metrics["letters"]["accuracy"] == pytest.approx(100 / 3)


def test_predictions_are_written_one_a_line(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("an older file")
    texts = [("letter ä", "yes"), ("letter b", "no")]
    evaluator(make_task(texts))(always("no"), path)
    lines = path.read_text(encoding="utf-8").splitlines()
    common = {"task": "letters", "prediction": "no", "legal": True}
    assert [json.loads(line) for line in lines] == [
        {"index": 0, "inputs": "letter ä", "target": "yes", "correct": False} | common,
        {"index": 1, "inputs": "letter b", "target": "no", "correct": True} | common,
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_split_without_labels_has_predictions_and_no_metrics(tmp_path):
    task = make_task([(text, "<unk>") for text, _ in TEXTS])
    path = tmp_path / "predictions.jsonl"
    evaluation = evaluator(task)(always("never"), path)
    assert evaluation == ({"letters": {}}, {"letters": 1.0})
    record = json.loads(path.read_text().splitlines()[0])
    assert record["legal"] is False and "correct" not in record
    with pytest.raises(UserError, match="no metric"):
        evaluate.development_score(evaluation.metrics)


def test_free_text_is_neither_legal_nor_illegal(tmp_path):
    def exact(targets, predictions):
        pairs = zip(targets, predictions, strict=True)
        return {"em": seqio.metrics.Scalar(np.mean([a == b for a, b in pairs]))}

    task = make_task(postprocess_fn=None, metric_fns=[exact])
    evaluation = evaluator(task)(always("no"), tmp_path / "p.jsonl")
    assert evaluation == ({"letters": {"em": pytest.approx(2 / 3)}}, {})
    record = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert record.keys() == {"task", "index", "inputs", "target", "prediction"}


def test_inputs_over_length_are_cut_for_the_model_and_whole_in_the_file(tmp_path):
    task = make_task()
    examples = data.load_examples(task, "validation", {"inputs": 4})
    widths = []

    def predict(inputs_NxT):
        widths.append(inputs_NxT.shape[1])
        assert (inputs_NxT[:, -1] == VOCABULARY.eos_id).all()
        return always("no")(inputs_NxT)

    path = tmp_path / "p.jsonl"
    evaluate.make_evaluator(task, examples, 3)(predict, path)
    assert widths == [4]
    assert json.loads(path.read_text().splitlines()[2])["inputs"] == "letter bb"


def test_a_mixture_is_evaluated_task_by_task(tmp_path):
    index = functools.partial(label_index, label_classes=("cat", "dog"))
    other = make_task([("letter a", "cat")], "animals", postprocess_fn=index)
    mixture = seqio.Mixture("both", [(make_task(), 1), (other, 1)])
    path = tmp_path / "p.jsonl"
    evaluation = evaluator(mixture)(by_letter, path)
    assert evaluation.metrics == {
        "animals": {"accuracy": 0.0, "half": 0.0},
        "letters": {"accuracy": 100.0, "half": 50.0},
    }
    assert evaluation.illegal == {"animals": 1.0, "letters": 0.0}
    assert len(path.read_text().splitlines()) == 4


def test_label_scoring_predicts_the_best_label():
    asked = []

    def score(inputs_NxT, labels_LxS):
        asked.append(labels_LxS)
        has_a = (inputs_NxT == VOCABULARY.encode("a")[0]).any(axis=1)
        return np.stack([has_a, ~has_a], axis=1).astype(np.float32)

    task = make_task()
    evaluation = evaluator(task)(evaluate.label_predict_fn(task, score))
    assert evaluation.metrics["letters"]["accuracy"] == 100.0
    assert evaluation.illegal == {"letters": 0.0}
    np.testing.assert_array_equal(asked[0], tokens(["yes", "no"], length=4))


def test_label_scoring_needs_label_words():
    task = make_task(postprocess_fn=None)
    with pytest.raises(UserError, match="names no label words"):
        evaluate.label_predict_fn(task, lambda inputs, labels: inputs)


def test_the_majority_baseline_is_the_training_splits_most_frequent_label():
    # "no" is the most frequent in training, "yes" in validation.
    task = make_task([("a", "no"), ("b", "no"), ("c", "yes")])
    train = data.load_examples(task, "train")
    task = make_task([("a", "yes"), ("b", "yes"), ("c", "yes"), ("d", "no")])
    examples = data.load_examples(task, "validation")
    metrics = evaluate.majority_baseline(task, train, examples)
    assert metrics == {"letters": {"accuracy": 25.0, "half": 12.5}}


def test_the_majority_of_a_mixture_is_each_tasks_own():
    more = make_task([("a", "yes")], "more")
    mixture = seqio.Mixture("both", [(make_task(), 1), (more, 1)])
    examples = data.load_examples(mixture, "train")
    metrics = evaluate.majority_baseline(mixture, examples, examples)
    assert metrics["letters"]["accuracy"] == pytest.approx(200 / 3)
    assert metrics["more"]["accuracy"] == 100.0


def test_the_development_score_averages_a_tasks_metrics_first():
    assert evaluate.development_score({"cb": {"accuracy": 90.0, "f1": 80.0}}) == 85.0
    both = {"cb": {"accuracy": 90.0, "f1": 80.0}, "rte": {"accuracy": 55.0}, "x": {}}
    assert evaluate.development_score(both) == 70.0


def test_a_task_without_fitting_metrics_is_a_user_error():
    def by_score(targets, scores):
        return {"loss": 0.0}

    for metric_fns, reason in (([], "no metrics"), ([by_score], "metrics of scores")):
        with pytest.raises(UserError, match=reason):
            evaluator(make_task(metric_fns=metric_fns))
