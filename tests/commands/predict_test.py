"""`predict` on a run of a small model."""

import io
import json
import os
import sys

import pytest
import small
from small import lines

pytestmark = pytest.mark.usefixtures("compiled_once")


def predict(text, monkeypatch, capsys, *arguments, **settings):
    """What `predict` writes for `text` on standard input."""
    stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8")))
    monkeypatch.setattr(sys, "stdin", stdin)
    capsys.readouterr()
    assert small.main("predict", *arguments, **settings) == 0
    return capsys.readouterr().out


def test_predict_agrees_with_evaluate_and_keeps_other_fields(run, tmp_path):
    records = lines(run / "predictions.jsonl")
    for record in records:
        record["was"] = record.pop("prediction")
    text = "".join(json.dumps(record) + "\n" for record in reversed(records))
    (tmp_path / "in.jsonl").write_text(text)
    arguments = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    assert small.main("predict", *arguments, MODEL_DIR=run, DECODING="greedy") == 0
    out = lines(tmp_path / "out.jsonl")
    assert [{**record, "prediction": record["was"]} for record in records[::-1]] == out


def test_predict_reads_text_lines(run, monkeypatch, capsys):
    labels = {"MODEL_DIR": run, "DECODING": "labels"}
    # A line end is \n or \r\n, and nothing else that Unicode would break a line at.
    text = 'bird 1\nä\u2028{"b"}\r\n\n{"inputs": "tool\\n2", "id": 7}'
    out = predict(text, monkeypatch, capsys, **labels)
    records = [json.loads(line) for line in out.split("\n")[:-1]]
    inputs = [record["inputs"] for record in records]
    assert inputs == ["bird 1", 'ä\u2028{"b"}', "", "tool\n2"]
    assert records[3]["id"] == 7 and "ä" in out
    assert all(record["prediction"] in small.LABELS for record in records)
    assert predict("", monkeypatch, capsys, **labels) == ""


def test_predict_cuts_inputs_and_says_so(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b c d e f g\na")))
    lengths = {"TASK_FEATURE_LENGTHS": {"inputs": 4}}
    assert small.main("predict", MODEL_DIR=run, **lengths) == 0
    out, err = capsys.readouterr()
    assert "1 inputs were cut to 4" in err and len(out.splitlines()) == 2


def test_predict_writes_to_a_device_without_replacing_it(run, tmp_path):
    (tmp_path / "in.txt").write_text("bird\n")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    arguments = ["--input", tmp_path / "in.txt", "--output", tmp_path / "pipe"]
    assert small.main("predict", *arguments, MODEL_DIR=run) == 0
    assert json.loads(os.read(reader, 10_000))["inputs"] == "bird"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
