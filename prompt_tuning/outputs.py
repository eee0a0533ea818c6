"""Writing files: each appears whole or not at all, and only one host writes."""

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

import jax

from prompt_tuning.errors import UserError
from prompt_tuning.sections import path_problem


def is_writer() -> bool:
    """True on the one host that writes; the others' output is dropped."""
    return jax.process_index() == 0


class _Unread:
    """A text stream whose reader may go away: what is written then is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def without_reader() -> Iterator[None]:
    """Work that goes on when nobody reads what it tells: `train | head -3`."""
    told: Any = _Unread(sys.stdout)
    errors: Any = _Unread(sys.stderr)
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
        yield
        told.flush()


def in_utf8(stream: TextIO) -> None:
    """What is written is data, in UTF-8 whatever the locale."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` if the block raises no error."""
    folder = path.parent if is_writer() else Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        if is_writer():
            os.chmod(name, 0o644)
            os.replace(name, path)
    except OSError as error:  # a full disk does not say which file
        error.filename2 = error.filename2 or str(path)
        raise
    finally:
        Path(name).unlink(missing_ok=True)


def log(path: Path) -> Path:
    """Where this host appends lines to: `path`, or nowhere if another host writes."""
    return path if is_writer() else Path(os.devnull)


def check_is_file(path: Path) -> None:
    """Raises UserError if a folder or a pipe is where a file of ours goes."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file; move it away, and start again")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def check_output(output: str) -> None:
    """Raises UserError unless a file can be written at `output`."""
    path = Path(output)
    if problem := path_problem(output):
        raise UserError(f"--output is {output!r}; it must be {problem}")
    if path.is_dir():
        raise UserError(f"--output {output!r} is a folder; give the path of a file")
    if path.is_file() or not path.exists():
        make_folder(path.parent, "the folder of --output")


def check_own_folder(folder: Path, names: Collection[str]) -> None:
    """Makes the folder of --output, which may hold nothing but files of these names.

    Raises:
      UserError: it holds another file, which whoever reads the folder would read too;
        or it cannot be written.
    """
    if problem := path_problem(str(folder)):
        raise UserError(f"--output is {str(folder)!r}; it must be {problem}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {str(folder)!r} is a file; give a folder's path")
    there = (path.name for path in make_folder(folder, "--output").iterdir())
    if others := sorted(n for n in there if n[0] != "." and n not in names):
        raise UserError(
            f"--output {str(folder)!r} holds {others[0]}, which would be read together "
            "with what is written: give a new or empty folder"
        )


def make_folder(folder: Path, name: str) -> Path:
    """Makes a folder, or raises UserError that it (its `name`) cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / ".writable"):
            pass
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{name} {str(folder)!r} cannot be written ({error.strerror}); give a "
            "folder that you may write to"
        ) from None
    return folder


def warn(text: str) -> None:
    """Tells on stderr what was not as it should be, where the work goes on."""
    if is_writer():
        print(f"warning: {text}", file=sys.stderr, flush=True)
