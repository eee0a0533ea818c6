"""What may be loaded on request, and what happens when files change."""

import asyncio
import os

import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.serving import prompt_files
from prompt_tuning.serving.prompt_files import Watched, below, signature
from prompt_tuning.serving.refusals import Refusal


@pytest.fixture
def folder(tmp_path):
    """inside/ with runs and links, beside it what is not to be opened."""
    for name in ("inside/run/checkpoints/4", "inside/out", "outside", "inside-too"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("inside/a.npy", "inside/run/prompt.npy", "outside/prompt.npy"):
        (tmp_path / name).touch()
    (tmp_path / "inside/link").symlink_to("run")
    (tmp_path / "inside/escape").symlink_to("../outside")
    (tmp_path / "inside/escape.npy").symlink_to(tmp_path / "outside/prompt.npy")
    (tmp_path / "inside/out/prompt.npy").symlink_to("../../outside/prompt.npy")
    (tmp_path / "inside/circle").symlink_to("circle")
    (tmp_path / "inside/here").symlink_to(".")
    return tmp_path / "inside"


@pytest.mark.parametrize("name", ["a.npy", "run", "run/checkpoints/4", "link", "./run"])
def test_what_lies_below_the_folder_is_found(folder, name):
    assert below(folder, name) == (folder / name).resolve()
    assert below(folder, str(folder / name)) == (folder / name).resolve()


@pytest.mark.parametrize(
    "name",
    ["..", "../outside", "../inside-too", "run/../../outside", "/etc/passwd", "/", ".",
     "", "escape", "escape.npy", "out", "circle", "here", "no_such", "a\0b", "x" * 5000,
     "~", "a.npy/x"],
)  # fmt: skip
def test_nothing_else_is(folder, name):
    with pytest.raises(Refusal, match="below the folder") as refusal:
        below(folder, name)
    assert refusal.value.status == 403


def test_a_folder_with_too_many_files_is_not_walked(folder, monkeypatch):
    monkeypatch.setattr(prompt_files, "MOST_FILES", 1)
    with pytest.raises(Refusal):
        below(folder, "run")


def test_a_signature_changes_with_the_prompts_files_alone(folder):
    run = folder / "run"
    first = signature(run)
    (run / "metrics.json").write_text("{}")
    assert signature(run) == first
    (run / "prompt.json").write_text("{}")
    second = signature(run)
    assert second != first
    (run / "new").touch()
    os.replace(run / "new", run / "prompt.npy")
    assert signature(run) not in (first, second)
    assert signature(folder / "no_such") == frozenset()


@pytest.fixture
def watched(tmp_path):
    """(Watched of one prompt's file, the file, what was reloaded, what was told)."""
    reloaded, told = [], []

    def reload(name, path):
        if path.read_text() == "bad":
            raise UserError("it is bad")
        reloaded.append(path.read_text())

    path = tmp_path / "one.npy"
    path.write_text("first")
    watched = Watched(reload, told.append)
    watched.add("one", path, signature(path))
    return watched, path, reloaded, told


def look(watched, times=1):
    async def looks():
        for _ in range(times):
            await watched.look()

    asyncio.run(looks())


def test_a_change_is_loaded_once_it_has_stood_for_a_look(watched, capsys):
    watched, path, reloaded, told = watched
    look(watched, 3)
    path.write_text("second")
    look(watched)
    path.write_text("and third")
    look(watched)
    assert not reloaded, "it was being written"
    look(watched, 3)
    assert (reloaded, told) == (["and third"], ["loaded"])
    assert "prompt one: " in capsys.readouterr().err


def test_a_file_that_is_gone_or_bad_changes_nothing_until_it_is_right(watched, capsys):
    watched, path, reloaded, told = watched
    path.unlink()
    look(watched, 4)
    path.write_text("bad")
    look(watched, 4)
    assert (reloaded, told) == ([], ["gone", "failed"]), "each is told once"
    assert "it is bad; the prompt loaded before stays" in capsys.readouterr().err
    path.write_text("right again")
    look(watched, 4)
    assert reloaded == ["right again"]


def test_a_prompt_that_was_unloaded_is_not_loaded_again(watched):
    watched, path, reloaded, _ = watched
    path.write_text("second")
    look(watched)
    watched.remove("one")
    look(watched, 3)
    assert not reloaded
