"""What `prompt-tuning COMMAND --help` says below the flags: settings and examples.

A command's file names the settings that matter for it, SETTINGS, and three EXAMPLES;
what a setting means, and its default, are read from the dataclasses.
"""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from prompt_tuning.settings import FIELDS

_INDENT, _WIDEST = 2, 34  # of a setting's name; a longer one has a line of its own


def text(command: ModuleType) -> str:
    """The settings and the examples of a command's module."""
    width = max(shutil.get_terminal_size().columns, 60) - 2
    told = _settings(list(names(command.SETTINGS)), width) if command.SETTINGS else ""
    return f"\n{told}examples:\n{textwrap.indent(command.EXAMPLES.strip(), '  ')}\n"


def names(settings: Sequence[str]) -> Iterator[str]:
    """The settings as the user types them; a section stands for all that it has."""
    for name in settings:
        within = [full for full in FIELDS if full.startswith(f"{name}.")]
        yield from within or [name]


def _settings(names: Sequence[str], width: int) -> str:
    lines = ["settings that matter here, as --gin.NAME=VALUE:"]
    column = min(max(map(len, names)), _WIDEST) + 2 * _INDENT
    for name in names:
        told = textwrap.wrap(_told(FIELDS[name]), width - column)
        first = f"{'':{_INDENT}}{name}"
        if len(first) + _INDENT > column:
            lines.append(first)
            first = ""
        lines.append(f"{first:<{column}}{told[0]}")
        lines += [f"{'':{column}}{line}" for line in told[1:]]
    more = "; options of METHOD=NAME are NAME.*, as lora.rank" * ("METHOD" in names)
    lines.append(f"docs/settings.md has all of them{more}")
    return "\n".join(lines) + "\n\n"


def _told(field: dataclasses.Field) -> str:
    shown = default(field)
    return field.metadata["text"] + (f" (default: {shown})" if shown else "")


def default(field: dataclasses.Field) -> str:
    """A setting's default as it is typed; "" where there is none."""
    value: Any = field.default
    if value is None or value in ("", ()):
        return ""
    return value if isinstance(value, str) else repr(value)
