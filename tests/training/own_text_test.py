"""Texts of a file: which are trained on, which are held out."""

import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.training import own_text

BYTES = load_vocabulary("byt5")


def texts(rows):
    return [BYTES.decode(row.tolist()) for row in rows]


def test_a_file_is_told_by_its_ending():
    assert own_text.is_text("a/books.txt") and own_text.is_text("B.TXT")
    assert not own_text.is_text("pocket_text") and not own_text.is_text("a.csv")


def test_each_line_is_a_text_and_one_in_a_hundred_is_held_out(tmp_path):
    lines = [f"text number {number}" for number in range(250)]
    path = tmp_path / "books.txt"
    path.write_bytes("\ufeff".encode() + "\n\nx\n".join(lines).encode())
    training, held_out = own_text.documents(str(path), BYTES)
    assert len(held_out) == 2 and len(training) == 248
    assert sorted(texts(training) + texts(held_out)) == sorted(lines)
    again = own_text.documents(str(path), BYTES)[1]
    assert all(map(np.array_equal, held_out, again))
    assert all(row[-1] != BYTES.eos_id for row in training)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot be read"),
        (b"caf\xe9 au lait\nand tea", "cannot be read .*UTF-8"),
        ("one text\nand another".encode("utf-16-le"), "cannot be read .*zero byte"),
        (b"one text\n\n", "has 1 texts of two tokens or more; at least two"),
        (b"", "has 0 texts"),
    ],
)
def test_what_is_no_text_file_is_named(tmp_path, content, message):
    path = tmp_path / "books.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        own_text.documents(str(path), BYTES)
