"""Writing files: each appears whole or not at all, and only one host writes."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from prompt_tuning.errors import UserError


def is_writer() -> bool:
    """True on the one host that writes; the others' output is dropped."""
    return jax.process_index() == 0


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
    finally:
        Path(name).unlink(missing_ok=True)


def log(path: Path) -> Path:
    """Where this host appends lines to: `path`, or nowhere if another host writes."""
    return path if is_writer() else Path(os.devnull)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def check_output(output: str) -> None:
    """Raises UserError unless a file can be written at `output`."""
    path = Path(output)
    if path.is_dir():
        raise UserError(f"--output {output!r} is a folder; give the path of a file")
    if path.is_file() or not path.exists():
        make_folder(path.parent, "the folder of --output")


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
