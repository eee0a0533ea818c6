"""A task of one's own: what is read from files, how it is split and scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.tasks import scoring
from prompt_tuning.training import own_data

POCKET = Path(__file__).parents[2] / "prompt_tuning" / "pocket" / "spiece.model"
BYTES = load_vocabulary("byt5")
LABELLED = "inputs,targets\na,yes\nb,no\nc,yes\nd,no\n"


@pytest.fixture
def write(tmp_path):
    """Writes a file; gives its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def open_own(path, inputs=None, targets=None, vocabulary=BYTES, seed=0):
    return own_data.open_own(str(path), inputs, targets, vocabulary, seed)


def texts(split, vocabulary=BYTES):
    """The texts of a loaded split's inputs and targets."""
    pairs = zip(split.examples.inputs, split.examples.targets, strict=True)
    return [(vocabulary.decode(i), vocabulary.decode(t)) for i, t in pairs]


def train_texts(path, *templates):
    """Of a folder's train file, none of whose rows are held out."""
    return texts(open_own(path, *templates).load("train"))


# Files.


def test_names_that_are_files_or_folders_of_data(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write("mine/train.csv", LABELLED)
    (tmp_path / "cb").mkdir()  # a MODEL_DIR, say
    names = ["x.csv", "a/b.TSV", "x.jsonl", "mine", "./cb"]
    assert all(map(own_data.is_own, names))
    others = ["cb", "super_glue_cb_v102", "x.txt", "csv", "no/such/folder"]
    assert not any(map(own_data.is_own, others))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", 'inputs,n,targets\n"a, ""b""\nc",1,yes\né,2,no\n\nx,3,yes\n'),
        (
            "train.csv",
            '\ufeffinputs,n,targets\r\n"a, ""b""\nc",1,yes\r\né,2,no\r\nx,,yes',
        ),
        ("train.csv", 'inputs,targets\n"a, ""b""\nc",yes\né,no\nx,yes\n,\n \n\n'),
        ("train.tsv", 'inputs\ttargets\n"a, ""b""\nc"\tyes\né\tno\nx\tyes\n'),
        (
            "train.jsonl",
            '\ufeff{"inputs": "a, \\"b\\"\\nc", "targets": "yes", "n": null}\n\n'
            '{"targets": "no", "inputs": "\\u00e9"}\r\n{"inputs":"x","targets":"yes"}',
        ),
    ],
)
def test_every_format_gives_exactly_the_files_rows(write, tmp_path, name, content):
    write(name, content)
    write("validation.csv", "inputs,targets\nv,no\n")
    expected = [('a, "b"\nc', "yes"), ("é", "no"), ("x", "yes")]
    assert train_texts(tmp_path) == expected
    assert texts(open_own(tmp_path).load("validation")) == [("v", "no")]


def test_line_ends_of_unicode_are_text_in_json(write, tmp_path):
    write("train.jsonl", '{"inputs": "a\u2028b\x85", "targets": "c"}\n')
    write("dev.jsonl", '{"inputs": "a", "targets": "c"}\n')
    assert train_texts(tmp_path) == [("a\u2028b\x85", "c")]


def test_json_values_may_be_numbers_and_booleans(write, tmp_path):
    lines = [{"a": 1, "b": True}, {"a": 2.5, "b": False}, {"a": -3, "b": True}]
    write("train.jsonl", "\n".join(map(json.dumps, lines)))
    write("validation.csv", "a,b\n1,True\n")
    expected = [("1", "True"), ("2.5", "False"), ("-3", "True")]
    assert train_texts(tmp_path, "{a}", "{b}") == expected


def test_a_document_may_be_long(write, tmp_path):
    write("train.csv", f'inputs,targets\n"{"a" * 200_000}",b\n')
    write("dev.csv", "inputs,targets\na,b\n")
    split = open_own(tmp_path).load("train")
    assert split.examples.cut == {"inputs": 1, "targets": 0}
    assert split.examples.lengths["inputs"] == 512


def test_a_folder_has_the_splits_of_its_files(write, tmp_path):
    for name in ("train.csv", "notes.txt", "other.csv"):
        write(f"mine/{name}", LABELLED)
    write("mine/test.tsv", LABELLED.replace(",", "\t"))
    write("mine/dev.jsonl", '{"inputs": "d", "targets": "no"}')
    task = open_own(tmp_path / "mine")
    assert task.name == "mine" and task.vocabulary is BYTES
    assert tuple(task.splits) == ("train", "validation", "test")
    assert texts(task.load("validation")) == [("d", "no")]
    with pytest.raises(UserError, match="mine has no split 'dev'; it has train, val"):
        task.load("dev")
    assert task.class_words("test") == ("yes", "no") == task.label_words()
    assert task.class_words("dev") is None
    assert (task.tasks("test"), task.tasks("dev")) == (("mine",), ())


def test_the_task_is_called_as_its_file(write):
    assert open_own(write("reviews.v2.csv", LABELLED)).name == "reviews.v2"


BAD = {
    "ragged": ("x.csv", "inputs,targets\na,b\n\nc,d,e\n", r"line 4: found 3 .* the 2"),
    "short": ("x.tsv", "inputs\ttargets\na\n", r"line 2: found 1 columns.*inputs, tar"),
    "quote": ("x.csv", 'inputs,targets\na,b\n"c"d,e\n', r"line 3: .*written twice"),
    "open quote": ("x.csv", 'inputs,targets\n"a,b\nc,d\n', "line 2: .*quote"),
    "twice": ("x.csv", "targets,inputs,targets\na,b,c\n", "line 1: .*'targets'; each"),
    "json twice": ("x.jsonl", '{"a": 1, "a": 2}', "line 1: .*called 'a'"),
    "no bytes": ("x.csv", "", "x.csv is empty"),
    "blank": ("x.jsonl", " \n\n", "x.jsonl is empty"),
    "header alone": ("x.csv", "inputs,targets\n", "x.csv has no rows"),
    "no target": ("x.csv", "inputs,targets\na,b\nc, \n", "line 3: the target is empty"),
    "not UTF-8": ("x.csv", b"inputs,targets\n\xe4,b\n", "line 2: .*not UTF-8"),
    "UTF-16": ("x.csv", "inputs,targets\n".encode("utf-16-le"), "line 1: .*zero byte"),
    "no JSON": ("x.jsonl", '{"inputs": "a", "targets": "b"}\n{a}', "line 2: not JSON"),
    "a list": ("x.jsonl", '["a", "b"]\n', r"line 1: found '\[\"a\".*expected an obj"),
    "null": ("x.jsonl", '{"inputs": null, "targets": 1}', "line 1: 'inputs' is null"),
    "nested": ("x.jsonl", '{"inputs": {}, "targets": 1}', "line 1: 'inputs' is a list"),
    "missing": ("x.jsonl", '{"inputs": 1}', "no column 'targets'; there are inputs"),
    "other": ("x.csv", "text;label\na;b\n", "line 2: .*'inputs'; there are text;label"),
    "one row": ("x.csv", "inputs,targets\na,b\n", "at least two"),
    "deep": ("x.jsonl", "[" * 100_000, "line 1: not JSON"),
    "surrogate": (
        "x.jsonl",
        '{"inputs": "\\ud800", "targets": 1}\n' * 2,
        r"line \d: .*half of a pair",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_with_a_mistake_is_a_user_error(write, name):
    file, content, message = BAD[name]
    with pytest.raises(UserError, match=message) as raised:
        open_own(write(file, content)).load("train")
    assert file in str(raised.value)


def test_a_file_that_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"x\.csv cannot be read .*\.jsonl file, or a"):
        open_own(tmp_path / "x.csv")
    with pytest.raises(UserError, match=r"has no train\.csv"):
        open_own(tmp_path)


def test_two_files_of_one_split_are_a_user_error(write, tmp_path):
    for name in ("train.csv", "dev.csv", "validation.csv"):
        write(name, LABELLED)
    with pytest.raises(UserError, match=r"2 files .*'validation' \(dev\.csv, valid"):
        open_own(tmp_path)


# Templates.


def test_templates_put_columns_into_text(write, tmp_path):
    write("train.csv", "premise,a.b,is it\n{x},two,yes\n")
    write("dev.csv", "premise,a.b,is it\nv,v,yes\n")
    template = "premise: {premise} {{{a.b}}} end"
    assert train_texts(tmp_path, template, "{is it}") == [
        ("premise: {x} {two} end", "yes")
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{inputs", "INPUTS='{inputs' is not a template"),
        ("inputs}", "is not a template"),
        ("{}", "more or less than a column's name"),
        ("{inputs:>9}", "more or less"),
        ("{inputs!r}", "more or less"),
        ("", "names no column"),
        ("inputs", "names no column; a column is written {column}"),
        ("{inputs.__class__}", "no column 'inputs.__class__'; there are inputs, tar"),
        ("{inputs[0]}", r"no column 'inputs\[0\]'"),
        ("{0}", "no column '0'"),
    ],
)
def test_a_template_without_sense_is_a_user_error(write, template, message):
    with pytest.raises(UserError, match=message):
        open_own(write("x.csv", LABELLED), inputs=template)


# Labels.


def test_label_words_are_few_targets_that_come_again(write):
    def words(targets):
        rows = "".join(f"a,{target}\n" for target in targets)
        return open_own(write("x.csv", f"inputs,targets\n{rows}")).label_words()

    assert words(["no", "yes", "no", "yes"]) == ("no", "yes")
    assert words(["no", "yes", "no"]) is None, "1.5 rows a label"
    assert words(list("abcdefghijklmnopqrst") * 2) == tuple("abcdefghijklmnopqrst")
    assert words(list("abcdefghijklmnopqrstu") * 9) is None, "21 labels"


def test_targets_have_room_for_every_label(write, tmp_path):
    write("train.csv", LABELLED.replace("no", "entailment"))
    write("dev.csv", "inputs,targets\na,yes\n")
    split = open_own(tmp_path).load("validation")
    assert split.examples.lengths == {"inputs": 2, "targets": len("entailment") + 1}
    short = open_own(tmp_path).load("train", {"targets": 3})
    assert short.examples.cut == {"inputs": 0, "targets": 4}


def test_a_validation_target_must_be_a_label_of_train(write, tmp_path):
    write("train.csv", LABELLED)
    write("dev.csv", "inputs,targets\na,yes\nb,maybe\n")
    with pytest.raises(UserError, match=r"dev\.csv, line 3: .*'maybe'.*\(yes, no\)"):
        open_own(tmp_path)


def test_a_label_that_the_vocabulary_cannot_write_is_a_user_error(write):
    pocket = load_vocabulary(str(POCKET))
    spaced = write("spaced.csv", LABELLED.replace(",no", ", no"))
    with pytest.raises(UserError, match=r"cannot write the label ' no': .* into 'no'"):
        open_own(spaced, vocabulary=pocket)
    alike = write("alike.csv", LABELLED.replace("no", "ﬁne").replace("yes", "fine"))
    with pytest.raises(UserError, match=r"cannot write the label 'ﬁne': .*into 'fine'"):
        open_own(alike, vocabulary=pocket)
    assert open_own(spaced).label_words() == ("yes", " no")


# Validation rows held out.


@pytest.mark.parametrize(("rows", "held"), [(2, 1), (19, 1), (45, 4), (10_500, 1000)])
def test_a_tenth_of_the_rows_is_held_out(write, rows, held):
    numbers = [f"row {number}" for number in range(rows)]
    lines = "".join(f"{number},{number}\n" for number in numbers)
    task = open_own(write("x.csv", f"inputs,targets\n{lines}"))
    assert tuple(task.splits) == ("train", "validation")
    train, validation = (
        [text for text, _ in texts(task.load(split))] for split in task.splits
    )
    assert len(validation) == held
    assert sorted(train + validation, key=numbers.index) == numbers
    for each in (train, validation):
        assert each == sorted(each, key=numbers.index)


def test_the_rows_held_out_depend_on_the_seed_alone(write):
    lines = "".join(f"{number},x\n" for number in range(100))
    path = write("x.csv", f"inputs,targets\n{lines}")
    held = [texts(open_own(path, seed=s).load("validation")) for s in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


# Scores.


def test_records_and_metrics_of_labels(write, tmp_path):
    write("train.csv", LABELLED)
    write("dev.csv", LABELLED)
    task = open_own(tmp_path, "q: {inputs}")
    evaluation, records = task.load("validation").score(["yes", "yes", "now", "no"])
    name = tmp_path.name
    assert evaluation.metrics[name]["accuracy"] == 50.0
    # yes: 1 of 2 said, 1 of 2 meant; no: 1 of 1 said, 1 of 2 meant.
    f1 = [2 * 0.5 * 0.5 / (0.5 + 0.5), 2 * 1 * 0.5 / (1 + 0.5)]
    assert evaluation.metrics[name]["macro_f1"] == pytest.approx(100 * np.mean(f1))
    assert evaluation.illegal == {name: 0.25}
    assert records[2] == {
        "task": name,
        "index": 2,
        "inputs": "q: c",
        "target": "yes",
        "prediction": "now",
        "legal": False,
        "correct": False,
    }
    assert [record["correct"] for record in records] == [True, False, False, True]


def test_records_and_metrics_of_text(write, tmp_path):
    lines = "inputs,targets\na,The old cat\nb,a dog\n"
    write("train.csv", lines)
    write("dev.csv", lines)
    split = open_own(tmp_path).load("validation")
    evaluation, records = split.score(["old cat!", "dog and cat"])
    # Of "dog and cat" 1 word of 3 is right, and it is all of the target.
    expected = {"em": 50.0, "f1": pytest.approx(100 * (1 + 0.5) / 2)}
    assert evaluation == ({tmp_path.name: expected}, {})
    keys = {"task", "index", "inputs", "target", "prediction"}
    assert records[0].keys() == keys
    with pytest.raises(ValueError, match="zip"):
        split.score(["one too few"])


WORDS = ("yes", "no", "maybe")
said = st.sampled_from([*WORDS, "other", ""])
quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@quick
@given(st.lists(st.tuples(st.sampled_from(WORDS), said), min_size=1, max_size=12))
def test_label_metrics_are_sklearns(pairs):
    targets, predictions = zip(*pairs, strict=True)
    metrics = own_data.label_metrics(targets, predictions, WORDS)
    arguments = {"labels": list(WORDS), "average": "macro", "zero_division": 0}
    f1 = sklearn.metrics.f1_score(targets, predictions, **arguments)
    accuracy = sklearn.metrics.accuracy_score(targets, predictions)
    expected = {"accuracy": 100 * accuracy, "macro_f1": 100 * f1}
    assert metrics == pytest.approx(expected)


answers = st.lists(
    st.sampled_from(
        ["the", "The", "an", "a", "cat", "dog.", "d-o-g", "\u2013a\u2013", "é", "!"]
    ),
    max_size=5,
).map(" ".join)


@quick
@given(st.lists(st.tuples(answers, answers), min_size=1, max_size=5))
def test_text_metrics_are_the_tasks_own_for_squad(pairs):
    targets, predictions = zip(*pairs, strict=True)
    expected = scoring.squad([[target] for target in targets], predictions)
    assert own_data.text_metrics(targets, predictions) == pytest.approx(expected)
