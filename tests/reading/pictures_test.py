"""Pictures: which are drawn, of what; odd pieces and equal names do not stop them."""

import numpy as np
import planted_prompt
import pytest

from prompt_tuning.reading import pictures, places, report, subject
from prompt_tuning.runs import trained


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompt") / "p.npy"
    planted_prompt.plant(path)
    source = trained.find("", str(path))
    return subject.read(source, trained.base_settings("", source), True, False)


def test_prompts_are_called_by_what_tells_them_apart(one):
    named = [one._replace(path=one.path.parent / x) for x in ("a/p.npy", "b/p.npy")]
    assert pictures.titles(named) == ["a/p.npy", "b/p.npy"]
    assert pictures.titles([one]) == ["p.npy"]


def test_several_prompts_with_and_without_a_model_and_with_steps(
    one, tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "MOST_ROWS", 100)
    bare = one._replace(frozen=None, missing="gone", path=one.path.with_name("b.npy"))
    full = one._replace(steps={1: one.prompt_PxD, 2: one.prompt_PxD})
    found = [report.of_prompt(x, 2) for x in (full, bare)]
    drawn = pictures.draw(tmp_path, [full, bare], found)
    assert {path.stem for path in drawn} == {
        "norms",
        "neighbours_0",
        "map_0",
        "steps_0",
    }
    assert all(path.stat().st_size > 2_000 for path in drawn)


def test_norms_alone_of_a_prompt_without_its_model(one, tmp_path):
    bare = one._replace(frozen=None, missing="gone", prompt_PxD=np.ones((1, 3)))
    drawn = pictures.draw(tmp_path, [bare], [report.of_prompt(bare, 2)])
    assert {path.name for path in drawn} == {"norms.png", "norms.pdf"}


def test_pieces_that_no_font_has_or_that_look_like_mathematics_are_drawn(tmp_path):
    rows = [[["▁$x$", 0.5], ["\u4e2d", 0.9]]] * 120
    found = {
        "neighbours": [{"cosine": row} for row in rows],
        "labels": [],
        "k": 2,
    }
    drawn = pictures.neighbours(tmp_path / "n", "long", found)
    assert drawn[0].stat().st_size > 2_000


def test_similarities_have_a_panel_for_each_kind(tmp_path):
    found = {"means": [[1, -0.5], [-0.5, 1]], "neurons": [[1, 0.2], [0.2, 1]]}
    drawn = pictures.similarities(tmp_path / "s", ["one", "other"], found)
    assert [path.suffix for path in drawn] == [".png", ".pdf"]
