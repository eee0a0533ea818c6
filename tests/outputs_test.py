"""A file is there whole or not at all, and of many hosts one writes it."""

import json
import os

import pytest

from prompt_tuning import outputs


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.json"
    outputs.write_json(path, {"score": 1})
    with pytest.raises(TypeError):
        outputs.write_json(path, {"score": object()})
    with pytest.raises(OSError), outputs.atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert json.loads(path.read_text()) == {"score": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_takes_the_old_ones_place_in_one_move(tmp_path):
    path = tmp_path / "scores.json"
    outputs.write_json(path, {"score": 1})
    with path.open() as reader:
        outputs.write_json(path, {"score": 2})
        assert json.load(reader) == {"score": 1}, "who reads the old file can go on"
    assert json.loads(path.read_text()) == {"score": 2}


def test_another_host_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "is_writer", lambda: False)
    outputs.write_json(tmp_path / "deep" / "scores.json", {"score": 1})
    assert outputs.log(tmp_path / "train.jsonl").samefile(os.devnull)
    assert not list(tmp_path.iterdir())
