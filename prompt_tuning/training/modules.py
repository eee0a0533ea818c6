"""The modules that have tasks: ours, and the user's, whatever their names are."""

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import prompt_tuning
from prompt_tuning.errors import UserError

OURS = Path(prompt_tuning.__file__).parent / "tasks"


def names(module: str | Sequence[str]) -> list[str]:
    """The full names of MIXTURE_OR_TASK_MODULE's modules.

    Args:
      module: their names, as a sequence or in one text with spaces between.
    """
    asked = module.split() if isinstance(module, str) else module
    return [_as_packaged(name) for name in asked]


def imported(name: str) -> ModuleType:
    """Imports a module of tasks by its full name.

    Raises:
      UserError: there is no such module.
    """
    try:
        with _ours_hidden(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise UserError(
            f"there is no module {name!r} (MIXTURE_OR_TASK_MODULE); it must be "
            "installed or in the working directory, and named like "
            "prompt_tuning.tasks.pocket"
        ) from None


def texts(module: ModuleType) -> dict[str, Any]:
    """The tasks of a module that are only texts, by name: those in its TASKS.

    A TASKS of another kind is the user's own affair.
    """
    tasks = getattr(module, "TASKS", None)
    found = tasks.values() if isinstance(tasks, Mapping) else ()
    return {task.name: task for task in found if hasattr(task, "register")}


def find_text(name: str, module: str | Sequence[str]) -> Any:
    """The first of these modules' tasks of texts with this name; None if there is none.

    A module that never says TASKS is not imported, as it may import TensorFlow, and
    none is after the first that has the task.

    Args:
      module: as `names` takes it.

    Raises:
      UserError: a module is not there.
    """
    for each in names(module):
        tasks = texts_of(each)
        if name in tasks:
            return tasks[name]
    return None


def texts_of(name: str) -> dict[str, Any]:
    """What `texts` finds in a module, by its full name, if it says TASKS at all."""
    return texts(imported(name)) if _says_tasks(name) else {}


def _says_tasks(name: str) -> bool:
    """Whether a module's source has the word TASKS, or cannot be read to find out."""
    try:
        with _ours_hidden(name):
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # importing it tells why
        return True
    loader = spec and spec.loader
    if not isinstance(loader, InspectLoader):
        return True
    source = loader.get_source(name)
    return source is None or re.search(r"\bTASKS\b", source) is not None


def _as_packaged(name: str) -> str:
    """prompt_tuning.tasks.paper for tasks.paper, its name in 0.1.0's runs and flags.

    A user's own module of that name is left to the user.
    """
    if name.partition(".")[0] != OURS.name or not _there(name, [str(OURS.parent)]):
        return name
    with _ours_hidden(name):
        return name if _there(name, sys.path) else f"prompt_tuning.{name}"


def _there(name: str, path: Sequence[str]) -> bool:
    """Whether a module is in these folders; none of those above it is imported."""
    parts, file = name.split("."), None
    for count, part in enumerate(parts, start=1):
        try:
            found = PathFinder.find_spec(".".join(parts[:count]), path)
        except KeyError:  # a folder without __init__.py, below one not yet imported
            path = [str(Path(p, part)) for p in path if Path(p, part).is_dir()]
            file = None
            continue
        if not found:
            return False
        path = list(found.submodule_search_locations or ())
        file = found.origin
    return file is not None  # a folder without __init__.py registers nothing


@contextlib.contextmanager
def _ours_hidden(name: str) -> Iterator[None]:
    """Without the checkout in sys.path, where a user's `tasks` would be ours."""
    asked = name.partition(".")[0] == OURS.name
    hidden = [place for place in sys.path if asked and _holds_ours(Path(place))]
    for place in hidden:
        sys.path.remove(place)
    try:
        yield
    finally:
        sys.path[:0] = hidden


def _holds_ours(place: Path) -> bool:
    theirs = place / OURS.name
    return place != OURS.parent and theirs.is_dir() and theirs.samefile(OURS)
