"""Gin: where the files are, and how files and flags become one value, Settings.

Code holds the defaults; a gin file holds what differs. A file is named by its path from
the repository root (`gin/runs/prompt_tune.gin`), in a checkout and when installed. Only
gin's syntax is used here, none of its global state: T5X's engine alone needs that.
"""

import ast
import dataclasses
import functools
import importlib
import os
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from gin import config_parser

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.gin_files import GIN_ROOT, packaged
from prompt_tuning.near_names import (
    MACROS,
    field_of,
    of_t5x,
    settings_like,
    suggest,
    suggest_setting,
)
from prompt_tuning.sections import called
from prompt_tuning.settings import SECTIONS, Run, Settings


@dataclasses.dataclass(frozen=True)
class Macro:
    """%NAME in a value."""

    name: str


class Bound(NamedTuple):
    """A value with its macros, and where it is bound."""

    value: Any
    where: str


def load(
    gin_files: Sequence[str] = (),
    bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (),
    base: Settings | None = None,
) -> Settings:
    """The defaults, changed by `gin_files` and then by `bindings`.

    Args:
      gin_files: names of gin files, see `find_file`; no two may bind the same name.
      bindings: `NAME=VALUE` as typed after `--gin.`; they override the files, and a
        later one an earlier. VALUE is a literal or %MACRO as in gin, else a string.
      search_paths: folders to look for gin files in.
      base: used in place of the defaults.

    Raises:
      UserError: a file, name or value is wrong; the message says where.
    """
    bound: dict[str, Bound] = {}
    read: set[Path] = set()
    for file in gin_files:
        for name, found in _read(file, search_paths, read, "--gin_file"):
            if name in bound:
                raise UserError(
                    f"{found.where} binds {name}, which {bound[name].where} binds too; "
                    f"a run's files bind a name once: keep one, or override it with "
                    f"--gin.{name}"
                )
            bound[name] = found
    return _settings(bound | _from_flags(bindings), base)


def changed(settings: Settings, bindings: Sequence[str]) -> Settings:
    """The settings changed by more `NAME=VALUE`, as typed after `--gin.`."""
    return _settings(_from_flags(bindings), settings)


def text(settings: Settings) -> str:
    """All the settings as a gin file, which `load` reads back to an equal value."""
    lines = []
    for section, values in _sections(settings).items():
        lines += [f"{section}.{name} = {value!r}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def named(settings: Settings) -> dict[str, Any]:
    """{name: value} of every field, by the name that the user types.

    Fields of Run are in capitals. A field of T5Config that is open is left out.
    """
    return {
        called(section, name): value
        for section, values in _sections(settings).items()
        for name, value in values.items()
    }


def differences(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """{name: (old value, new value)} of each field in which two settings differ."""
    olds, news = named(old), named(new)
    # A field of T5Config that either leaves open does not count.
    return {
        name: (olds[name], value)
        for name, value in news.items()
        if name in olds and olds[name] != value
    }


def find_file(name: str, search_paths: Sequence[str] = ()) -> Path:
    """The absolute path of the gin file `name`.

    A relative name is looked for in the working directory, then in `search_paths`, then
    in GIN_ROOT.

    Raises:
      UserError: there is no such file; the message suggests similar names.
    """
    folders = [Path.cwd(), *map(Path, search_paths), GIN_ROOT]
    for folder in folders:
        path = Path(os.path.realpath(folder / name))  # resolve() fails in a circle
        if path.is_file():
            return path
    beside = {path.as_posix() for folder in folders for path in folder.glob("*.gin")}
    known = beside | {*packaged()}
    raise UserError(
        f"no gin file {name!r} in the working directory, in --gin_search_paths or "
        "among this package's own; " + suggest(name, known, lambda n: Path(n).stem)
    )


# From names and values to Settings


def _sections(settings: Settings) -> dict[str, dict[str, Any]]:
    """{section: {field: value}}, with the names that the user types."""
    return {section: _fields(settings, section) for section in SECTIONS}


def _fields(settings: Settings, section: str) -> dict[str, Any]:
    value = getattr(settings, SECTIONS[section][1])
    return dict(value) if isinstance(value, Mapping) else dataclasses.asdict(value)


def _settings(bound: Mapping[str, Bound], base: Settings | None = None) -> Settings:
    """`base` with what is bound, by full name, set on top."""
    _check_macros(bound)
    base = base or Settings()
    values: dict[str, dict[str, Any]] = {}  # of sections in which something is bound
    for name, found in bound.items():
        section, _, field = (
            "Run." + name.lower() if name in MACROS else name
        ).partition(".")
        if section in SECTIONS:  # the rest are macros of the user's own
            value = _resolved(found.value, bound)
            if section not in values:
                values[section] = _fields(base, section)
            values[section][field] = _at_home(SECTIONS[section][0], field, value)
    made = {}
    for section in filter(values.__contains__, SECTIONS):  # errors come in this order
        kind, held = SECTIONS[section]
        value = kind(**values[section])  # checks them
        made[held] = values[section] if held == "model" else value
    return dataclasses.replace(base, **made)


def _at_home(kind: type, field: str, value: Any) -> Any:
    """A path with ~ replaced by the user's home, as no shell does behind --gin.X=."""
    (found,) = (f for f in dataclasses.fields(kind) if f.name == field)
    if "path" in found.metadata and isinstance(value, str):
        return os.path.expanduser(value)
    return value


def _resolved(value: Any, bound: Mapping[str, Bound]) -> Any:
    """A value with its macros replaced by what they are bound to."""
    match value:
        case Macro(name):
            return _resolved(bound[name].value, bound)
        case list() | tuple():
            return type(value)(_resolved(item, bound) for item in value)
        case dict():
            return {k: _resolved(item, bound) for k, item in value.items()}
    return value


def _macros(value: Any) -> Iterator[str]:
    match value:
        case Macro(name):
            yield name
        case list() | tuple():
            for item in value:
                yield from _macros(item)
        case dict():
            yield from _macros(list(value.values()))


def _check_macros(bound: Mapping[str, Bound]) -> None:
    """Raises UserError if a macro is used but not bound, or bound without effect."""
    macros = {name: found for name, found in bound.items() if "." not in name}
    used = {}
    for found in bound.values():
        used |= dict.fromkeys(_macros(found.value), found.where)
    for macro, where in used.items():
        if macro not in macros:
            raise UserError(
                f"{where} uses %{macro}, which nothing binds; {suggest(macro, macros)}"
            )
        _check_no_circle(macro, macros)
    for macro, found in macros.items():
        if macro not in MACROS and macro not in used:
            raise UserError(
                f"{found.where} binds {macro}, which is no setting of a run and is not "
                f"used as %{macro}; {suggest_setting(macro)}"
            )


def _check_no_circle(macro: str, macros: Mapping[str, Bound]) -> None:
    seen, coming = set(), [macro]
    while coming:
        name = coming.pop()
        if name in seen:
            raise UserError(f"{macros[macro].where}: %{macro} is bound to itself")
        seen.add(name)
        coming += _macros(macros[name].value) if name in macros else ()


# Reading files and flags


def _read(
    file: str, search_paths: Sequence[str], read: set[Path], asked_by: str
) -> Iterator[tuple[str, Bound]]:
    """Yields each binding of `file` and of the files it includes.

    `read` holds the files read so far: a file that two others include is read once.
    """
    try:
        path = find_file(file, search_paths)
        text = files.text_of(files.regular(path, files.MOST_JSON).read_bytes())
    except UnicodeDecodeError as error:
        raise UserError(f"{asked_by}: {file} is not UTF-8 ({error.reason})") from None
    except (UserError, OSError) as error:
        raise UserError(f"{asked_by}: {error}") from None
    if path in read:
        return
    read.add(path)
    for statement, where in _statements(text, lambda line: f"{file}:{line}"):
        match statement:
            case config_parser.BindingStatement():
                yield from _named(statement, where)
            case config_parser.IncludeStatement(filename=included):
                yield from _read(included, search_paths, read, where)
            case config_parser.ImportStatement(module=module):
                _import(module, where)


def _import(module: str, where: str) -> None:
    """Imports a module that a gin file names, such as one that registers tasks."""
    if module.startswith("__gin__"):  # a switch of gin's, meaningless here
        return
    if module == "__main__":
        raise UserError(
            f"{where}: a file that imports __main__ is for T5X, `python -m t5x.train "
            "--gin_file=...`; with this tool use one of gin/runs"
        )
    try:
        importlib.import_module(module)
    except ImportError as error:
        problem = str(error).splitlines()[0]
        raise UserError(
            f"{where}: cannot import {module}: {problem}; install it or put its "
            "folder on PYTHONPATH"
        ) from None


def _from_flags(bindings: Sequence[str]) -> dict[str, Bound]:
    """What is bound, by full name; the last binding of a name counts."""
    return {name: found for text in bindings for name, found in _from_flag(text)}


@functools.lru_cache(maxsize=1024)  # the cells of a grid repeat the same few
def _from_flag(text: str) -> tuple[tuple[str, Bound], ...]:
    """The binding in `NAME=VALUE`; a VALUE that is not a literal is a string."""
    name, _, value = (part.strip() for part in text.partition("="))
    flag = f"--gin.{name}"
    if not value:
        raise UserError(f"{flag} has no value; write {flag}=VALUE, or '\"\"' for none")
    kinds, macro = _text_kinds(name), re.fullmatch(r"%[A-Za-z_][\w./]*", value)
    if value in ("true", "false", "none") and kinds != (str,):
        raise UserError(f"{flag}={value} is a string in Python; write {value.title()}")
    literal = _literal_type(value)
    bare = literal is None and (kinds or value[0] not in "%[({'\"")
    # 2024 is a text where a text is asked for.
    if not macro and (bare or (kinds and literal and literal not in kinds)):
        value = repr(value)
    found = _statements(f"{name} = {value}", lambda line: flag)
    return tuple(one for statement in found for one in _named(*statement))


def _text_kinds(name: str) -> tuple[type, ...]:
    """The types of a setting that takes text, which may look like anything; else ()."""
    section, _, field = name.rpartition(".")
    kind = SECTIONS.get(section.rpartition(".")[2] or "Run", (None,))[0]
    fields = {f.name: f.type for f in dataclasses.fields(kind)} if kind else {}
    found = fields.get(field.lower() if kind is Run else field)
    return {str: (str,), str | None: (str, type(None))}.get(found, ())


def _literal_type(text: str) -> type | None:
    """The type of a Python literal; None if it is no literal."""
    try:
        return type(ast.literal_eval(text))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


class _Values(config_parser.ParserDelegate):
    """What gin's parser makes of the parts of a value that are not literals."""

    def configurable_reference(
        self, scoped_configurable_name: str, evaluate: bool
    ) -> NoReturn:
        raise ValueError(
            f"@{scoped_configurable_name} is a function; settings are values: write a "
            "literal or %MACRO"
        )

    # gin has no types, so a checker infers that its own method returns None.
    def macro(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, scoped_macro_name: str
    ) -> Macro:
        return Macro(scoped_macro_name)


def _statements(text: str, place: Callable[[int], str]) -> Iterator[tuple[Any, str]]:
    """Yields each statement of gin `text` and the `place` of the line it starts on."""
    try:
        for statement in config_parser.ConfigParser(text, _Values()):
            yield statement, place(statement.location.line_num)
    except SyntaxError as error:
        raise UserError(
            f"{place(error.lineno or 1)}: cannot read {(error.text or '').strip()!r}; "
            "expected NAME = VALUE, where VALUE is a Python literal (a string in "
            "quotes) or %MACRO"
        ) from None
    except (RecursionError, MemoryError):
        raise UserError(f"{place(1)}: brackets in brackets, too many to read") from None
    except tokenize.TokenError as error:
        problem, (line, _) = error.args
        raise UserError(
            f"{place(line)}: {problem}; close the bracket or quote left open"
        ) from None
    except ValueError as error:  # raised by _Values; gin adds a line to it
        if isinstance(error, UserError):
            raise
        problem, location, *_ = [*str(error).splitlines(), ""]
        line = re.search(r"line (\d+)$", location)
        raise UserError(f"{place(int(line[1]) if line else 1)}: {problem}") from None


def _named(
    statement: config_parser.BindingStatement, where: str
) -> Iterator[tuple[str, Bound]]:
    """What a statement binds, by full name; nothing for `Run.seed = %SEED`."""
    name, value = _full_name(statement, where), statement.value
    if name == "TUNING":  # METHOD's earlier name; "model" was "whole"
        name, value = "METHOD", "whole" if value == "model" else value
        value = Macro(name) if value == Macro("TUNING") else value
    if not statement.arg_name or value != Macro(name):
        yield name, Bound(value, where)


def _full_name(statement: config_parser.BindingStatement, where: str) -> str:
    """The one name of what is bound: for `Run.train_steps`, too, `TRAIN_STEPS`."""
    scope, selector, parameter, *_ = statement
    if not parameter:
        return f"{scope}/{selector}" if scope else selector
    section = selector.rpartition(".")[2]
    if scope or section not in SECTIONS:
        near = of_t5x(parameter) or suggest(
            section, SECTIONS, others=settings_like(parameter)
        )
        whole = f"{scope}/{selector}" if scope else selector
        raise UserError(f"{where}: {whole!r} names no configurables; {near}")
    if section == "Run" and parameter == "tuning":
        return "TUNING"
    fields = dataclasses.fields(SECTIONS[section][0])
    if parameter not in {field.name for field in fields}:
        known = [called(section, field.name) for field in fields]
        near = suggest(parameter, known, field_of, settings_like(parameter))
        raise UserError(f"{where}: {section} has no parameter {parameter!r}; {near}")
    return called(section, parameter)
