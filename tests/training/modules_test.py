"""Finding a task of texts among modules, and importing no more than that takes."""

import sys

import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run
from prompt_tuning.training import modules

TEXTS = """
from prompt_tuning.tasks import TextTask

TASKS = {name: TextTask(name, {}, iter) for name in ("mine", "pocket_kind")}
"""
OTHERS = {
    "texts_of_a_user": TEXTS,
    "seqio_of_a_user": "raise SystemExit('to find a task of texts, this is not run')",
    "names_of_a_user": "TASKS = ['mine', 'pocket_kind']",
    "numbers_of_a_user": "TASKS = {'mine': 1, 'pocket_kind': 2}",
}
OURS = "prompt_tuning.tasks.pocket"


@pytest.fixture(autouse=True)
def of_a_user(tmp_path, monkeypatch):
    for name, source in OTHERS.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in OTHERS:
        sys.modules.pop(name, None)


def test_the_first_module_with_the_task_is_the_one():
    ours = modules.find_text("pocket_kind", Run().mixture_or_task_module)
    assert ours.name == "pocket_kind" and ours.splits
    assert modules.find_text("pocket_kind", f"{OURS} texts_of_a_user") is ours
    assert "texts_of_a_user" not in sys.modules, "nothing after it is imported"
    theirs = modules.find_text("pocket_kind", f"texts_of_a_user {OURS}")
    assert theirs.name == "pocket_kind" and not theirs.splits


@pytest.mark.parametrize(
    "other", ["seqio_of_a_user", "names_of_a_user", "numbers_of_a_user"]
)
def test_a_module_without_tasks_of_texts_is_passed_by(other):
    assert modules.find_text("mine", other) is None
    assert modules.find_text("mine", [other, "texts_of_a_user"]).name == "mine"
    assert modules.find_text("cb", [other, "prompt_tuning.tasks.paper"]) is None


@pytest.mark.parametrize("name", ["no_such_module", "no.such.module"])
def test_a_module_that_is_not_there_is_a_user_error(name):
    with pytest.raises(UserError, match=f"no module '{name}' "):
        modules.find_text("pocket_kind", [name, OURS])
