"""`predict` on a run of a small model."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import small
from small import lines
from without import without_tensorflow

from prompt_tuning import cli, exchange


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


# Several prompts


@pytest.fixture(scope="module")
def prompts(run, tmp_path_factory):
    """A folder of two prompts of other lengths, the second before the EOS."""
    folder = tmp_path_factory.mktemp("prompts")
    shutil.copytree(run, folder / "kind")
    said = json.loads((run / "prompt.json").read_text())
    said |= {"length": 9, "place": "suffix", "label_words": ["sad", "glad"]}
    vectors = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    exchange.save_prompt(folder / "mood.npy", vectors, said)
    return folder


def mixed(prompts, folder, content, *flags, name="in.jsonl", code=0):
    """The answers to a mix, in the order of its rows."""
    (folder / name).write_text(content)
    arguments = ["--input", folder / name, "--output", folder / "out.jsonl"]
    bindings = [f"--gin.{flag}" for flag in flags]
    given = [f"--prompts={prompts}", *map(str, arguments), *bindings]
    assert cli.main(["predict", *given]) == code
    return lines(folder / "out.jsonl")


def rows(*names, **fields):
    texts = enumerate(names)
    made = [{"task": name, "inputs": f"bird {i}", **fields} for i, name in texts]
    return "".join(json.dumps(one) + "\n" for one in made)


def test_a_mix_is_answered_as_by_each_prompt_alone(prompts, tmp_path):
    names = ["mood", "kind", "kind", "mood", "kind"] * 5
    found = mixed(prompts, tmp_path, rows(*names), "BATCH_SIZE=8")
    assert [one["task"] for one in found] == names
    for name, path in (("kind", "kind"), ("mood", "mood.npy")):
        own = [one for one in found if one["task"] == name]
        plain = "".join(one["inputs"] + "\n" for one in own)
        (tmp_path / "in").write_text(plain)
        files = "--input", tmp_path / "in", "--output", tmp_path / "alone"
        given = "predict", "--prompt", prompts / path, *files
        assert cli.main([*map(str, given)]) == 0
        alone = [one["prediction"] for one in lines(tmp_path / "alone")]
        assert alone == [one["prediction"] for one in own]


def test_labels_are_scored_with_their_probabilities(prompts, tmp_path):
    found = mixed(prompts, tmp_path, rows("mood", "kind"), "DECODING=labels")
    for one, words in zip(found, (["sad", "glad"], list(small.LABELS)), strict=True):
        p = one["probabilities"]
        assert list(p) == words and sum(p.values()) == pytest.approx(1)
        assert one["prediction"] == max(p, key=p.get)


def test_a_table_is_answered_row_by_row(prompts, tmp_path):
    content = "id\ttask\tinputs\n1\tkind\tbird 1\n2\tmood\ttool 2\n"
    found = mixed(prompts, tmp_path, content, name="in.tsv")
    kept = [(one["id"], one["task"], one["inputs"]) for one in found]
    assert kept == [("1", "kind", "bird 1"), ("2", "mood", "tool 2")]
    assert all(isinstance(one["prediction"], str) for one in found)


def test_a_bad_row_has_its_error_and_the_rest_their_answers(prompts, tmp_path, capsys):
    content = rows("kind") + "{\n" + rows("no") + rows("mood")
    found = mixed(prompts, tmp_path, content, code=2)
    assert ["error" in one for one in found] == [False, True, True, False]
    assert found[1]["line"] == 2 and found[2]["task"] == "no"
    told = capsys.readouterr().err
    assert "2 of 4 rows were not answered" in told and "the first: line 2 of" in told
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "bad.jsonl").write_text(rows("no", "nor"))
    arguments = ["--input", tmp_path / "bad.jsonl", "--output", tmp_path / "out.jsonl"]
    given = ["predict", f"--prompts={prompts}", *map(str, arguments)]
    assert cli.main(given) == 2 and not (tmp_path / "out.jsonl").exists()
    assert "line 1 of" in capsys.readouterr().err


def test_prompts_are_named_in_one_way_alone(prompts, run, capsys):
    for more in (f"--gin.MODEL_DIR={run}", f"--prompt={run}"):
        assert cli.main(["predict", f"--prompts={prompts}", more, "--input=/dev/null"])
        assert "leave out --prompt and MODEL_DIR" in capsys.readouterr().err


def test_a_mix_needs_no_tensorflow(prompts, tmp_path):
    (tmp_path / "in.csv").write_text("task,inputs\nmood,bird\nkind,tool\n")
    pairs = f"kind={prompts}/kind", f"mood={prompts}/mood.npy"
    given = "predict", "--prompts", *pairs, "--input=in.csv"
    told = without_tensorflow(tmp_path, *given)
    assert [json.loads(line)["task"] for line in told.splitlines()] == ["mood", "kind"]
