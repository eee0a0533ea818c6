"""Gin: where the files are, and how files and command line become one configuration.

Code holds the defaults; a gin file holds what differs. A file is named by its path from
the repository root (`gin/runs/prompt_tune.gin`), in a checkout and when installed.
"""

import ast
import difflib
import importlib
import inspect
import tokenize
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config_parser

from prompt_tuning.errors import UserError
from prompt_tuning.outputs import atomic

# Installed, gin/ lies inside the package; in a checkout it lies beside it.
_HERE = Path(__file__).resolve().parent
GIN_ROOT = _HERE if (_HERE / "gin").is_dir() else _HERE.parent

# A field of Run has a macro of its name in capitals: TRAIN_STEPS for Run.train_steps.
# That gives the macros that a T5X user types their T5X names.
_RUN = "prompt_tuning.run.Run"


def parse(
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (),
) -> None:
    """Makes `gin_files`, then `bindings`, the whole of gin's configuration, locked.

    Args:
      gin_files: names of gin files, see `find_file`; no two may bind the same name.
      bindings: `NAME=VALUE` as typed after `--gin.`, which override the files and one
        another. VALUE is a literal, @name or %MACRO as in gin; else it is a string.
      search_paths: folders to look for gin files in.

    Raises:
      UserError: a file, name or value is at fault; says where.
    """
    for module in ("tuning", "pretrain"):  # what they import registers every name
        importlib.import_module(f"prompt_tuning.training.{module}")
    gin.clear_config()
    bound: dict[str, tuple[Any, str]] = {}
    read: set[Path] = set()
    for file in gin_files:
        for name, value, where in _named(_read(file, search_paths, read, "--gin_file")):
            if name in bound:
                raise UserError(
                    f"{where} binds {name}, which {bound[name][1]} binds too; a run's "
                    f"files bind a name once: keep one, or override with --gin.{name}"
                )
            bound[name] = value, where
    bound |= _from_flags(bindings)
    _check_macros(bound)
    _bind(bound)
    gin.finalize()


def rebind(bindings: Sequence[str]) -> None:
    """Binds some more `NAME=VALUE` on top of what `parse` made gin's configuration."""
    with gin.unlock_config():
        _bind(_from_flags(bindings))


def _bind(bound: dict[str, tuple[Any, str]]) -> None:
    for name, (value, _) in bound.items():
        gin.bind_parameter(name if "." in name else f"%{name}", value)
    for macro in settings() & bound.keys():
        field = f"{_RUN}.{macro.lower()}"
        gin.bind_parameter(field, gin.config.parse_value(f"%{macro}"))


def _from_flags(bindings: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """{full name: (value, place)}; of two that bind the same the last counts."""
    return {
        name: (value, where)
        for text in bindings
        for name, value, where in _named(_from_flag(text))
    }


def settings() -> set[str]:
    """The macros that set a field of the run."""
    fields = inspect.signature(gin.get_configurable(_RUN)).parameters
    return {name.upper() for name in fields}


def find_file(name: str, search_paths: Sequence[str] = ()) -> Path:
    """Absolute path of the gin file `name`: as given, then below a folder.

    The folders are the working directory, `search_paths` and GIN_ROOT, in that order.

    Raises:
      UserError: there is no such file; names those like it.
    """
    folders = [Path.cwd(), *map(Path, search_paths), GIN_ROOT]
    for folder in folders:
        path = (folder / name).resolve()
        if path.is_file():
            return path
    beside = [path for folder in folders for path in folder.glob("*.gin")]
    below = [path.relative_to(GIN_ROOT) for path in GIN_ROOT.glob("gin/**/*.gin")]
    below = [path for path in below if path.parts[1] != "t5x"]  # T5X's own
    known = {path.as_posix() for path in beside + below}
    raise UserError(
        f"no gin file {name!r} in the working directory, in --gin_search_paths or "
        "among this package's own; " + _suggest(name, known, lambda n: Path(n).stem)
    )


def write_operative_config(path: str | Path) -> None:
    """Writes what configurables were called with so far; a file `parse` can read.

    A reader never sees half a file: it appears under its name only when complete.
    """
    with atomic(Path(path)) as temporary:
        temporary.write_text(gin.operative_config_str(), encoding="utf-8")


def _read(
    file: str, search_paths: Sequence[str], read: set[Path], asked_by: str
) -> Iterator[tuple[config_parser.BindingStatement, str]]:
    """Yields each binding of `file` and of what it includes, and where it stands.

    `read` holds the files read so far: one that two others include counts once.
    """
    try:
        path = find_file(file, search_paths)
        text = path.read_text(encoding="utf-8")
    except (UserError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{asked_by}: {error}") from None
    if path in read:
        return
    read.add(path)
    for statement, where in _statements(text, lambda line: f"{file}:{line}"):
        match statement:
            case config_parser.BindingStatement():
                yield statement, where
            case config_parser.IncludeStatement(filename=included):
                yield from _read(included, search_paths, read, where)
            case config_parser.ImportStatement():
                _import(statement, where)


def _import(statement: config_parser.ImportStatement, where: str) -> None:
    """Has gin import a module, so that the operative config imports it too."""
    if statement.module == "__main__":
        raise UserError(
            f"{where}: a file that imports __main__ is for T5X, `python -m t5x.train "
            "--gin_file=...`; give this tool one of gin/runs"
        )
    try:
        gin.parse_config(statement.format())
    except ImportError as error:
        problem = str(error).splitlines()[0]
        raise UserError(
            f"{where}: cannot {statement.format()}: {problem}; install it or put its "
            "folder on PYTHONPATH"
        ) from None


def _from_flag(text: str) -> Iterator[tuple[config_parser.BindingStatement, str]]:
    """Yields the binding in `NAME=VALUE`; a VALUE that is no literal is a string."""
    name, _, value = (part.strip() for part in text.partition("="))
    flag = f"--gin.{name}"
    if not value:
        raise UserError(f"{flag} has no value; write {flag}=VALUE, or '\"\"' for none")
    if value in ("true", "false", "none"):
        raise UserError(f"{flag}={value} is a string in Python; write {value.title()}")
    if value[0] not in "@%[({'\"" and not _is_literal(value):
        value = repr(value)
    yield from _statements(f"{name} = {value}", lambda line: flag)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _statements(text: str, place: Callable[[int], str]) -> Iterator[tuple[Any, str]]:
    """Yields each statement of gin `text` and the `place` of the line it starts on."""
    try:
        for statement in config_parser.ConfigParser(text, gin.config.ParserDelegate()):
            yield statement, place(statement.location.line_num)
    except SyntaxError as error:
        raise UserError(
            f"{place(error.lineno)}: cannot read {(error.text or '').strip()!r}; "
            "expected NAME = VALUE, where VALUE is a Python literal (a string in "
            "quotes), @name or %MACRO"
        ) from None
    except tokenize.TokenError as error:
        problem, (line, _) = error.args
        raise UserError(
            f"{place(line)}: {problem}; close the bracket or quote left open"
        ) from None
    except (KeyError, ValueError) as error:  # an @reference to nothing or to several
        problem, location, *_ = str(error).splitlines()
        raise UserError(
            f"{place(int(location.split()[-1]))}: {problem} "
            + _suggest(problem.split("'")[1].strip("@()"), _configurables())
        ) from None


def _named(
    bindings: Iterable[tuple[config_parser.BindingStatement, str]],
) -> Iterator[tuple[str, Any, str]]:
    """Yields full name, value and place of each binding that says something."""
    for statement, where in bindings:
        name = _full_name(statement, where)
        if repr(statement.value) != f"%{name}":  # not `Run.seed = %SEED`
            yield name, statement.value, where


def _full_name(statement: config_parser.BindingStatement, where: str) -> str:
    """The one name of what is bound: `TRAIN_STEPS` for `Run.train_steps` too."""
    scope, selector, parameter, *_ = statement
    if not parameter:
        return f"{scope}/{selector}" if scope else selector
    matches = gin.config._REGISTRY.matching_selectors(selector)
    if len(matches) != 1:
        raise UserError(
            f"{where}: {selector!r} names {len(matches) or 'no'} configurables; "
            + _suggest(selector, matches or _configurables())
        )
    known = inspect.signature(gin.get_configurable(matches[0])).parameters
    if parameter not in known:
        raise UserError(
            f"{where}: {selector} has no parameter {parameter!r}; "
            + _suggest(parameter, known)
        )
    if matches == [_RUN] and not scope:
        return parameter.upper()
    return f"{scope}/{matches[0]}.{parameter}" if scope else f"{matches[0]}.{parameter}"


def _configurables() -> list[str]:
    """Names of what gin can configure, gin's own aside."""
    names = (name for name, _ in gin.config._REGISTRY.items())
    return [name.rsplit(".", 1)[-1] for name in names if not name.startswith("gin.")]


def _check_macros(bound: dict[str, tuple[Any, str]]) -> None:
    """Raises unless each macro used is bound and each macro bound sets something."""
    macros = {name: where for name, (_, where) in bound.items() if "." not in name}
    is_macro = gin.get_configurable(gin.config.macro)
    used = {
        "/".join(reference.scopes): where
        for value, where in bound.values()
        for reference in gin.config.iterate_references([value], to=is_macro)
    }
    for macro, where in used.items():
        if macro not in macros:
            raise UserError(
                f"{where} uses %{macro}, which nothing binds; {_suggest(macro, macros)}"
            )
    for macro, where in macros.items():
        if macro not in settings() and macro not in used:
            raise UserError(
                f"{where} binds {macro}, which is no setting of a run and used by no "
                f"%{macro}; {_suggest(macro, settings())}"
            )


def _suggest(
    name: str, known: Collection[str], key: Callable[[str], str] = str.lower
) -> str:
    """Which of `known` may be meant by `name`, as the end of a message."""
    close = difflib.get_close_matches(key(name), {key(other) for other in known})
    near = [other for best in close for other in sorted(known) if key(other) == best]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(sorted(known)) or 'none'}"
