"""Runs that are killed or stopped at chosen moments end as unbroken ones do.

A few of the rounds of scripts/faults/kills.py, which has many more.
"""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "faults" / "kills.py"


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_kind_of_run_is_ended_at_every_kind_of_moment(kills):
    planned = list(kills.plan(50, seed=0))
    assert len(planned) == 50
    for kind, (_, moments) in kills.RUNS.items():
        whats = {what for found, what, _ in planned if found == kind}
        assert whats == {moment.what for moment in moments}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["KILL", "TERM", "INT"])
def test_what_was_ended_leaves_what_an_unbroken_run_leaves(kills, tmp_path, name):
    ends = 0
    for *where, ended, problem in kills.rounds_of(tmp_path, [name], 8, seed=1):
        assert not problem, where
        ends += ended
    assert ends >= 8
