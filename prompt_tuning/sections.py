"""Sections of settings: frozen dataclasses whose fields say what they may be."""

import dataclasses
import difflib
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from prompt_tuning.errors import UserError

RUN = "Run"  # the section whose fields have macros
_MOST_NAME, _MOST_PATH = 255, 4_000  # bytes; Linux's limits


@dataclasses.dataclass(frozen=True)
class Section:
    """A group of settings; raises UserError for values that break its rules."""

    SECTION: ClassVar[str]

    def __post_init__(self):
        fields = [field.name for field in dataclasses.fields(self)]
        check(self, {name: called(self.SECTION, name) for name in fields})


def setting(default: Any, text: str, **rules: Any) -> Any:
    """A field of a section: its default, what it means, and the values it may have.

    Args:
      rules: `choices`, or `known` where another module checks them, or for numbers
        `least` and `most` (inclusive), `below`; `keys` that a dict may have, to
        numbers; `path` of a file or folder; `needs`, which other field must be set for
        a value; `size`, of a method's option: the more of it, the more values are
        trained.
    """
    return dataclasses.field(default=default, metadata={"text": text} | rules)


def check(section: Any, names: Mapping[str, str]) -> None:
    """Raises UserError unless each field has its type and keeps its rules.

    Args:
      names: field -> what the user calls it.
    """
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), names[field.name]
        problem = _wrong_type(value, field.type) or _broken_rule(value, field)
        if problem:
            raise UserError(f"{name} is {value!r}; it must be {problem}")
        needed = "needs" in field.metadata and field.metadata["needs"].get(value)
        if needed and not getattr(section, needed):
            raise UserError(
                f"{name} is {value!r}, but {names[needed]} is not set; give it, "
                f"--gin.{names[needed]}=..., or another {name}"
            )


def called(section: str, field: str) -> str:
    """What the user calls a field: those of a run have macros, others their section."""
    return field.upper() if section == RUN else f"{section}.{field}"


def _wrong_type(value: Any, expected: Any) -> str:
    """What the value must be instead; "" if it has the expected type."""
    kinds = typing.get_args(expected) or (expected,)
    kinds = tuple(typing.get_origin(kind) or kind for kind in kinds)
    if float in kinds and type(value) in (int, float):
        return "" if abs(value) <= sys.float_info.max else "a finite number"
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return "text of whole characters, in UTF-8"
    # To Python True is an int; as a number in the settings it is a mistake.
    if (type(value) is bool and bool not in kinds) or not isinstance(value, kinds):
        if kinds == (float,):
            return "a finite number"
        return f"of type {' or '.join(kind.__name__ for kind in kinds)}"
    return _wrong_items(value, typing.get_args(expected) or (expected,))


def _wrong_items(value: Any, kinds: tuple[Any, ...]) -> str:
    """The same of what a list or a dict holds."""
    for kind in kinds:
        if typing.get_origin(kind) is not type(value):
            continue
        expected = [item for item in typing.get_args(kind) if item is not ...]
        rows = value.items() if isinstance(value, dict) else [(item,) for item in value]
        if any(
            _wrong_type(*pair)
            for row in rows
            for pair in zip(row, expected, strict=True)
        ):
            names = " to ".join(item.__name__ for item in expected)
            return f"a {type(value).__name__} of {names}"
    return ""


def _broken_rule(value: Any, field: dataclasses.Field) -> str:
    """What the value must be instead; "" if it keeps the rules of `setting`."""
    rules = field.metadata
    if value is None:
        return ""
    if "path" in rules and (problem := path_problem(value)):
        return problem
    if "keys" in rules:
        if value.keys() - set(rules["keys"]):
            return f"a dict with the keys {' and '.join(rules['keys'])}"
        one = dataclasses.field(metadata={k: rules[k] for k in rules if k != "keys"})
        one.type = int
        problems = (_broken_rule(number, one) for number in value.values())
        return next((f"a dict to {problem}" for problem in problems if problem), "")
    if "choices" in rules and value not in rules["choices"]:
        return one_of(rules["choices"], value)
    number = "a whole number" if field.type is int else "a number"
    if "least" in rules and value < rules["least"]:
        return f"{number} of at least {rules['least']}"
    if "most" in rules and value > rules["most"]:
        return f"{number} of at most {rules['most']}"
    if "below" in rules and value >= rules["below"]:
        return f"{number} below {rules['below']}"
    return ""


def one_of(choices: Sequence[str], value: Any) -> str:
    """The values that there are, and the one that `value` is near to."""
    told = f"one of {', '.join(choices)}"
    written = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(value).lower(), written, 1)
    return told + (f"; did you mean {written[near[0]]}?" if near else "")


def path_problem(path: str) -> str:
    """What a path must be instead, where no file system can have it."""
    if "\0" in path:
        return "a path without zero bytes"
    names = path.encode(errors="surrogateescape").split(b"/")
    if max(map(len, names)) > _MOST_NAME or len(path) > _MOST_PATH:
        return f"a path of names of at most {_MOST_NAME} bytes"
    return ""
