"""Sums of prompts: a task's vector on another start, written as a prompt."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.reading import arithmetic

START, OTHER, VECTOR = (tiny.prompt(seed=seed) for seed in range(3))
SAID = {"frozen_fingerprint": "f", "task": "a", "score": 9.0, "step": 4, "text": "a"}


def term(weight, prompt, **said):
    return arithmetic.Term(weight, Path(f"p{weight}"), prompt, SAID | said)


def test_a_tasks_vector_is_applied_to_another_start(tmp_path):
    terms = [term(1, START + VECTOR), term(-1, START), term(1, OTHER)]
    arithmetic.write(tmp_path / "sum.npy", terms)
    found = exchange.load_prompt(tmp_path / "sum.npy")
    np.testing.assert_allclose(found, OTHER + VECTOR, atol=1e-6)
    said = exchange.read_description(tmp_path / "sum.npy")
    assert said["sum_of"] == [[1, "p1"], [-1, "p-1"], [1, "p1"]]
    assert said["task"] == "a"
    assert not {"score", "step", "text"} & said.keys()


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (term(2, START[:1]), r"p1 is \(3, 16\) \(length, width\), but p2 is \(1, 16\)"),
        (term(2, START, frozen_fingerprint="g"), "'f' in p1, but 'g' in p2"),
        (term(2, START, ships_model=True), "p2 goes with weights"),
        (term(2, START, in_front=2), "in_front is None in p1, but 2 in p2"),
    ],
)
def test_what_cannot_be_added_is_refused(tmp_path, other, problem):
    with pytest.raises(UserError, match=problem):
        arithmetic.write(tmp_path / "sum.npy", [term(1, START), other])
    assert not list(tmp_path.iterdir())
