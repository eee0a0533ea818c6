"""Damaged inputs of every kind are read rightly, or refused in one plain message.

A small part of what scripts/faults/fuzz.py does at length.
"""

import importlib.util

import pytest
from faults import damage, kinds

COUNT = 25


@pytest.mark.parametrize("name", kinds.KINDS)
def test_what_is_damaged_is_read_rightly_or_refused(tmp_path, name):
    if name == "torch" and not importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is not installed")
    kind = kinds.KINDS[name]
    whole, path = (kind.make(tmp_path / place / "x") for place in ("whole", "copy"))
    outcome, said = kinds.outcome(kind, path, whole)
    assert outcome == "accepted", said
    files = damage.snapshot(tmp_path / "copy")
    for seed in range(COUNT):
        what = damage.damage(path, seed, *kind.how)
        outcome, said = kinds.outcome(kind, path, whole)
        assert outcome in ("accepted", "refused"), f"seed {seed}, {what}: {said}"
        damage.restore(tmp_path / "copy", files)


def test_what_is_damaged_is_put_right_again(tmp_path):
    """Each way damages, and what it leaves behind does not outlive it."""
    path = kinds.KINDS["hugging_face"].make(tmp_path / "x")
    files, seen = damage.snapshot(tmp_path), set()
    for seed in range(400):
        seen.add(damage.damage(path, seed).split(", ")[1])
        damage.restore(tmp_path, files)
        assert damage.snapshot(tmp_path) == files
    ways = (*damage.BLIND, *damage.PLACES, *damage.STRUCTURED)
    assert seen == {way.__name__ for way in ways}
