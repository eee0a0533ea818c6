"""A row as a seqio task: variants, two sources, what is left out and what is said."""

import gzip
import json

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from prompt_tuning.tasks import DataError, paper, sources

CB = paper.ROWS["cb"]
EXAMPLE = {"premise": "It rained.", "hypothesis": "It was wet.", "idx": 7}
BYTES = seqio.ByteVocabulary()


@pytest.fixture
def registered():
    """Registers a variant of a row under its own name for the length of a test."""
    before = set(seqio.TaskRegistry.names())

    def register(row, **variant):
        renamed = row._replace(alias=f"{row.alias}_tried", name=f"{row.name}_tried")
        sources.register(renamed, **variant)
        return [
            seqio.TaskRegistry.get(n) for n in set(seqio.TaskRegistry.names()) - before
        ]

    yield register
    for name in set(seqio.TaskRegistry.names()) - before:
        seqio.TaskRegistry.remove(name)


def test_tfdss_test_split_is_no_second_split_where_it_is_the_validation():
    source = sources.Source(paper.ROWS["mrqa_race"])
    with pytest.raises(DataError, match="no 'test' beside its split of that name, wh"):
        next(source.read("test"))
    assert not source.available("test")


def write(folder, path, content):
    path = folder / path
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = b"".join(json.dumps(line).encode() + b"\n" for line in content)
    path.write_bytes(content)
    return path


def write_cb(folder, *labels, split="train"):
    lines = [EXAMPLE | ({"label": label} if label else {}) for label in labels]
    return write(folder, f"superglue/CB/{split}.jsonl", lines)


def pairs(source, split):
    return [(f["inputs"], f["targets"]) for _, f in source.read(split)]


# Two sources.


def by_tfds(row, monkeypatch, path, split="train"):
    """What TFDS's own code makes of an official file, through the row."""
    builder = tfds.builder(row.tfds)
    # Each builder calls its file by another name.
    names = builder._generate_examples.__code__.co_varnames
    options = {
        name: str(path)
        for name in ("data_file", "filepath", "path")
        if name in names[1:2]
    }
    options |= {"split": split} if "split" in names[:4] else {}

    def encoded(value):
        """As TensorFlow gives it: bytes, numbers, arrays of bytes."""
        match value:
            case dict():
                return {key: encoded(part) for key, part in value.items()}
            case str():
                return value.encode()
            case list() | np.ndarray() if np.ndim(value):
                return np.array([encoded(part) for part in value], object)
            case np.ndarray():
                return encoded(value.item())
        return value

    class Dataset:
        def as_numpy_iterator(self):
            for _, example in builder._generate_examples(**options):
                yield encoded(builder.info.features.encode_example(example))

    monkeypatch.setattr(
        seqio.TfdsDataSource, "get_dataset", lambda *args, **kwargs: Dataset()
    )
    return list(sources.Source(row).read(split))


WSC_TARGET = {"span1_text": "The dog", "span1_index": 3}
WSC_TARGET |= {"span2_text": "It", "span2_index": 6}
OPTIONS = [
    {"text": "a<br>b", "idx": 0, "label": 1},
    {"text": "c", "idx": 1, "label": 0},
]
SPANS = [{"start": 4, "end": 6}, {"start": 0, "end": 2}]
QUERY = {"query": "@placeholder ran", "idx": 9, "answers": [{"text": "Tom"}]}
PARAGRAPH = {
    "context": "A text, of sorts. ",
    "context_tokens": [],
    "qas": [
        {
            "id": "x",
            "qid": "x",
            "question": "What?",
            "question_tokens": [],
            "detected_answers": [],
            "answers": ["text", "A text"],
        }
    ],
}
ANSWERS = [{"text": "text", "answer_start": 2}, {"text": "A text", "answer_start": 0}]
SQUAD = {
    "context": "A text.",
    "qas": [{"id": "x", "question": "Q?", "answers": ANSWERS}],
}
LINES = {
    "cb": [EXAMPLE | {"label": "neutral"}],
    "boolq": [
        {"question": "q", "passage": "é", "label": label, "idx": label}
        for label in (False, True)
    ],
    "copa": [
        {
            "premise": "p",
            "choice1": "a",
            "choice2": "b",
            "question": "cause",
            "label": label,
            "idx": label,
        }
        for label in (0, 1)
    ],
    "multirc": [
        {
            "idx": 0,
            "passage": {
                "text": "T",
                "questions": [{"question": "Q", "idx": 5, "answers": OPTIONS}],
            },
        }
    ],
    "record": [
        {"idx": 3, "passage": {"text": "Tom Ann", "entities": SPANS}, "qas": [QUERY]}
    ],
    "wsc": [
        {
            "text": "Then Ann saw the dog . It ran.",
            "target": WSC_TARGET,
            "idx": 0,
            "label": True,
        }
    ],
    "axb": [
        {
            "sentence1": "a",
            "sentence2": "b",
            "label": "entailment",
            "idx": "0",
            "logic": "",
        }
    ],
    "cola": b'gj04\t1\t\tIt is.\ngj04\t0\t*\t"It are.\n',
    "qqp": b'id\tquestion1\tquestion2\tis_duplicate\n0\t"a\tb ""\t1\nbroken\n',
    "mnli": b"index\tsentence1\tsentence2\tgold_label\n0\tp\th\tneutral\n",
    "stsb": b"index\tsentence1\tsentence2\tscore\n0\tp\th\t3.55\n",
    "qnli": b"index\tquestion\tsentence\tlabel\n0\tq\ts\tnot_entailment\n",
    "mrqa_squad": [{"header": {"dataset": "SQuAD"}}, PARAGRAPH],
    "squad": [{"data": [{"title": "t", "paragraphs": [SQUAD]}]}],
    "dpr": b"Bob asked Tom if he can.\nhe\nBob,Tom\nTom\n\n",
}


@pytest.mark.parametrize("alias", LINES)
def test_files_give_what_tfds_makes_of_them(tmp_path, monkeypatch, alias):
    row = paper.ROWS[alias]
    split = "test" if alias == "axb" else "train"
    path = write(tmp_path, row.files[split], LINES[alias])
    if path.suffix == ".gz":  # TFDS's download manager unpacks it
        plain = write(tmp_path, "plain", path.read_bytes())
        path.write_bytes(gzip.compress(path.read_bytes()))
        path = plain
    ours = list(sources.Source(row, str(tmp_path)).read(split))
    assert ours
    theirs = by_tfds(row, monkeypatch, path, split)
    assert [features for _, features in ours] == [features for _, features in theirs]


@pytest.mark.parametrize("alias", ["record", "mrqa_squad", "wsc", "multirc"])
def test_a_dataset_holds_the_features_that_metrics_need(tmp_path, alias):
    row = paper.ROWS[alias]
    path = write(tmp_path, row.files["train"], [*LINES[alias], LINES[alias][-1]])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    source = sources.Source(row).at(str(tmp_path))
    expected = [features for _, features in source.read("train")]
    dataset = list(source.get_dataset("train", shuffle=False).as_numpy_iterator())
    assert len(dataset) == len(expected)
    for example, features in zip(dataset, expected, strict=True):
        assert example.keys() == features.keys()
        for key, value in example.items():
            found = value.tolist() if isinstance(value, np.ndarray) else value
            assert found == features[key]


# What is left out, and what is said of it.


def test_test_examples_need_no_label_others_do(tmp_path):
    write_cb(tmp_path, "neutral", None, split="test")
    source = sources.Source(CB, str(tmp_path))
    assert [target for _, target in pairs(source, "test")] == [b"neutral", b"<unk>"]
    path = write_cb(tmp_path, "neutral", None, split="val")
    with pytest.raises(DataError) as error:
        pairs(source, "validation")
    assert str(error.value).startswith(f"{path}, line 2: there is no field 'label'")
    assert error.value.user_message
    write_cb(tmp_path, -1, split="val")
    with pytest.raises(DataError, match="line 1: there is no label"):
        pairs(source, "validation")


def test_bad_lines_are_collected_where_one_asks(tmp_path):
    lines = [
        json.dumps(EXAMPLE | {"label": x}) for x in ("neutral", "maybe", "neutral")
    ]
    lines += [r'{"premise": "\ud800", "hypothesis": "", "label": "neutral"}']
    write(tmp_path, "superglue/CB/train.jsonl", "\n".join(lines).encode())
    errors = []
    found = list(sources.Source(CB, str(tmp_path)).read("train", errors.append))
    assert [number for number, _ in found] == [1, 3]
    first, second = map(str, errors)
    assert "line 2: the label is 'maybe'" in first
    assert "line 4: the text is not UTF-8" in second


def test_only_true_referents_are_trained_on(tmp_path):
    row = paper.ROWS["wsc"]
    (line,) = LINES["wsc"]
    for split in ("train", "validation"):
        write(tmp_path, row.files[split], [line, line | {"label": False}])
    source = sources.Source(row, str(tmp_path))
    assert [f["label"] for _, f in source.read("train")] == [1]
    assert [f["label"] for _, f in source.read("validation")] == [1, 0]


def test_known_broken_lines_are_left_out_and_named(tmp_path, capsys):
    row = paper.ROWS["qqp"]
    path = write(tmp_path, row.files["train"], LINES["qqp"] + b"more\n")
    source = sources.Source(row, str(tmp_path))
    assert len(pairs(source, "train")) == 1
    assert capsys.readouterr().err == (
        f"{path}: 2 lines lack columns and are left out: line 3, 4\n"
    )
    errors = []
    list(source.read("train", errors.append))
    assert len(errors) == 2
    mrpc = paper.ROWS["mrpc"]
    write(tmp_path, mrpc.files["train"], b"Quality\t#1 String\t#2 String\nbroken\n")
    with pytest.raises(DataError, match="line 2: the line has 1 columns"):
        pairs(sources.Source(mrpc, str(tmp_path)), "train")


def test_nothing_to_read_is_an_error(tmp_path):
    source = sources.Source(paper.ROWS["rte"], str(tmp_path))
    with pytest.raises(DataError) as error:
        pairs(source, "validation")
    message = str(error.value)
    assert f"there is no {tmp_path}/superglue/RTE/val.jsonl" in message
    assert "superglue/RTE/train.jsonl, superglue/RTE/val.jsonl" in message
    assert "Without --data_dir the data comes from TFDS" in message
    row = paper.ROWS["wsc"]
    (line,) = LINES["wsc"]
    write(tmp_path, row.files["train"], [line | {"label": False}])
    with pytest.raises(DataError, match="there are no examples"):
        sources.Source(row, str(tmp_path)).get_dataset("train", shuffle=False)


def test_no_network_says_how_to_give_local_files(monkeypatch):
    def get_dataset(self, split, shuffle):
        raise ConnectionError("Max retries exceeded\nwith a second line")

    monkeypatch.setattr(seqio.TfdsDataSource, "get_dataset", get_dataset)
    with pytest.raises(DataError) as error:
        pairs(sources.Source(CB), "train")
    message = str(error.value)
    assert "super_glue/cb:1.0.2 (ConnectionError: Max retries exceeded)" in message
    assert "--data_dir" in message and "superglue/CB/train.jsonl" in message
    with pytest.raises(DataError, match="TFDS does not have squadshifts_nyt"):
        pairs(sources.Source(paper.ROWS["squadshifts_nyt"]), "test")


def test_a_source_tells_of_itself(tmp_path):
    source = sources.Source(CB)
    assert source.origin("train") == "TFDS super_glue/cb:1.0.2"
    assert source.alias == "cb"
    assert source.published("validation")[0] == 56
    assert source.published("other") is None
    local = source.at(str(tmp_path))
    assert not local.available("train")
    path = write_cb(tmp_path, "neutral")
    assert local.available("train") and local.origin("train") == str(path)
    assert not sources.Source(paper.ROWS["squadshifts_nyt"]).available("test")


# Variants.


def texts(task, tmp_path):
    task = task.replace(
        source=task.source.at(str(tmp_path)),
        output_features={
            key: seqio.Feature(BYTES, add_eos=True) for key in task.output_features
        },
    )
    dataset = task.get_dataset(None, "train", shuffle=False)
    (example,) = dataset.as_numpy_iterator()
    return example


def test_the_prefix_is_kept_where_asked(tmp_path, registered):
    write_cb(tmp_path, "neutral")
    (task,) = registered(CB, prefix=True)
    assert task.name == "super_glue_cb_v102_tried"
    example = texts(task, tmp_path)
    assert example["inputs_pretokenized"].startswith(b"cb hypothesis: It was")
    assert BYTES.decode(example["inputs"].tolist()).startswith("cb hypothesis: It was")


def test_the_sentinel_is_put_on_and_taken_off(tmp_path, registered):
    write_cb(tmp_path, "neutral")
    tasks = {task.name: task for task in registered(CB, sentinel=True)}
    assert tasks.keys() == {
        "taskless_super_glue_cb_v102_tried_1_sentinel",
        "cb_tried_sentinel",
    }
    task = tasks["cb_tried_sentinel"]
    example = texts(task, tmp_path)
    assert example["targets"].tolist() == [
        BYTES.vocab_size - 1,
        *BYTES.encode("neutral"),
        1,
    ]
    assert example["targets_pretokenized"] == b"<extra_id_0> neutral"
    post = task.postprocessor
    found = [
        post(t) for t in ("<extra_id_0> neutral", "neutral", "<extra_id_1> neutral")
    ]
    assert found == [2, 2, -1]
    assert post.keywords["label_classes"] == CB.labels
    assert post.keywords["said_classes"][0] == "<extra_id_0> entailment"


def test_the_sentinel_is_taken_off_free_text_too(registered):
    task = registered(paper.ROWS["wsc"], sentinel=True)[0]
    example = {"referent": b"Tom", "label": 1}
    assert task.postprocessor("<extra_id_0> tom", example=example, is_target=False) == 1
    assert task.postprocessor.keywords["class_words"] == paper.WSC_WORDS


@pytest.mark.parametrize("name", ["mt5", "byt5", "pocket"])
def test_a_vocabulary_by_name(registered, name):
    tasks = registered(CB, vocabulary=name)
    assert {task.name for task in tasks} == {
        f"{name}_taskless_super_glue_cb_v102_tried",
        f"{name}_cb_tried",
    }
    for feature in tasks[0].output_features.values():
        assert feature.add_eos and feature.vocabulary is sources.VOCABULARIES[name]


def test_a_translated_task_reads_another_tasks_words():
    post = seqio.TaskRegistry.get("mrpc_from_qqp").postprocessor
    said = ["not_duplicate", "duplicate", "equivalent", "no"]
    assert [post(text) for text in said] == [0, 1, 1, -1]
    assert post.keywords["said_classes"] == ("not_duplicate", "duplicate")
    assert post.keywords["label_classes"] == ("not_equivalent", "equivalent")


def test_a_mixture_is_found_under_each_name():
    for name in ("super_glue_v102_proportional", "super_glue"):
        mixture = seqio.MixtureRegistry.get(name)
        rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
        assert rates["super_glue_record_v102"] == 138_854
        assert rates["super_glue_axb_v102"] == 0


def test_a_source_counts_its_examples_for_the_rates_of_a_mixture(tmp_path):
    write_cb(tmp_path, "neutral", "entailment", "neutral")
    task = seqio.TaskRegistry.get("cb")
    task = task.replace(source=task.source.at(str(tmp_path)))
    mixture = seqio.Mixture("mixed", [(task, seqio.mixing_rate_num_examples)])
    assert mixture.get_rate(task) == 3 == task.num_input_examples("train")
    with pytest.raises(KeyError):
        task.num_input_examples("training")
