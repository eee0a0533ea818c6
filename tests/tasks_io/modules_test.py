"""Which module a name means, and that a user's and ours do not meet."""

import sys

import pytest
import seqio

from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run
from prompt_tuning.tasks_io.modules import import_tasks


def test_a_module_is_imported_by_name_first(tmp_path, monkeypatch):
    (tmp_path / "own_tasks.py").write_text("import seqio\nname = 'imported'\n")
    (tmp_path / "broken_tasks.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_tasks("own_tasks")
    assert sys.modules.pop("own_tasks").name == "imported"
    with pytest.raises(UserError, match=r"no module 'my_task' "):
        import_tasks(["my_task"])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        import_tasks("broken_tasks")


USERS = """
import seqio
from prompt_tuning.tasks import accuracy

seqio.TaskRegistry.add(
    "users", preprocessors=[],
    source=seqio.FunctionDataSource(lambda split, shuffle_files: 0, splits=["train"]),
    output_features={}, metric_fns=[accuracy],
)
"""


@pytest.fixture
def folder_of_a_user(tmp_path, monkeypatch):
    """The working directory, last on the path, as in the commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
        del sys.modules[name]
    if "users" in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove("users")


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("tasks.py", "tasks"),
        ("tasks/__init__.py", "tasks"),
        ("tasks/paper.py", "tasks.paper"),
        ("tasks/deep/mine.py", "tasks.deep.mine"),
    ],
)
@pytest.mark.parametrize("package", [True, False])
def test_a_users_tasks_and_ours_do_not_meet(folder_of_a_user, file, module, package):
    path = folder_of_a_user / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if package and path.parent != folder_of_a_user:
        for parent in (path.parent, folder_of_a_user / "tasks"):
            (parent / "__init__.py").touch()
    path.write_text(USERS)
    before = [*sys.path]
    import_tasks(Run().mixture_or_task_module)  # ours, by default
    assert "users" not in seqio.TaskRegistry.names()
    import_tasks(module)
    assert "users" in seqio.TaskRegistry.names()
    assert {"cb", "pocket_kind"} <= {*seqio.TaskRegistry.names()}
    assert sys.modules["prompt_tuning.tasks.paper"].TABLE
    assert sorted(sys.path) == sorted(before)


@pytest.mark.parametrize("theirs", ["tasks.py", "tasks/mine.py", None])
def test_the_first_versions_name_of_our_tasks_is_known(folder_of_a_user, theirs):
    """Even beside tasks of the user's, whose modules are not run to find out."""
    if theirs:
        (folder_of_a_user / theirs).parent.mkdir(exist_ok=True)
        (folder_of_a_user / theirs).write_text("raise SystemExit")
    import_tasks("tasks.pocket tasks.paper")
    assert "tasks.paper" not in sys.modules, "they would be registered twice"
    if theirs is None:
        with pytest.raises(UserError, match=r"no module 'tasks\.nothing' "):
            import_tasks("tasks.nothing")
