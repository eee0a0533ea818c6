"""Rows are read one at a time; a bad one is told, and the rest is read on."""

import io
import itertools
import os
import sys
import threading

import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.serving import inputs


def rows(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(inputs.read(str(path)))


def test_a_table_has_a_row_for_each_line_below_its_header(tmp_path):
    content = 'inputs,id\r\n"a, b\nc",1\r\n\r\nd,2\r\n'
    found = rows(tmp_path / "in.csv", content)
    assert [row.fields for row in found] == [
        {"inputs": "a, b\nc", "id": "1"},
        {"inputs": "d", "id": "2"},
    ]
    assert [row.line for row in found] == [2, 5]
    found = rows(tmp_path / "in.tsv", "x\tinputs\n1\tä\n")
    assert found[0].fields == {"x": "1", "inputs": "ä"}


def test_a_bad_row_is_told_and_the_rest_is_read(tmp_path):
    content = b'a,b\n1\n1,2\n3,\xff\n4,5\n"6,7\n'
    found = rows(tmp_path / "in.csv", content)
    assert [bool(row.error) for row in found] == [True, False, True, False, True]
    assert "line 2: found 1 columns" in found[0].error
    assert "line 4 is not UTF-8" in found[2].error
    assert "must end with one" in found[4].error
    content = b'good\n{"inputs": 1\n\xff\n{"inputs": "x"}\n{"a": NaN}'
    found = rows(tmp_path / "in", content)
    assert [bool(row.error) for row in found] == [False, True, True, False, True]
    assert found[1].error.startswith(f"line 2 of {tmp_path}/in should be a JSON object")


def test_where_no_row_is_good_nothing_is_read(tmp_path):
    with pytest.raises(UserError, match="line 1 of"):
        rows(tmp_path / "in.jsonl", "x\ny\n")
    with pytest.raises(UserError, match="line 1 of"):
        rows(tmp_path / "in.jsonl", "x\n" * inputs.MOST_BAD + '{"inputs": "late"}\n')
    assert rows(tmp_path / "in.jsonl", "\n\n") == []


def test_the_first_rows_come_before_the_last_are_written(tmp_path, monkeypatch):
    """And a pipe's bytes are kept no longer than needed."""
    reading, writing = os.pipe()
    stdin = io.TextIOWrapper(os.fdopen(reading, "rb"))
    monkeypatch.setattr(sys, "stdin", stdin)
    os.write(writing, b"one\ntwo\n")
    found = inputs.read("-")
    assert [row.fields["inputs"] for row in itertools.islice(found, 2)] == [
        "one",
        "two",
    ]

    def rest():
        with os.fdopen(writing, "wb") as file:
            for number in range(50_000):
                file.write(b"%d\n" % number)

    thread = threading.Thread(target=rest)
    thread.start()
    assert sum(int(row.fields["inputs"]) for row in found) == 25_000 * 49_999
    thread.join()


def test_a_line_has_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_LINE", 10)
    with pytest.raises(UserError, match="a line of more than 10 characters"):
        rows(tmp_path / "in", "a\n" + "x" * 11 + "\n")


def test_the_text_is_a_column_or_a_template_of_columns():
    row = inputs.Row(3, "line 3 of x", {"a": "1", "b": 2})
    assert inputs.text_of(row, "{a} and {b}") == "1 and 2"
    with pytest.raises(UserError, match='line 3 of x has no "inputs" with a text'):
        inputs.text_of(row)
    with pytest.raises(UserError, match="line 3 of x: there is no column 'c'"):
        inputs.text_of(row, "{c}")
    row = row._replace(fields={"inputs": "own", "a": "1"})
    assert inputs.text_of(row, "{a}") == "own"
    with pytest.raises(UserError, match="with a text"):
        inputs.text_of(row._replace(fields={"inputs": 5, "a": "1"}), "{a}")


def test_a_row_that_is_not_resolved_has_its_error():
    given = [inputs.Row(n, f"line {n}", {"n": n}) for n in range(3)]

    def resolve(row):
        if row.line == 1:
            raise UserError("no")
        return str(row.line), "p"

    found = list(inputs.resolved(given, resolve))
    assert [(row.text, row.error) for row in found] == [
        ("0", ""),
        ("", "no"),
        ("2", ""),
    ]
    with pytest.raises(UserError, match="no"):
        list(inputs.resolved(given[1:2], resolve))
