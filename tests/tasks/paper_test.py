"""The table of tasks: T5's own output byte for byte, and every task through TFDS."""

import hashlib
import json

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.tasks import UNKNOWN, DataError, paper
from prompt_tuning.tasks.sources import Source
from prompt_tuning.tasks_io import evaluate, tasks
from prompt_tuning.training import scoring
from prompt_tuning.training.task import development_score

BYTES = load_vocabulary("byt5")
EVALUATED = (*paper.TABLE, *paper.ZERO_SHOT, *paper.OF_ONE_FILE)
FROM_TFDS = [row for row in EVALUATED if row.tfds]


def test_rendering_equals_t5s_byte_for_byte(shared):
    golden = json.loads((shared / "golden" / "render.json").read_text())["render"]
    assert len(golden) >= 17
    for case in golden:
        row = paper.ROWS[case["task"]]
        assert row.files[case["split"]] == case["file"]
        digest, rows = hashlib.sha256(), 0
        for _, features in Source(row, str(shared / "data")).read(case["split"]):
            digest.update(b"%s\t%s\n" % (features["inputs"], features["targets"]))
            rows += 1
        found = rows, digest.hexdigest()
        assert found == (case["rows"], case["sha256"]), case["task"]


# As counted in the files themselves, without our readers: examples, percent of a label.
SPLITS = {
    ("sst2", "train"): (67_349, "positive", 55.8),
    ("sst2", "validation"): (872, "positive", 50.9),
    ("mrpc", "train"): (3_668, "equivalent", 67.4),
    ("mrpc", "validation"): (408, "equivalent", 68.4),
    ("rte", "train"): (2_490, "entailment", 50.2),
    ("rte", "validation"): (277, "entailment", 52.7),
    ("cb", "train"): (250, "contradiction", 47.6),
    ("cb", "validation"): (56, "contradiction", 50.0),
    ("qqp_dev", "train"): (8_000, "duplicate", 50.0),
    ("qqp_dev", "validation"): (2_000, "duplicate", 50.0),
    ("squadshifts_amazon", "test"): (9_885, "", 0.0),
}


@pytest.mark.parametrize("alias, split", SPLITS)
def test_the_official_files_have_these_examples(shared, alias, split):
    count, label, percent = SPLITS[alias, split]
    row = next(row for row in EVALUATED if row.alias == alias)
    read = Source(row, str(shared / "data")).read(split)
    targets = [example["targets"].decode() for _, example in read]
    assert len(targets) == count
    share = 100 * targets.count(label) / count
    assert share == pytest.approx(percent, abs=0.05)


def texts_of_parts(shared, alias):
    row = next(row for row in EVALUATED if row.alias == alias)
    source = Source(row, str(shared / "data"))
    return [
        [example["inputs"].decode() for _, example in source.read(split)]
        for split in ("train", "validation")
    ]


def test_questions_on_one_passage_are_in_one_part(shared):
    parts = texts_of_parts(shared, "boolq_dev")
    assert [*map(len, parts)] == [2_631, 639]  # of 3,270
    train, validation = ({text.partition("passage: ")[2] for text in p} for p in parts)
    assert not train & validation


def test_no_article_of_squad_is_in_both_parts(shared):
    """None of those next to the gap, nor the first and the last."""
    train, validation = texts_of_parts(shared, "mrqa_squad_dev")
    assert (len(train), len(validation)) == (9_040, 682)
    for names, part in (
        (("Super Bowl 50", "Chloroplasts", "Prime numbers"), validation),
        (("Imperialism", "United Methodist", "Braddock"), train),
    ):
        for name in names:
            assert not any(f" {name}" in text for text in part)
            assert any(f" {name}" in text for text in train + validation)


@pytest.mark.parametrize("row", EVALUATED, ids=lambda row: row.alias)
def test_a_row_is_registered_under_name_and_alias(row):
    taskless = "taskless_" if row.prefix else ""
    for name in (taskless + row.name, row.alias):
        task = seqio.TaskRegistry.get(name)
        assert set(task.splits) == set(row.files)
        words = scoring.first_words(evaluate.keywords([task]), "label_classes")
        assert words == (row.labels or None)
        assert task.metric_fns == list(row.metrics)
    with_prefix = row.name in seqio.TaskRegistry.names()
    assert with_prefix == (not row.prefix or row.alias in paper.SUPERGLUE_RATES)


@pytest.mark.parametrize("row", FROM_TFDS, ids=lambda row: row.alias)
def test_tfds_has_the_data_set_with_these_labels(row, tmp_path):
    builder = tfds.builder(row.tfds, data_dir=tmp_path)
    assert str(builder.version) in row.tfds
    if row.labels:
        assert tuple(builder.info.features["label"].names) == row.labels


def mocked(row, monkeypatch, examples=3):
    """A few examples of each split, made of the features that TFDS declares."""
    real = seqio.TfdsDataSource.get_dataset

    def get_dataset(self, split, shuffle):
        dataset = real(self, split, shuffle=shuffle)
        if "wsc" in row.tfds:  # whose pronoun must be the word at its index
            fixed = {"text": "now it ran", "span2_text": "it", "span2_index": 1}
            return dataset.map(lambda example: example | fixed | {"label": 1})
        if "stsb" in row.tfds:
            return dataset.map(lambda example: example | {"label": 3.7})
        return dataset

    monkeypatch.setattr(seqio.TfdsDataSource, "get_dataset", get_dataset)
    return tfds.testing.mock_data(num_examples=examples)


@pytest.mark.parametrize("row", FROM_TFDS, ids=lambda row: row.alias)
def test_a_task_goes_from_tfds_to_its_metrics(row, monkeypatch):
    """Right predictions score 100 by every metric, and train has examples too."""
    split = next(
        s for s in ("validation", "validation_matched", "test") if s in row.files
    )
    task = tasks.open_task(row.alias, (), BYTES)
    with mocked(row, monkeypatch):
        if "train" in row.files:
            assert len(task.load("train").examples) >= 3
        loaded = task.load(split)
    targets = [BYTES.decode(tokens) for tokens in loaded.examples.targets]
    if row.labels:
        assert {*targets} <= {*row.labels, UNKNOWN}
    if any(row.translate):
        targets = [text.replace(*row.translate[::-1]) for text in targets]
    evaluation, records = loaded.score(targets)
    metrics = evaluation.metrics[row.alias]
    values = [value for value in metrics.values() if not np.isnan(value)]
    assert evaluation.illegal.get(row.alias, 0) == 0
    assert all(record.get("correct", True) for record in records)
    if row.metrics[0].__name__ in ("accuracy", "squad", "record"):
        assert values and max(values) == pytest.approx(100)


NAMES = [row.alias for row in FROM_TFDS]
NAMES += [f"{alias}_sentinel" for alias in paper.SUPERGLUE_RATES]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_record_says_is_what_the_metric_sees(name, monkeypatch):
    """Of predictions right, wrong, illegal and almost right."""
    row = next(row for row in EVALUATED if row.alias == name.removesuffix("_sentinel"))
    splits = "validation", "validation_matched", "test"
    split = next(split for split in splits if split in row.files)
    task = tasks.open_task(name, (), BYTES)
    with mocked(row, monkeypatch, 6):
        loaded = task.load(split)
    words = task.label_words() or ("some", "words")
    _, records = loaded.score([""] * len(loaded.examples))
    targets = [one["target"].replace(*row.translate[::-1]) for one in records]
    wrong = [next(word for word in words if word != target) for target in targets]
    planted = zip(targets, wrong, strict=True)
    options = [(right, other, "none", right.upper()) for right, other in planted]
    said = [each[i % 4] for i, each in enumerate(options)]
    evaluation, records = loaded.score(said)
    assert all(("legal" in record) == bool(row.labels) for record in records)
    if row.labels:
        legal = [text in words for text in said]
        assert [record["legal"] for record in records] == legal
        assert evaluation.illegal == {name: 1 - np.mean(legal)}
    metrics = evaluation.metrics[name]
    judged = [record["correct"] for record in records if "correct" in record]
    if row.labels and metrics:
        right = [text == target for text, target in zip(said, targets, strict=True)]
        assert judged == right and True in right and False in right
    if "accuracy" in metrics and judged:
        assert 100 * np.mean(judged) == pytest.approx(metrics["accuracy"])


def test_a_mixture_trains_on_one_task_and_transfers_to_the_other(monkeypatch):
    mixture = tasks.open_task("mrpc_from_qqp_zeroshot", (), BYTES)
    with mocked(paper.ROWS["qqp"], monkeypatch):
        train = mixture.load("train").examples
        examples = mixture.load("validation").examples
    assert set(train.sizes) == {"qqp"}
    assert set(examples.sizes) == {"qqp", "mrpc_from_qqp"}
    assert mixture.class_words("train") == paper.QQP
    metrics = {"qqp": {"f1": 60.0}, "mrpc_from_qqp": {"f1": 20.0}}
    assert development_score(metrics, train.sizes) == 60
    assert development_score(metrics) == 40


def test_labels_are_scored_in_the_words_of_the_task_that_was_trained_on():
    task = tasks.open_task("mrpc_from_qqp", (), BYTES)
    assert task.label_words() == paper.QQP


def test_the_papers_words_initialise_tasks_of_free_text():
    for alias, words in (("record", paper.RECORD_WORDS), ("wsc", paper.WSC_WORDS)):
        task = tasks.open_task(alias, (), BYTES)
        assert task.class_words("train") == words
        assert task.label_words() is None, "they are no legal answers"
    assert tasks.open_task("squad", (), BYTES).class_words("train") is None


def test_the_multi_task_mixture_keeps_the_names_in_front():
    mixture = seqio.MixtureRegistry.get("super_glue")
    assert len(mixture.tasks) == 11
    assert all(not task.name.startswith("taskless") for task in mixture.tasks)
    total = sum(mixture.get_rate(task) for task in mixture.tasks)
    assert total == 185_673
    scored = [task for task in mixture.tasks if "validation" in task.splits]
    assert len(scored) == 8, "the mean of their means is the SuperGLUE score"


def test_squad_goes_to_each_set_of_mrqa():
    for name in (
        "textbookqa",
        "bioasq",
        "race",
        "relation_extraction",
        "duorc",
        "drop",
    ):
        mixture = seqio.MixtureRegistry.get(f"squad_to_{name}_examples")
        assert [task.name for task in mixture.tasks] == [f"mrqa_{name}", "squad"]
    assert len(seqio.MixtureRegistry.get("squad_to_mrqa").tasks) == 7


SUPERGLUE = "boolq cb copa multirc record rte wic axb axg".split()
GLUE = "cola sst2 mrpc qqp stsb mnli mnli_matched mnli_mismatched qnli rte wnli ax"
MRQA = "bioasq drop duorc race relation_extraction textbookqa".split()


def test_what_the_readme_says_has_the_released_codes_name_has_it():
    expected = {
        *(f"taskless_super_glue_{name}_v102" for name in SUPERGLUE),
        *(f"super_glue_{name}_v102" for name in SUPERGLUE),
        *(f"{p}super_glue_wsc_and_dev_v102_simple" for p in ("", "taskless_")),
        *(f"{p}dpr_v001_simple" for p in ("", "taskless_")),
        *(f"taskless_glue_{name}_v002" for name in GLUE.split()),
        *("taskless_glue_mrpc_from_qqp_v002", "taskless_glue_qqp_from_mrpc_v002"),
        "squad_v010_allanswers",
        *(f"mrqa_{name}_v001_examples" for name in MRQA),
    }
    assert expected <= set(seqio.TaskRegistry.names())
    mixtures = {
        "taskless_glue_mnli_and_dev_v002",
        "taskless_glue_mrpc_from_qqp_zeroshot_v002",
        "taskless_glue_qqp_from_mrpc_zeroshot_v002",
        *(f"squad_to_{name}_examples" for name in (*MRQA, "mrqa")),
    }
    assert mixtures <= set(seqio.MixtureRegistry.names())


def test_a_label_outside_the_set_is_named_with_its_place(tmp_path):
    path = tmp_path / "glue" / "SST-2" / "dev.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("sentence\tlabel\nfine\t1\nbad\t3\n")
    with pytest.raises(DataError) as error:
        list(Source(paper.ROWS["sst2"], str(tmp_path)).read("validation"))
    reason = "the label is '3'; it must be one of negative, positive"
    assert str(error.value) == f"{path}, line 3: {reason}"
