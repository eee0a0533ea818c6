"""Readers: what an official file may look like, and what a bad one says."""

import gzip
import json

import pytest

from prompt_tuning.tasks import DataError, files


def read(reader, tmp_path, content, name="file", **options):
    path = tmp_path / name
    path.write_bytes(content)
    return [(where, parse()) for where, parse in reader(path, **options)]


def records(*arguments, **options):
    return [each for _, found in read(*arguments, **options) for each in found]


COLUMNS = {"sentence1": "#1 String", "label": "Quality"}


def test_a_json_object_a_line(tmp_path):
    content = '\ufeff{"a": "né\u2028x"}\r\n\r\n{"a": 2}'.encode()
    found = read(files.jsonl, tmp_path, content)
    assert [records for _, records in found] == [[{"a": "né\u2028x"}], [{"a": 2}]]
    assert found[1][0] == f"{tmp_path / 'file'}, line 3"


def test_a_line_may_hold_several_records(tmp_path):
    content = b'{"a": [1, 2]}\n'
    assert records(files.jsonl, tmp_path, content, flatten=lambda line: line["a"]) == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"a": "caf\xe9"}', "not UTF-8"),
    ],
)
def test_a_bad_line_spoils_itself_alone(tmp_path, line, reason):
    path = tmp_path / "file"
    path.write_bytes(b"{}\n" + line + b"\n{}")
    good, (where, bad), last = files.jsonl(path)
    assert good[1]() == last[1]() == [{}]
    assert where == f"{path}, line 2"
    with pytest.raises(DataError, match=reason):
        bad()


def test_tables_have_no_quotes_and_any_columns(tmp_path):
    content = b'\xef\xbb\xbfQuality\tid\t#1 String\n1\t7\t"A ""b" \tmore\tcells\n'
    assert records(files.tsv, tmp_path, content, columns=COLUMNS) == [
        {"sentence1": '"A ""b" ', "label": "1"}
    ]


def test_a_table_of_test_examples_has_no_label(tmp_path):
    content = b"index\t#1 String\n0\tx\n"
    assert records(files.tsv, tmp_path, content, columns=COLUMNS) == [
        {"sentence1": "x"}
    ]


def test_a_table_may_lack_its_header(tmp_path):
    places = {"sentence": "sentence", "label": "label"}
    headless = ("source", "label", "mark", "sentence")
    lines = b"gj04\t1\t\tIt is.\ngj04\t0\t*\tIt are.\n"
    found = records(files.tsv, tmp_path, lines, columns=places, headless=headless)
    assert found == [
        {"sentence": "It is.", "label": "1"},
        {"sentence": "It are.", "label": "0"},
    ]
    named = b"index\tsentence\n0\tIt is.\n"
    found = records(files.tsv, tmp_path, named, columns=places, headless=headless)
    assert found == [{"sentence": "It is."}]


@pytest.mark.parametrize("line", [b"1\t7", b"\t7\ttext"])
def test_a_line_without_all_columns_is_broken(tmp_path, line):
    content = b"Quality\tid\t#1 String\n" + line
    with pytest.raises(files.BrokenLine):
        records(files.tsv, tmp_path, content, columns=COLUMNS)


def test_a_table_without_a_column_says_which(tmp_path):
    with pytest.raises(DataError, match=r"line 1: there is no column '#1 String'"):
        records(files.tsv, tmp_path, b"Quality\ttext\n1\ta\n", columns=COLUMNS)


def question(**changes):
    return {"question": " Who? ", "answers": ["me"]} | changes


def test_mrqa_is_gzipped_with_a_header_line(tmp_path):
    line = {"context": " a text ", "qas": [question(), question(answers=None)]}
    header = {"header": {"dataset": "DROP", "split": "dev"}}
    content = "".join(json.dumps(each) + "\n" for each in (header, line))
    found = records(files.mrqa, tmp_path, gzip.compress(content.encode()), "a.jsonl.gz")
    first = {"context": " a text ", "question": " Who? "}
    assert found == [first | {"answers": ["me"]}, first]


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"x" * 99, mtime=0)[:-9]]
)
def test_a_broken_archive_is_named(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.gz is not a whole gzip file"):
        records(files.mrqa, tmp_path, content, "a.gz")


def articles(*questions):
    paragraphs = [{"context": "a text", "qas": list(questions)}]
    return json.dumps({"data": [{"paragraphs": paragraphs}]}).encode()


def test_squads_questions_are_read_one_by_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(articles(question(answers=[{"text": "me"}]), {"id": 3}))
    (_, good), (where, bad) = files.squad(path)
    assert good()[0]["answers"] == [{"text": "me"}]
    assert where == f"{path}, data[0].paragraphs[0].qas[1]"
    with pytest.raises(DataError, match="no field 'question', only id"):
        bad()


@pytest.mark.parametrize(
    "content", [b'{"data": [{}]}', b'{"data": [{"paragraphs": [7]}]}']
)
def test_squad_without_its_parts_is_a_bad_piece(tmp_path, content):
    with pytest.raises(DataError, match="no field 'context'"):
        records(files.squad, tmp_path, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"data":\n{', "line 2: the file is not JSON"),
        (b"[]", "no field 'data'"),
        (b'{"data": [], "version": "v2.0"}', "SQuAD 2.0, which .*; give SQuAD 1.1"),
    ],
)
def test_a_bad_squad_file_is_named(tmp_path, content, reason):
    with pytest.raises(DataError, match=f"file.*{reason}"):
        records(files.squad, tmp_path, content)


def test_a_question_without_an_answer_is_told_from_one_without_a_label(tmp_path):
    asked = question(answers=[]) | {"is_impossible": True}
    with pytest.raises(DataError, match=r"no answer .* as in SQuAD 2\.0; give"):
        records(files.squad, tmp_path, articles(asked))
    possible = question(answers=[{"text": "me"}]) | {"is_impossible": False}
    assert len(records(files.squad, tmp_path, articles(possible))) == 1


def test_a_mark_alone_is_an_empty_file_and_zero_bytes_are_no_text(tmp_path):
    for content, reason in ((files.BOM, "is empty"), (b"a\0b\n", "zero byte")):
        with pytest.raises(DataError, match=reason):
            records(files.jsonl, tmp_path, content)


def test_an_integer_must_fit_where_tensorflow_keeps_it():
    assert files.need({"a": -(2**63)}, "a", int) == -(2**63)
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(DataError, match="must fit into 64 bits"):
            files.need({"a": value}, "a", int)


def test_pronouns_come_in_blocks_of_five_lines(tmp_path):
    block = b"Bob asked Tom if he can. \nhe\nBob, Tom \nTom\n\n"
    found = read(files.pronouns, tmp_path, block * 2)
    assert found[1][0].endswith("line 6")
    assert found[1][1] == [
        {
            "sentence": "Bob asked Tom if he can.",
            "pronoun": "he",
            "candidates": ["Bob", "Tom"],
            "label": 1,
        }
    ]


@pytest.mark.parametrize(
    ("block", "reason"),
    [(b"A sentence.\nhe\nA,B\n", "must be a sentence"), (b"s\nhe\nA,B\nC\n", "'C' is")],
)
def test_a_bad_block_says_why(tmp_path, block, reason):
    with pytest.raises(DataError, match=reason):
        records(files.pronouns, tmp_path, block)


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match="file is empty"):
        records(files.jsonl, tmp_path, content)


def test_a_field_is_of_the_kind_asked_for():
    assert files.need({"a": 1}, "a", int) == 1
    with pytest.raises(DataError, match="no field 'b', only a"):
        files.need({"a": 1}, "b")
    with pytest.raises(DataError, match="'a' is '1'; it must be of type str"):
        files.need({"a": 1}, "a")
    with pytest.raises(DataError, match="only 7"):
        files.need(7, "a")
