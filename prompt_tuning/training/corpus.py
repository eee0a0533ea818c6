"""Plain text at scale: files, tokenised once into memory-mapped arrays of ids.

    tokens = corpus.tokenised(["books/*.txt.xz"], Path("runs/tokens"), vocabulary)
    tokens.training[:20]  # ids of the first document's first words

A file has a paragraph a line, and empty lines between documents. The folder holds the
ids of all documents to train on, one behind the other as in T5's packing, those of the
documents held out, and a description of what they were made of, which is checked
whenever they are opened.
"""

import contextlib
import fcntl
import glob
import hashlib
import itertools
import json
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from prompt_tuning import files, outputs
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.sections import path_problem
from prompt_tuning.training.own_text import HELD_OUT

SUFFIXES = (".txt", ".txt.xz")
DESCRIPTION, JOURNAL = "tokens.json", "unfinished.jsonl"
PARTS = ("training", "held_out")
CHUNK = 2**20  # characters that are tokenised between two entries of the journal
_COUNTED: tuple[str, ...] = ("documents", "characters", "words", *PARTS)


class Tokens(NamedTuple):
    """A tokenised corpus.

    training, held_out: the ids [number of tokens] of the documents of each.
    said: what the folder says of itself.
    """

    training: np.ndarray
    held_out: np.ndarray
    said: Mapping[str, Any]


def tokenised(names: Sequence[str], folder: Path, vocabulary: Vocabulary) -> Tokens:
    """Opens the tokens of a corpus; makes them first, or goes on where that ended.

    One process makes them, and others, of other hosts too, wait for it.

    Args:
      names: files, folders or globs.
      folder: where the tokens are, or shall be.

    Raises:
      UserError: there are no files, or they cannot be read; the folder holds the tokens
        of something else, or is damaged.
    """
    paths = find(names)
    made_of = {
        "vocabulary_fingerprint": vocabulary.fingerprint(),
        "type": "uint16" if vocabulary.vocab_size <= 2**16 else "uint32",
        "files": [_identity(path) for path in paths],
    }
    while True:
        with _locked(folder):
            if (folder / DESCRIPTION).exists():
                return _opened(folder, made_of)
            if outputs.is_writer():
                _make(paths, folder, vocabulary, made_of)
        if not outputs.is_writer():
            time.sleep(1)


def find(names: Sequence[str]) -> list[Path]:
    """The files of a corpus, in the order of the names, those of a folder sorted.

    Raises:
      UserError: a name stands for no file of text.
    """
    found: list[Path] = []
    for name in names:
        if problem := path_problem(name):
            raise UserError(f"pretrain.corpus has {name!r}; it must be {problem}")
        if Path(name).is_dir():
            name = str(Path(glob.escape(name), "*"))
        there = [Path(path) for path in sorted(glob.glob(name))]
        there = [path for path in there if path.name.lower().endswith(SUFFIXES)]
        if not there:
            raise UserError(
                f"pretrain.corpus has {name!r}, where no file ends in "
                f"{' or '.join(SUFFIXES)}; give a file, a folder or a glob of them"
            )
        found += there
    return list(dict.fromkeys(found))


def _identity(path: Path) -> dict[str, Any]:
    with _told(path):
        digest = _digest(files.regular(path))
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong in reading a file of the corpus is said in one sentence."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path} cannot be read ({reason}); give whole files of plain UTF-8 text, "
            ".xz or not"
        ) from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Waits for whoever is at work in the folder; a killed process leaves no lock."""
    outputs.make_folder(folder, "pretrain.tokens")
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Making them


def _make(
    paths: Sequence[Path],
    folder: Path,
    vocabulary: Vocabulary,
    made_of: Mapping[str, Any],
) -> None:
    """Tokenises what the journal does not have yet, and describes the whole."""
    start = time.monotonic()
    done = _journal(folder, made_of)
    total = done[-1] if done else dict.fromkeys(_COUNTED, 0)
    chunks = itertools.islice(_chunks(paragraphs(paths)), len(done), None)
    _append(chunks, folder, vocabulary, np.dtype(made_of["type"]), total)
    if not all(total[part] for part in PARTS):
        (folder / JOURNAL).unlink()
        raise UserError(
            f"the corpus has {total['documents']} documents; at least two are needed, "
            "with an empty line between them, one of them to measure the loss on"
        )
    digests = {part: _digest(path) for part, path in _paths(folder).items()}
    said = dict(made_of) | total | {"sha256": digests}
    outputs.write_json(folder / DESCRIPTION, said)
    (folder / JOURNAL).unlink()
    print(f"tokenised     in {time.monotonic() - start:.0f} s: {folder}", flush=True)


def _append(
    chunks: Iterable[Sequence[tuple[int, str]]],
    folder: Path,
    vocabulary: Vocabulary,
    kind: np.dtype,
    total: dict[str, int],
) -> None:
    """Each chunk is whole on the disk before the journal has its counts.

    Args:
      total: the counts so far, which are counted on.
    """
    with contextlib.ExitStack() as stack:
        out = {
            part: stack.enter_context(_continued(path, total[part] * kind.itemsize))
            for part, path in _paths(folder).items()
        }
        journal = stack.enter_context((folder / JOURNAL).open("a", encoding="utf-8"))
        for chunk in chunks:
            for part, ids in _encoded(chunk, vocabulary).items():
                _write(out[part], np.array(ids, kind.newbyteorder("<")).tobytes())
                total[part] += len(ids)
            total["documents"] = chunk[-1][0] + 1
            total["characters"] += sum(len(text) for _, text in chunk)
            total["words"] += sum(len(text.split()) for _, text in chunk)
            journal.write(json.dumps(total) + "\n")
            journal.flush()


def _paths(folder: Path) -> dict[str, Path]:
    return {part: folder / f"{part}.bin" for part in PARTS}


def paragraphs(paths: Sequence[Path]) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not empty, each with the number of its document."""
    document, inside = -1, False
    for path in paths:
        print(f"reading       {path}", flush=True)
        inside = False
        with _told(path), _text(path) as file:
            for line in file:
                text = files.text_of(line).strip()
                if text:
                    document += not inside
                    yield document, text
                inside = bool(text)


def _text(path: Path) -> Any:
    return lzma.open(path) if path.suffix.lower() == ".xz" else path.open("rb")


def _chunks(
    numbered: Iterable[tuple[int, str]],
) -> Iterator[list[tuple[int, str]]]:
    chunk, size = [], 0
    for document, text in numbered:
        chunk.append((document, text))
        size += len(text)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _encoded(
    chunk: Sequence[tuple[int, str]], vocabulary: Vocabulary
) -> dict[str, list[int]]:
    """The ids of a chunk; of every HELD_OUT documents the first is held out."""
    ids: dict[str, list[int]] = {part: [] for part in PARTS}
    for document, text in chunk:
        part = "training" if document % HELD_OUT else "held_out"
        ids[part] += vocabulary.encode(text)
    return ids


def _journal(folder: Path, made_of: Mapping[str, Any]) -> list[dict[str, int]]:
    """The counts after each chunk that a killed process has tokenised."""
    path = folder / JOURNAL
    if not path.exists():
        with outputs.atomic(path) as temporary:
            temporary.write_text(json.dumps(made_of) + "\n", encoding="utf-8")
        return []
    *whole, half = path.read_bytes().split(b"\n")
    try:
        said, *done = [files.parse_json(line) for line in whole]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove {folder}") from None
    _check(folder, said, made_of)
    if half:  # which a kill left
        path.write_bytes(b"".join(line + b"\n" for line in whole))
    return done


def _continued(path: Path, size: int) -> BinaryIO:
    """A file to append to, cut to the bytes that the journal has."""
    if path.exists() or size:
        os.truncate(path, size)
    return path.open("ab")


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


# Opening them


def _opened(folder: Path, made_of: Mapping[str, Any]) -> Tokens:
    said = files.read_json(folder / DESCRIPTION, f"remove {folder}, or copy it again")
    _check(folder, said, made_of)
    kind = np.dtype(made_of["type"]).newbyteorder("<")
    for part, path in _paths(folder).items():
        if not path.is_file() or _digest(path) != said["sha256"][part]:
            raise UserError(
                f"{path} is not the file that {DESCRIPTION} beside it describes; "
                f"remove {folder}, and the tokens are made again"
            )
    arrays = {
        part: np.memmap(path, kind, mode="r") for part, path in _paths(folder).items()
    }
    return Tokens(**arrays, said=said)


def _check(folder: Path, said: Any, made_of: Mapping[str, Any]) -> None:
    """Raises UserError if the folder is of another corpus or another vocabulary."""
    if not isinstance(said, dict) or not said.keys() >= made_of.keys():
        raise UserError(f"{folder} does not say what it holds; give another")
    names = {"vocabulary_fingerprint": "vocabulary", "type": "type", "files": "files"}
    other = [names[key] for key in made_of if said[key] != made_of[key]]
    if other:
        raise UserError(
            f"{folder} holds tokens of another {' and other '.join(other)}; give "
            "pretrain.tokens another folder, or what these were made of"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
