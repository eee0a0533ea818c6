"""Prompts' files: which may be loaded on request, and which have changed since."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from prompt_tuning.errors import UserError, plain
from prompt_tuning.serving.refusals import Refusal

MOST_FILES = 10_000  # in a folder that is to be loaded
_PROMPT_SUFFIXES = {".npy", ".safetensors"}
_DESCRIPTIONS = {"prompt.json", "description.json", "adapter_config.json"}

# Of each file: its name, when it was written, its size, and which file it is.
Signature = frozenset[tuple[str, int, int, int]]


def below(folder: Path, name: str) -> Path:
    """The path that a request names, if it and all in it lie below a folder.

    Args:
      folder: given at the start.
      name: relative to it, or absolute. Symbolic links count as what they lead to.

    Raises:
      Refusal: they do not, or nothing is there. It does not say what lies elsewhere.
    """
    root = folder.resolve()
    refusal = Refusal(
        403,
        f"{name[:200]!r} is no prompt below the folder that this server may load from",
        "prompt_adapter_path",
    )
    if "\0" in name:
        raise refusal
    try:
        path = (root / name).resolve(strict=True)
        inside = path != root and path.is_relative_to(root)
        if not inside or not all(one.is_relative_to(root) for one in _all_in(path)):
            raise refusal
    except (OSError, RuntimeError):  # nothing there, or links in a circle
        raise refusal from None
    return path


def _all_in(path: Path) -> list[Path]:
    """What the links in a folder lead to, at any depth."""
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        found += [Path(folder, name) for name in (*folders, *names)]
        if len(found) > MOST_FILES:
            raise OSError("too many files")
    return [one.resolve() for one in found if one.is_symlink()]


def signature(path: Path) -> Signature:
    """What changes when a prompt is written anew; empty if nothing is there."""
    found = set()
    with contextlib.suppress(OSError):
        for one in path.iterdir() if path.is_dir() else [path]:
            is_prompt = one.suffix in _PROMPT_SUFFIXES or one.name in _DESCRIPTIONS
            if is_prompt or one == path:
                about = one.stat()
                found.add((one.name, about.st_mtime_ns, about.st_size, about.st_ino))
    return frozenset(found)


class Watched:
    """Reloads prompts whose files change.

    A change is acted on once it has stood for one look more: a prompt and what it says
    of itself are two files. A file that is gone, or cannot be loaded, changes nothing:
    the prompt that was loaded goes on answering.

    Args:
      reload: (name, path), in a thread; it may raise UserError.
      told: called with "loaded", "failed" or "gone".
    """

    def __init__(
        self, reload: Callable[[str, Path], None], told: Callable[[str], None]
    ) -> None:
        self._reload, self._told = reload, told
        self._loaded: dict[str, tuple[Path, Signature]] = {}
        self._seen: dict[str, Signature] = {}
        self.lock = asyncio.Lock()  # held while a prompt is loaded or unloaded

    def add(self, name: str, path: Path, loaded: Signature) -> None:
        """Watches a prompt's path. loaded: its signature just before it was read."""
        self._loaded[name] = path, loaded
        self._seen[name] = loaded

    def remove(self, name: str) -> None:
        """Watches it no longer."""
        self._loaded.pop(name, None)
        self._seen.pop(name, None)

    async def look(self) -> None:
        """Looks at each of them once."""
        for name, (path, loaded) in list(self._loaded.items()):
            now = await asyncio.to_thread(signature, path)
            async with self.lock:
                if self._loaded.get(name) != (path, loaded):  # unloaded meanwhile
                    continue
                stood, self._seen[name] = self._seen[name] == now, now
                if now != loaded and stood:
                    self._loaded[name] = path, now
                    await self._changed(name, path, now)

    async def _changed(self, name: str, path: Path, now: Signature) -> None:
        if not now:
            self._say(name, "gone", f"{path} is gone; the prompt loaded from it stays")
            return
        try:
            await asyncio.to_thread(self._reload, name, path)
        except (UserError, OSError, ValueError) as error:
            self._say(name, "failed", f"{error}; the prompt loaded before stays")
        else:
            self._say(name, "loaded", f"{path} has changed and is loaded anew")

    def _say(self, name: str, result: str, text: str) -> None:
        self._told(result)
        print(f"prompt {name}: {plain(text)}", file=sys.stderr, flush=True)

    async def watch(self, seconds: float) -> None:
        """Looks every so many seconds, without end."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()
