"""Files appear whole or not at all, and of many hosts one writes them."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax


def is_writer() -> bool:
    """True on the one host that writes; what others would write is dropped."""
    return jax.process_index() == 0


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write; it becomes `path` when the block ends without an error."""
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
    """The file that this host appends lines of `path` to."""
    return path if is_writer() else Path(os.devnull)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
