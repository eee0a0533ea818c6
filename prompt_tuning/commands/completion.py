"""What a shell completes: commands, flags, settings and their values.

argcomplete's shell function starts the program with the line that was typed so far; see
docs/quickstart.md. Nothing here imports JAX or TensorFlow, as the user waits.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from prompt_tuning.settings import FIELDS, Run


def words() -> list[str]:
    """What stands before the cursor."""
    return os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split()


def complete(parser: argparse.ArgumentParser, command: Any) -> None:
    """Writes what may come next, and ends the program.

    Args:
      command: the parser of the command, if there is one on the line; settings are
        added to it.
    """
    import argcomplete

    # The shell adds no space to a name that ends in "="; a value is looked for by the
    # name without.
    end = "" if "=" in words()[-1] else "="
    for name, field in FIELDS.items() if command else ():
        text = field.metadata["text"].replace("%", "%%")
        action: Any = command.add_argument(f"--gin.{name}{end}", help=text)
        action.completer = _values(name, field)
    for action in command._actions if command else ():
        if action.dest in _OF_FLAGS:
            action.completer = _OF_FLAGS[action.dest]
    argcomplete.autocomplete(parser)


def values(field: Any) -> Sequence[str]:
    """The values of an enumerated setting or of a switch; else none."""
    rules = field.metadata
    return rules.get("choices") or rules.get("known") or _SWITCH[field.type is bool]


_SWITCH = {True: ("True", "False"), False: ()}


def _values(name: str, field: Any) -> Callable[..., Any]:
    """A completer of argcomplete's: the values, or files where a path is asked for."""
    from argcomplete.completers import FilesCompleter

    if name == _TASK:
        return _tasks_and_tables
    if "path" in field.metadata:
        return FilesCompleter()
    return lambda **_: values(field)


_TASK, _MODULE = "MIXTURE_OR_TASK_NAME", "MIXTURE_OR_TASK_MODULE"


def _gin_files(prefix: str, **_: Any) -> list[str]:
    """The package's own, and those on the disk."""
    from argcomplete.completers import FilesCompleter

    from prompt_tuning import gin_files

    return [*gin_files.packaged(), *FilesCompleter(("gin",))(prefix)]


def _tasks_and_tables(prefix: str, **_: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return [*tasks(), *FilesCompleter(("csv", "tsv", "jsonl"))(prefix)]


def tasks(**_: Any) -> list[str]:
    """The names of the tasks that are only texts: others need TensorFlow to be listed.

    They are those of the modules that are on the line, else of the package.
    """
    from prompt_tuning.training import modules

    typed = [w.partition("=")[2] for w in words() if w.startswith(f"--gin.{_MODULE}=")]
    asked = re.findall(r"[\w.]+", typed[-1]) if typed else Run.mixture_or_task_module
    sys.path.append(os.getcwd())  # as commands do
    found = [modules.texts_of(name) for name in modules.names(asked)]
    return [task for tasks in found for task in tasks]


_OF_FLAGS = {"gin_file": _gin_files, "render": tasks}
