"""Scores of predictions: seqio.Evaluator's metrics, records, what is legal."""

import functools

import flax
import jax.numpy as jnp
import numpy as np
import pytest
import seqio
import tensorflow as tf

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.tasks import accuracy, label_index, pocket, pocket_model, scoring
from prompt_tuning.tasks_io import tasks
from prompt_tuning.training import batching
from prompt_tuning.training.task import (
    Lower,
    development_score,
    majority_baseline,
)

VOCABULARY = load_vocabulary("byt5")  # ids are bytes + 3; no file needed
FEATURE = seqio.Feature(tasks.seqio_vocabulary(VOCABULARY), add_eos=True)
# The letter asked about decides: "yes" to a, "no" to b.
TEXTS = [("letter a", "yes"), ("letter b", "no"), ("letter bb", "no")]
RIGHT = [target for _, target in TEXTS]
YES_NO = functools.partial(label_index, label_classes=("yes", "no"))


def half(targets, predictions):
    """A second metric, half of the first."""
    return {"half": accuracy(targets, predictions)["accuracy"] / 2}


def make_task(texts=TEXTS, name="letters", features=None, **changes):
    """A task of pairs, and of what else its rows have."""

    def dataset(split, shuffle_files, seed=None):
        inputs, targets = zip(*texts, strict=True)
        lines = {"inputs": list(inputs), "targets": list(targets)}
        return tf.data.Dataset.from_tensor_slices(lines | (features or {}))

    return seqio.Task(
        **{
            "name": name,
            "source": seqio.FunctionDataSource(dataset, splits=["train", "validation"]),
            "preprocessors": [
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            "output_features": {"inputs": FEATURE, "targets": FEATURE},
            "postprocess_fn": YES_NO,
            "metric_fns": [accuracy, half],
        }
        | changes
    )


def load(task, vocabulary=VOCABULARY):
    return tasks.SeqioTask(task, vocabulary).load("validation")


def by_seqio(task, vocabulary, split, predictions):
    """What seqio.Evaluator makes of the same predictions: {metric: number}."""
    ids = [vocabulary.encode(text) for text in predictions]
    tokens_NxS = batching.pad(ids, 1 + max(map(len, ids)))
    seqio.TaskRegistry.add_provider("evaluated", task)
    try:
        evaluator = seqio.Evaluator(
            "evaluated",
            seqio.EncDecFeatureConverter(pack=False),
            eval_split=split,
            async_compute_metrics=False,
        )
    finally:
        seqio.TaskRegistry.remove("evaluated")
    future, _ = evaluator.evaluate(
        compute_metrics=True,
        predict_fn=lambda dataset: list(enumerate(tokens_NxS.tolist())),
    )
    (values,) = future.result().values()
    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    return {name: value for name, value in plain.items() if np.isscalar(value)}


# The metrics are seqio.Evaluator's.


@pytest.mark.parametrize("name", ["pocket_kind", "pocket_mood", "pocket_skill"])
def test_registered_tasks_score_as_seqio_scores_them(name):
    vocabulary = load_vocabulary(pocket_model())
    task = tasks.open_task(name, pocket.__name__, vocabulary)
    split = task.load("validation")
    words = [*(task.label_words() or ("yes", "no", "toy")), "no label"]
    rng = np.random.default_rng(0)
    said = [words[i] for i in rng.integers(len(words), size=len(split.examples))]
    evaluation, records = split.score(said)
    expected = by_seqio(task.seqio_task, vocabulary, "validation", said)
    assert evaluation.metrics == {name: expected}
    assert len(expected) >= 1 and len(records) == len(said)
    if task.label_words():
        judged = 100 * np.mean([record["correct"] for record in records])
        assert judged == pytest.approx(expected["accuracy"]) and 0 < judged < 100


QUESTIONS = {
    "idx/question": [7, 7, 8],
    "idx/passage": [0, 0, 0],
    "idx/query": [1, 1, 2],
}
QUESTIONS["answers"] = [["the yes", "yea"], ["no", "nay"], ["never", "no"]]
BY_EXAMPLE = {
    "multirc": (
        functools.partial(scoring.option_index, label_classes=("yes", "no")),
        [scoring.multirc_f1, scoring.multirc_exact_match],
    ),
    "record": (scoring.entity, [scoring.record]),
    "squad": (scoring.answers, [scoring.squad]),
    "wsc": (scoring.same_referent, [accuracy]),
    "text": (None, [scoring.squad]),
}


@pytest.mark.parametrize("kind", BY_EXAMPLE)
@pytest.mark.parametrize("said", [["yes", "no", "yes"], ["yea", "", "no!"], RIGHT])
def test_postprocessing_that_needs_the_example_scores_as_by_seqio(kind, said):
    features = QUESTIONS | {"referent": ["yes", "a no", "on"], "label": [1, 1, 0]}
    postprocess, metrics = BY_EXAMPLE[kind]
    task = make_task(features=features, postprocess_fn=postprocess, metric_fns=metrics)
    split = load(task)
    expected = by_seqio(task, VOCABULARY, "validation", said)
    for _ in range(2):  # nothing of an earlier call is left
        assert split.score(said)[0].metrics == {"letters": expected}
    assert expected


@flax.struct.dataclass
class Longest(seqio.metrics.Metric):
    """Of its own: tokens of the longest prediction, and a text, which is no number."""

    longest: int = 0
    model_output_type: int = seqio.metrics.ModelOutputType.PREDICTION

    @classmethod
    def from_model_output(cls, inputs, model_output, features, target_field_name):
        decode = features[target_field_name].vocabulary.decode
        words = [decode(row) for row in model_output.tolist()]
        assert len(words) == len(list(inputs))
        return cls(longest=max(map(len, words)))

    def compute(self):
        return {"longest": self.longest, "note": seqio.metrics.Text("long")}


@flax.struct.dataclass
class Collected(seqio.metrics.CollectingMetric):
    """Of its own: how many predictions are the target of their row, in tokens."""

    model_output_type: int = seqio.metrics.ModelOutputType.PREDICTION

    def actual_compute(self, rows, features, target_field_name, cached_targets=None):
        pairs = zip(rows, np.asarray(self.values["model_output"]), strict=True)
        equal = [
            row[target_field_name][:-1].tolist() == tokens[tokens > 0].tolist()
            for row, tokens in pairs
        ]
        return {"equal": seqio.metrics.Scalar(sum(equal))}, {
            "targets": [0] * len(equal)
        }


@pytest.mark.parametrize(
    "metrics",
    [
        [Longest],
        [Collected.empty()],
        [seqio.metrics.LegacyMetric.empty(accuracy, YES_NO)],
        [seqio.metrics.PassthroughLegacyMetric.from_metric_fn(accuracy, YES_NO)],
        [Longest, Collected.empty()],
    ],
)
def test_metric_objects_score_as_by_seqio(metrics):
    task = make_task(metric_objs=metrics, metric_fns=[])
    split = load(task)
    for said in (RIGHT, ["no", "no", "maybe"]):
        expected = by_seqio(task, VOCABULARY, "validation", said)
        assert split.score(said)[0].metrics == {"letters": expected}
        assert expected
    both = load(task.replace(metric_fns=[half]))
    assert both.score(RIGHT)[0].metrics["letters"].items() >= {("half", 50.0)}


def test_a_metric_object_remembers_no_other_split():
    legacy = seqio.metrics.LegacyMetric.empty(accuracy, YES_NO)
    texts = TEXTS[:1]
    for pairs in (texts, [(inputs, "no") for inputs, _ in texts]):
        task = make_task(pairs, metric_objs=[legacy], metric_fns=[])
        said = [target for _, target in pairs]
        assert load(task).score(said)[0].metrics["letters"] == {"accuracy": 100.0}


def test_two_metrics_of_one_name_are_a_user_error():
    with pytest.raises(UserError, match="two metrics with the name 'half'"):
        load(make_task(metric_fns=[half, half])).score(RIGHT)


def test_a_task_without_fitting_metrics_is_a_user_error():
    def by_score(targets, scores):
        return {"loss": 0.0}

    for metric_fns, reason in (([], "no metrics"), ([by_score], "metrics of scores")):
        with pytest.raises(UserError, match=reason):
            load(make_task(metric_fns=metric_fns)).score(RIGHT)


def test_rows_are_read_once_and_targets_postprocessed_once():
    seen, read = [], []

    def postprocess(text, is_target=False, **keywords):
        seen.extend([text] * is_target)
        return YES_NO(text)

    def note(dataset):
        read.append(dataset)
        return dataset

    task = make_task(postprocess_fn=postprocess)
    split = load(task.replace(preprocessors=[note, *task.preprocessors]))
    for _ in range(3):
        split.score(RIGHT)
    assert seen == RIGHT and len(read) == 1


# Records, and what is legal and correct.


def test_illegal_labels_are_wrong_and_their_share_is_told():
    # Neither a longer word nor another case is the label.
    evaluation, _ = load(make_task()).score(["yes", "now", "No"])
    assert evaluation.illegal == {"letters": pytest.approx(2 / 3)}
    assert evaluation.metrics["letters"]["accuracy"] == pytest.approx(100 / 3)


def test_a_record_says_all_of_an_example():
    texts = [("letter ä", "yes"), ("letter b", "no")]
    _, records = load(make_task(texts)).score(["no", "no"])
    common = {"task": "letters", "prediction": "no", "legal": True}
    assert records == [
        {"index": 0, "inputs": "letter ä", "target": "yes", "correct": False} | common,
        {"index": 1, "inputs": "letter b", "target": "no", "correct": True} | common,
    ]


def test_records_have_the_text_of_tasks_that_keep_tokens_alone():
    @seqio.map_over_dataset
    def tokens_alone(row):
        return {key: row[key] for key in ("inputs", "targets")}

    task = make_task()
    task = task.replace(preprocessors=[*task.preprocessors, tokens_alone])
    evaluation, records = load(task).score(RIGHT)
    assert [(r["inputs"], r["target"]) for r in records] == TEXTS
    assert evaluation.metrics == {"letters": {"accuracy": 100.0, "half": 50.0}}


def test_a_split_without_labels_has_predictions_and_no_metrics():
    def strict(text, label_classes, **unused):
        return label_classes.index(text)  # <unk> must not get here

    for no_label in ("<unk>", "", "-1"):
        texts = [(text, no_label) for text, _ in TEXTS]
        evaluation, records = load(make_task(texts)).score(["never"] * 3)
        assert evaluation == ({"letters": {}}, {"letters": 1.0})
        assert records[0]["legal"] is False and "correct" not in records[0]
        post = functools.partial(strict, label_classes=("yes", "no"))
        evaluation, _ = load(make_task(texts, postprocess_fn=post)).score(RIGHT)
        assert evaluation == ({"letters": {}}, {"letters": 0.0})


@pytest.mark.parametrize(
    "targets",
    [
        ["yes", "maybe", "no"],
        ["y", "maybe", "n"],
        ["Yes", "Yes", "Yes"],
        ["yes", "<unk>", "no"],
        ["yes", "no", ""],
        ["yes", " no", "no"],
        ["<unk>", "-1", "<unk>"],
    ],
)
def test_a_target_that_is_no_label_is_a_user_error(targets):
    texts = [(text, target) for (text, _), target in zip(TEXTS, targets, strict=True)]
    first = next(i for i, target in enumerate(targets) if target not in ("yes", "no"))
    place = f"letters: example {first} of validation has the target {targets[first]!r}"
    with pytest.raises(UserError) as error:
        load(make_task(texts))
    reason = "it must be one of the task's label words yes, no."
    assert str(error.value).startswith(f"{place}; {reason}")


def test_a_target_is_known_where_the_task_takes_it_for_a_label():
    def lenient(text, label_classes, **unused):
        return label_classes.index(text.strip().lower())  # an error for any other

    post = functools.partial(lenient, label_classes=("yes", "no"))
    texts = [("a", "YES"), ("b", "No"), ("c", "no")]
    evaluation, records = load(make_task(texts, postprocess_fn=post)).score(
        ["yes", "no", " YES"]
    )
    assert evaluation.metrics["letters"]["accuracy"] == pytest.approx(200 / 3)
    assert [record["correct"] for record in records] == [True, True, False]
    with pytest.raises(UserError, match=r"example 1 of validation .* 'maybe'"):
        load(make_task([*texts[:1], ("b", "maybe")], postprocess_fn=post))


@pytest.mark.parametrize("target", ["<unk>", "", "-1", " "])
def test_free_text_without_targets_has_no_metrics_unless_the_row_has_answers(target):
    def exact(targets, predictions):
        return {"exact": 100 * float(np.mean(np.array(targets) == predictions))}

    texts = [(text, target) for text, _ in TEXTS]
    for post in (None, scoring.text, lambda text, **_: label_index(text, ["yes"])):
        split = load(make_task(texts, postprocess_fn=post, metric_fns=[exact]))
        assert split.score([target] * 3)[0] == ({"letters": {}}, {})
        assert split.unlabelled == ["letters"]
    features = QUESTIONS | {"referent": ["yes", "a no", "on"], "label": [1, 1, 0]}
    squad = {"postprocess_fn": scoring.answers, "metric_fns": [scoring.squad]}
    split = load(make_task(texts, features=features, **squad))
    assert split.score(["yea", "nay", "no"])[0].metrics["letters"]["em"] == 100


def test_a_split_tells_its_label_words_and_what_has_no_labels():
    other = make_task([("a", "<unk>")], "later")
    free = make_task([("a", "b")], "text", postprocess_fn=None)
    split = load(seqio.Mixture("all", [(make_task(), 1), (other, 1), (free, 1)]))
    words = ("yes", "no")
    assert split.label_words == {"letters": words, "later": words}
    assert split.unlabelled == ["later"]


# Metrics of which less is better.


def errors(targets, predictions, lower_is_better=True):
    pairs = zip(targets, predictions, strict=True)
    return {"errors": 100 * np.mean([a != b for a, b in pairs])}


def either(targets, predictions, lower_is_better=False):
    return errors(targets, predictions)


def noted(targets, predictions):
    return errors(targets, predictions)


noted.lower_is_better = True


class Short(Longest):
    lower_is_better = True


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        (errors, True),
        (either, False),
        (functools.partial(either, lower_is_better=True), True),
        (functools.partial(errors, lower_is_better=False), False),
        (noted, True),
        (accuracy, False),
        (Short, True),
        (Longest, False),
        (Collected.empty(), False),
        (seqio.metrics.LegacyMetric.empty(errors, YES_NO), True),
        (seqio.metrics.LegacyMetric.empty(accuracy, YES_NO), False),
    ],
)
def test_a_metric_says_whether_less_is_better(metric, lower):
    kind = "metric_objs" if hasattr(metric, "from_model_output") else "metric_fns"
    task = make_task(**({"metric_fns": []} | {kind: [metric]}))
    (value,) = load(task).score(["no"] * 3)[0].metrics["letters"].values()
    assert isinstance(value, Lower) == lower
    score = development_score({"letters": {"any": value}})
    assert score == (-value if lower else value) != 0


def test_each_metric_of_a_task_counts_in_its_own_direction():
    split = load(make_task(metric_fns=[accuracy, errors]))
    best, worst = (split.score(said)[0].metrics for said in (RIGHT, ["x"] * 3))
    assert best == {"letters": {"accuracy": 100.0, "errors": 0.0}}
    assert [development_score(m) for m in (best, worst)] == [50.0, -50.0]


def test_a_direction_is_true_or_false():
    wrong = functools.partial(either, lower_is_better="errors")
    with pytest.raises(UserError, match="lower_is_better 'errors'; it must be True or"):
        load(make_task(metric_fns=[wrong])).score(RIGHT)


def test_numbers_of_every_kind_are_values_and_nothing_else_is():
    def kinds(targets, predictions):
        return {
            **{"array": np.array(1.0), "float16": np.float16(2), "bool": np.True_},
            **{"int": 3, "jax": jnp.float32(4), "scalar": seqio.metrics.Scalar(5)},
            **{"word": "x", "none": None, "ragged": [[1], [1, 2]], "many": np.ones(2)},
        }

    metrics = load(make_task(metric_fns=[kinds])).score(RIGHT)[0].metrics["letters"]
    expected = {"array": 1, "float16": 2, "bool": 1, "int": 3, "jax": 4, "scalar": 5}
    assert metrics == expected and {*map(type, metrics.values())} == {float}


def test_targets_are_read_before_they_are_looked_up():
    post = functools.partial(
        scoring.read_first,
        postprocess=label_index,
        read=str.lower,
        label_classes=("yes", "no"),
        said_classes=("YES", "NO"),
    )
    texts = [("a", "YES"), ("b", "NO"), ("c", "no")]
    split = load(make_task(texts, postprocess_fn=post))
    evaluation, records = split.score(["YES", "yes", "Maybe"])
    assert evaluation.metrics["letters"]["accuracy"] == pytest.approx(100 / 3)
    assert [record["legal"] for record in records] == [True, True, False]
    assert [record["correct"] for record in records] == [True, False, False]


def test_what_is_legal_and_correct_is_so_in_the_metrics_eyes():
    def lenient(text, label_classes, **unused):
        return label_index(text.strip().lower(), label_classes)

    post = functools.partial(lenient, label_classes=("yes", "no"))
    evaluation, records = load(make_task(postprocess_fn=post)).score(
        ["Yes ", "x", "no"]
    )
    assert evaluation.metrics["letters"]["accuracy"] == pytest.approx(200 / 3)
    assert evaluation.illegal == {"letters": pytest.approx(1 / 3)}
    assert [record["correct"] for record in records] == [True, False, True]


def test_multircs_answer_counts_and_not_its_question():
    postprocess, metrics = BY_EXAMPLE["multirc"]
    task = make_task(features=QUESTIONS, postprocess_fn=postprocess, metric_fns=metrics)
    evaluation, records = load(task).score(["yes", "yes", "off"])
    assert [record["legal"] for record in records] == [True, True, False]
    assert [record["correct"] for record in records] == [True, False, False]
    assert evaluation.illegal == {"letters": pytest.approx(1 / 3)}


def test_free_text_is_neither_legal_nor_illegal():
    def exact(targets, predictions):
        pairs = zip(targets, predictions, strict=True)
        return {"em": seqio.metrics.Scalar(np.mean([a == b for a, b in pairs]))}

    task = make_task(postprocess_fn=None, metric_fns=[exact])
    evaluation, records = load(task).score(["no"] * 3)
    assert evaluation == ({"letters": {"em": pytest.approx(2 / 3)}}, {})
    assert records[0].keys() == {"task", "index", "inputs", "target", "prediction"}


def test_a_mixture_is_scored_task_by_task():
    index = functools.partial(label_index, label_classes=("cat", "dog"))
    other = make_task([("letter a", "cat")], "animals", postprocess_fn=index)
    mixture = seqio.Mixture("both", [(make_task(), 1), (other, 1)])
    evaluation, records = load(mixture).score(["yes", *RIGHT])
    assert evaluation.metrics == {
        "animals": {"accuracy": 0.0, "half": 0.0},
        "letters": {"accuracy": 100.0, "half": 50.0},
    }
    assert evaluation.illegal == {"animals": 1.0, "letters": 0.0}
    named = [(record["task"], record["index"]) for record in records]
    assert named == [("animals", 0), *(("letters", i) for i in range(3))]


def test_there_is_a_prediction_for_each_example():
    split = load(make_task())
    for said in (RIGHT[:2], [*RIGHT, "no"]):
        with pytest.raises(ValueError, match="predictions of 3 examples"):
            split.score(said)


def test_the_majority_baseline_is_the_training_splits_most_frequent_label():
    # "no" is the most frequent in training, "yes" in validation.
    train = load(make_task([("a", "no"), ("b", "no"), ("c", "yes")])).examples
    task = make_task([("a", "yes"), ("b", "yes"), ("c", "yes"), ("d", "no")])
    metrics = majority_baseline(train, load(task), VOCABULARY)
    assert metrics == {"letters": {"accuracy": 25.0, "half": 12.5}}


def test_the_majority_of_a_mixture_is_each_tasks_own():
    more = make_task([("a", "yes")], "more")
    split = load(seqio.Mixture("both", [(make_task(), 1), (more, 1)]))
    metrics = majority_baseline(split.examples, split, VOCABULARY)
    assert metrics["letters"]["accuracy"] == pytest.approx(200 / 3)
    assert metrics["more"]["accuracy"] == 100.0
