"""Pictures: which are drawn, of what; odd pieces and equal names do not stop them."""

import numpy as np
import planted_prompt
import pytest
from matplotlib import image

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


def colours(path):
    """How many colours cover more than a 500th of a picture each."""
    pixels = np.round(255 * image.imread(path)[..., :3]).astype(int)
    _, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return (counts > pixels.size / 1_500).sum()


def test_similarities_have_a_panel_for_each_kind(tmp_path):
    """The picture has colours for the values of each."""
    rng, found = np.random.default_rng(0), {}
    for key in report.SIMILARITIES:
        off, diagonal = rng.uniform(-0.5, 0.8), rng.uniform(0.8, 1, 2)
        found[key] = [[diagonal[0], off], [off, diagonal[1]]]
    drawn = pictures.similarities(tmp_path / "s", ["one", "other"], found)
    assert [path.suffix for path in drawn] == [".png", ".pdf"]
    assert colours(drawn[0]) >= 3 * len(found)


def test_many_prompts_have_no_numbers_and_a_picture_of_some_size(tmp_path):
    found = {"means": np.eye(60).tolist()}
    names = [f"runs/a_rather_long_name_{i}" for i in range(60)]
    (png, _) = pictures.similarities(tmp_path / "s", names, found)
    height, width, _ = image.imread(png).shape
    assert height < 2_000 > width / 1.5


@pytest.mark.parametrize("draw", [pictures.positions, pictures.attention])
def test_what_a_single_position_does_is_drawn(tmp_path, draw):
    paid = {"weights": np.full((2, 3, 1), 0.5).tolist(), "uniform": 0.1}
    found = {
        "score": 90.0,
        "without_P": [80.0],
        "importance_P": [0.1],
        "changed": {"shuffled, draw 1": 50.0},
        "examples": 10,
        "split": "validation",
        "attention": dict.fromkeys(("encoder", "decoder"), paid),
    }
    png, _ = draw(tmp_path / "one", "one", found)
    assert colours(png) >= 2
