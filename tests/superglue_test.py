"""SuperGLUE tasks: rendering, the two sources, metrics, what a bad file says."""

import hashlib
import json

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

import tasks
from tasks import superglue

ROWS = {row.alias: row for row in superglue.TABLE}
EXAMPLE = {"premise": "It rained.", "hypothesis": "It was wet.", "idx": 7}


def write(folder, name, content):
    """A split of CB; the content is bytes, or objects to write a line each."""
    path = folder / "superglue" / "CB" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = b"".join(json.dumps(line).encode() + b"\n" for line in content)
    path.write_bytes(content)
    return path


def pairs(source, split):
    examples = source.get_dataset(split, shuffle=False).as_numpy_iterator()
    return [(example["inputs"], example["targets"]) for example in examples]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("alias", ["cb", "rte"])
def test_rendering_equals_t5s_byte_for_byte(shared, alias, split):
    golden = json.loads((shared / "golden" / "render.json").read_text())["render"]
    expected = {(row["task"], row["split"]): row["sha256"] for row in golden}
    source = superglue.Source(ROWS[alias], str(shared / "data"))
    lines = b"".join(b"%s\t%s\n" % pair for pair in pairs(source, split))
    assert hashlib.sha256(lines).hexdigest() == expected[alias, split]


def test_files_are_rendered_line_by_line(tmp_path):
    second = {"premise": "a\u2028b", "hypothesis": "né  x", "label": "neutral"}
    write(tmp_path, "train.jsonl", [EXAMPLE | {"label": "entailment"}, second])
    assert pairs(superglue.Source(ROWS["cb"]).at(str(tmp_path)), "train") == [
        (b"hypothesis: It was wet. premise: It rained.", b"entailment"),
        ("hypothesis: né  x premise: a\u2028b".encode(), b"neutral"),
    ]


def test_a_blank_last_line_and_carriage_returns_are_no_examples(tmp_path):
    line = json.dumps(EXAMPLE | {"label": "neutral"}).encode()
    write(tmp_path, "val.jsonl", line + b"\r\n\r\n")
    assert len(pairs(superglue.Source(ROWS["cb"], str(tmp_path)), "validation")) == 1


def test_test_examples_need_no_label(tmp_path):
    write(tmp_path, "test.jsonl", [EXAMPLE, EXAMPLE | {"label": "neutral"}])
    source = superglue.Source(ROWS["cb"], str(tmp_path))
    assert [target for _, target in pairs(source, "test")] == [b"<unk>", b"neutral"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"premise": "a", ', "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"premise": "a", "label": "neutral"}', "no field 'hypothesis'"),
        (b'{"premise": "a", "hypothesis": "b"}', "no field 'label'"),
        (
            b'{"premise": 3, "hypothesis": "b", "label": "neutral"}',
            "'premise' is 3",
        ),
        (
            b'{"premise": "a", "hypothesis": "b", "label": "maybe"}',
            "'maybe'; it must be one of entailment, contradiction, neutral",
        ),
        (
            b'{"premise": "caf\xe9", "hypothesis": "b", "label": "neutral"}',
            "not UTF-8",
        ),
        (
            b'{"premise": "\\ud800", "hypothesis": "b", "label": "neutral"}',
            "not UTF-8",
        ),
    ],
)
def test_a_bad_line_is_named_with_file_number_and_reason(tmp_path, line, reason):
    good = json.dumps(EXAMPLE | {"label": "neutral"}).encode()
    path = write(tmp_path, "train.jsonl", good + b"\n\n" + line + b"\n" + good)
    with pytest.raises(tasks.DataError) as error:
        pairs(superglue.Source(ROWS["cb"], str(tmp_path)), "train")
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert reason in str(error.value)
    assert error.value.user_message


def test_an_empty_file_is_an_error(tmp_path):
    path = write(tmp_path, "train.jsonl", b"\n")
    with pytest.raises(tasks.DataError, match=f"{path} is empty"):
        pairs(superglue.Source(ROWS["cb"], str(tmp_path)), "train")


def test_a_missing_file_says_what_is_expected_where(tmp_path):
    with pytest.raises(tasks.DataError) as error:
        pairs(superglue.Source(ROWS["rte"], str(tmp_path)), "validation")
    assert str(tmp_path / "superglue" / "RTE" / "val.jsonl") in str(error.value)
    assert "Without --data_dir the data comes from TFDS" in str(error.value)


def test_tfds_gives_what_the_files_give(tmp_path, monkeypatch):
    labels = ["neutral", "contradiction", "entailment"]
    write(tmp_path, "test.jsonl", [EXAMPLE | {"label": x} for x in labels] + [EXAMPLE])

    def get_dataset(self, split, shuffle):
        # What TFDS makes of the same lines: class numbers, -1 for no label.
        lines = {
            "premise": [EXAMPLE["premise"]] * 4,
            "hypothesis": [EXAMPLE["hypothesis"]] * 4,
            "idx": range(4),
            "label": [2, 1, 0, -1],
        }
        return tf.data.Dataset.from_tensor_slices(lines)

    monkeypatch.setattr(seqio.TfdsDataSource, "get_dataset", get_dataset)
    source = superglue.Source(ROWS["cb"])
    assert pairs(source, "test") == pairs(source.at(str(tmp_path)), "test")


@pytest.mark.parametrize("row", superglue.TABLE, ids=lambda row: row.alias)
def test_tfds_has_the_data_set_with_these_labels(row, tmp_path):
    builder = tfds.builder(row.tfds_name, data_dir=tmp_path)
    assert tuple(builder.info.features["label"].names) == row.labels
    assert builder.version == row.tfds_name.split(":")[1]
    with tfds.testing.mock_data(num_examples=3):
        examples = pairs(superglue.Source(row), "validation")
    assert len(examples) == 3
    assert {target.decode() for _, target in examples} <= {*row.labels, "<unk>"}


def test_no_network_says_how_to_give_local_files(monkeypatch):
    def get_dataset(self, split, shuffle):
        raise ConnectionError("Max retries exceeded\nwith a second line")

    monkeypatch.setattr(seqio.TfdsDataSource, "get_dataset", get_dataset)
    with pytest.raises(tasks.DataError) as error:
        pairs(superglue.Source(ROWS["cb"]), "train")
    message = str(error.value)
    assert "super_glue/cb:1.0.2 (ConnectionError: Max retries exceeded)" in message
    assert "--data_dir" in message
    assert "superglue/CB/{train.jsonl,val.jsonl,test.jsonl}" in message


@pytest.mark.parametrize("row", superglue.TABLE, ids=lambda row: row.alias)
def test_a_row_is_registered_under_name_and_alias(row):
    for name in (row.name, row.alias):
        task = seqio.TaskRegistry.get(name)
        assert tuple(task.splits) == ("train", "validation", "test")
        assert task.postprocessor.keywords["label_classes"] == row.labels
        assert task.metric_fns == list(row.metrics)
        for feature in task.output_features.values():
            assert feature.add_eos and feature.vocabulary is superglue.T5_VOCABULARY


def test_an_illegal_label_has_index_minus_one():
    words = ("yes", "no")
    assert [tasks.label_index(text, words) for text in ("no", "yes", "No", "")] == [
        1,
        0,
        -1,
        -1,
    ]


def test_metrics_count_illegal_predictions_wrong():
    targets, predictions = [0, 0, 1, 2], [0, -1, 1, 1]
    assert tasks.accuracy(targets, predictions) == {"accuracy": 50.0}
    # F1 of the classes: 2/3 (precision 1, recall 1/2), 2/3 (1/2, 1) and 0.
    assert superglue.macro_f1(targets, predictions) == {"f1": pytest.approx(400 / 9)}
    # A class that is neither expected nor predicted still counts, with 0.
    assert superglue.macro_f1([0, 0], [0, 0]) == {"f1": pytest.approx(100 / 3)}


def test_metrics_agree_with_t5s(shared):
    golden = json.loads((shared / "golden" / "metrics.json").read_text())
    cb = golden["cb_mean_3class_f1"]
    assert superglue.macro_f1(cb["targets"], cb["predictions"])["f1"] == pytest.approx(
        cb["scores"]["mean_3class_f1"]
    )
    accuracy = golden["accuracy"]
    assert tasks.accuracy(accuracy["targets"], accuracy["predictions"]) == (
        pytest.approx(accuracy["scores"])
    )
