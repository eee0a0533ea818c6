"""The modules that register tasks: ours, and the user's, whatever their names are."""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

import prompt_tuning
from prompt_tuning.errors import UserError

OURS = Path(prompt_tuning.__file__).parent / "tasks"


def import_tasks(module: str | Sequence[str]) -> None:
    """Imports the modules that register tasks.

    Args:
      module: their names, as a sequence or in one text with spaces between.

    Raises:
      UserError: there is no such module.
    """
    for name in module.split() if isinstance(module, str) else module:
        name = _as_packaged(name)
        try:
            with _ours_hidden(name):
                importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there; what it imports is not
            raise UserError(
                f"there is no module {name!r} (MIXTURE_OR_TASK_MODULE); it must be "
                "installed or in the working directory, and named like "
                "prompt_tuning.tasks.pocket"
            ) from None


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
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        found = PathFinder.find_spec(".".join(parts[:count]), path)
        if not found:
            return False
        path = list(found.submodule_search_locations or ())
    return True


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
