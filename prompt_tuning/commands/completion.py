"""What a shell completes: commands, flags, settings and their values.

argcomplete's shell function starts the program with the line that was typed so far; see
docs/quickstart.md. Nothing here imports JAX, as the user waits.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from prompt_tuning.settings import FIELDS


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
        action.completer = _values(field)
    argcomplete.autocomplete(parser)


def values(field: Any) -> Sequence[str]:
    """The values of an enumerated setting or of a switch; else none."""
    rules = field.metadata
    return rules.get("choices") or rules.get("known") or _SWITCH[field.type is bool]


_SWITCH = {True: ("True", "False"), False: ()}


def _values(field: Any) -> Callable[..., Any]:
    """A completer of argcomplete's: the values, or files where a path is asked for."""
    from argcomplete.completers import FilesCompleter

    if "path" in field.metadata:
        return FilesCompleter()
    return lambda **_: values(field)
