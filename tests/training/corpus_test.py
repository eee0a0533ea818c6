"""A corpus on disk: what its tokens are, going on after a kill, what is refused."""

import dataclasses
import json
import lzma

import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.training import corpus

BYTES = load_vocabulary("byt5")


@pytest.fixture
def books(tmp_path):
    """Two files of 150 documents each, of two paragraphs."""
    folder = tmp_path / "books"
    folder.mkdir()
    for name, first in (("a.txt", 0), ("b.txt.xz", 150)):
        texts = [f"book {n}\ncafé {n * n}" for n in range(first, first + 150)]
        data = "\n\n\n".join(texts).encode() + b"\n"
        (folder / name).write_bytes(lzma.compress(data) if name[0] == "b" else data)
    (folder / "notes.md").write_text("not text to train on")
    return folder


def tokenised(books, tmp_path, vocabulary=BYTES):
    return corpus.tokenised([str(books)], tmp_path / "tokens", vocabulary)


def text(tokens):
    return bytes(int(one) - 3 for one in tokens).decode()


def test_all_documents_are_there_and_one_in_a_hundred_is_held_out(books, tmp_path):
    found = tokenised(books, tmp_path)
    held_out = {0, 100, 200}
    for tokens, chosen in (
        (found.held_out, held_out),
        (found.training, set(range(300)) - held_out),
    ):
        assert text(tokens) == "".join(f"book {n}café {n * n}" for n in sorted(chosen))
        assert tokens.dtype == np.uint16 and isinstance(tokens, np.memmap)
    said = found.said
    assert (said["documents"], said["words"]) == (300, 1200)
    assert said["training"] == len(found.training)
    assert [file["name"] for file in said["files"]] == ["a.txt", "b.txt.xz"]
    assert "café" not in json.dumps(said, ensure_ascii=False), "no text of the corpus"


def test_what_is_made_is_believed_and_not_made_again(books, tmp_path, monkeypatch):
    first = tokenised(books, tmp_path)
    monkeypatch.setattr(corpus, "_make", None)
    again = tokenised(books, tmp_path)
    np.testing.assert_array_equal(again.training, first.training)
    assert again.said == first.said


@pytest.mark.parametrize("killed_at", [0, 1, 7, 30])
def test_it_goes_on_after_a_kill(books, tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(corpus, "CHUNK", 100)
    whole = corpus.tokenised([str(books)], tmp_path / "whole", BYTES)
    real, made = corpus._encoded, []

    def killed(chunk, vocabulary):
        made.append(chunk)
        if len(made) == killed_at + 1:
            raise KeyboardInterrupt
        return real(chunk, vocabulary)

    monkeypatch.setattr(corpus, "_encoded", killed)
    with pytest.raises(KeyboardInterrupt):
        tokenised(books, tmp_path)
    folder = tmp_path / "tokens"
    for name in ("training.bin", corpus.JOURNAL):  # amid a write, too
        with (folder / name).open("ab") as file:
            file.write(b"{1")
    resumed = tokenised(books, tmp_path)
    for name in ("training.bin", "held_out.bin", corpus.DESCRIPTION):
        same = tmp_path / "whole" / name
        assert (folder / name).read_bytes() == same.read_bytes()
    assert resumed.said == whole.said and not (folder / corpus.JOURNAL).exists()
    chunks = len(made) - 1
    assert made[killed_at] == made[killed_at + 1], "what was done is not done again"
    assert sum(map(len, made[:killed_at] + made[killed_at + 1 :])) == 600, chunks


def test_a_larger_vocabulary_has_wider_ids(books, tmp_path):
    larger = dataclasses.replace(BYTES, vocab_size=70_000)
    assert tokenised(books, tmp_path, larger).training.dtype == np.uint32


def test_files_folders_and_globs_are_found_once(books):
    a, b = books / "a.txt", books / "b.txt.xz"
    assert corpus.find([str(books)]) == [a, b]
    assert corpus.find([str(b), f"{books}/*.txt*"]) == [b, a]
    for name in ("", str(books / "notes.md"), f"{books}/*.csv", "a\0b"):
        with pytest.raises(UserError, match=r"pretrain\.corpus has"):
            corpus.find([name])


def other_text(books, tokens):
    (books / "a.txt").write_text("another\n\nbook")


def another_file(books, tokens):
    (books / "c.txt").write_text("one more")


def damaged_ids(books, tokens):
    with (tokens / "training.bin").open("r+b") as file:
        file.write(b"xx")


def lost_ids(books, tokens):
    (tokens / "held_out.bin").unlink()


def foreign_description(books, tokens):
    (tokens / corpus.DESCRIPTION).write_text("[1]")


def no_json(books, tokens):
    (tokens / corpus.DESCRIPTION).write_text("{")


@pytest.mark.parametrize(
    "change, message",
    [
        (other_text, "holds tokens of another files; give"),
        (another_file, "holds tokens of another files; give"),
        (damaged_ids, "training.bin is not the file that tokens.json"),
        (lost_ids, "held_out.bin is not the file"),
        (foreign_description, "does not say what it holds"),
        (no_json, "tokens.json cannot be read"),
    ],
)
def test_what_contradicts_the_description_is_refused(books, tmp_path, change, message):
    tokenised(books, tmp_path)
    change(books, tmp_path / "tokens")
    with pytest.raises(UserError, match=message):
        tokenised(books, tmp_path)


def test_tokens_of_another_vocabulary_are_refused(books, tmp_path):
    tokenised(books, tmp_path)
    pocket = load_vocabulary("prompt_tuning/pocket/spiece.model")
    with pytest.raises(UserError, match="of another vocabulary; give"):
        tokenised(books, tmp_path, pocket)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"caf\xe9\n\nand tea", "a.txt cannot be read .*UTF-8"),
        ("a.txt", "one\n\ntwo".encode("utf-16-le"), "zero byte"),
        ("a.txt.xz", b"no archive", "a.txt.xz cannot be read .*xz"),
        ("a.txt.xz", lzma.compress(b"one\n\ntwo" * 9)[:-9], "cannot be read"),
        ("a.txt", b"one document\nof two lines", "has 1 documents; at least two"),
        ("a.txt", b"", "has 0 documents"),
    ],
)
def test_what_is_no_corpus_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    for _ in range(2):  # nothing of a failure is taken for the tokens
        with pytest.raises(UserError, match=message):
            corpus.tokenised([str(tmp_path / name)], tmp_path / "tokens", BYTES)
