"""Damaged files of every kind are read, or refused in one plain message.

A small part of what scripts/faults/fuzz.py does at length.
"""

import shutil

import pytest
from faults import inputs

COUNT = 25


@pytest.mark.parametrize("kind", inputs.READERS)
def test_what_is_damaged_is_read_or_refused(tmp_path, kind):
    reader = inputs.READERS[kind]
    made = reader.make(tmp_path / "whole")
    assert inputs.outcome(reader, made, "whole")[0] == "accepted"
    for seed in range(COUNT):
        copy = tmp_path / str(seed) / made.relative_to(tmp_path / "whole")
        shutil.copytree(tmp_path / "whole", tmp_path / str(seed))
        what = inputs.damage(copy, seed)
        outcome, said = inputs.outcome(reader, copy, what)
        assert outcome in ("accepted", "clean"), f"seed {seed}: {said}"
        shutil.rmtree(tmp_path / str(seed))
