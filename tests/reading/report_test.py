"""The report on a planted prompt, over its steps, and without its model."""

import numpy as np
import planted_prompt
import pytest

from prompt_tuning.reading import report, subject
from prompt_tuning.runs import trained


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompt") / "p.npy"
    planted_prompt.plant(path, task="kinds")
    source = trained.find("", str(path))
    return subject.read(source, trained.base_settings("", source), True, False)


def test_steps_are_set_beside_what_the_prompt_is(one):
    early = one.prompt_PxD[[1, 1, 2, 3, 4]]
    one = one._replace(steps={4: early, 8: one.prompt_PxD})
    first, last = report.of_prompt(one, 3)["steps"]
    assert first["nearest"][:2] == ["▁tool", "▁tool"]
    assert (first["distinct"], first["as_now"], first["labels_at_home"]) == (3, 4, 2)
    assert (last["distinct"], last["as_now"], last["labels_at_home"]) == (4, 5, 3)
    text = report.text(report.of_prompt(one, 3))
    assert "▁tool ▁tool ▁bird ▁plant ▁plant" in text


def test_the_table_sets_the_prompt_beside_its_controls(one):
    found = report.of_prompt(one, 3)
    assert [*found["counts"]] == ["this prompt", "random vectors", "vocabulary rows"]
    own, random, _ = found["counts"].values()
    assert own["cosine"] > 0.99 > random["cosine"]
    assert own["labels"] == 3 > random["labels"]
    norms = np.linalg.norm(one.prompt_PxD, axis=1)
    assert found["norm"] == {
        "mean": pytest.approx(norms.mean()),
        "least": pytest.approx(norms.min()),
        "most": pytest.approx(norms.max()),
    }


def test_the_controls_of_a_prompt_are_draws_of_its_own(one):
    found = [
        report.of_prompt(one._replace(said={**one.said, "seed": seed}), 3)["counts"]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert found[0]["this prompt"] == found[2]["this prompt"]
    assert found[0]["random vectors"] != found[2]["random vectors"]


def test_without_a_model_nothing_is_made_up(one):
    bare = one._replace(frozen=None, missing="it is gone")
    found = report.of_prompt(bare, 3)
    assert found.keys().isdisjoint({"neighbours", "counts", "labels", "steps"})
    assert "and it is gone" in report.text(found)
