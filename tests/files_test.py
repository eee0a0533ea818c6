"""What no reader should open is refused before it is read."""

import io
import json
import os

import pytest

from prompt_tuning import files
from prompt_tuning.errors import UserError


def test_a_pipe_a_device_and_a_pointer_are_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "lfs").write_bytes(files.GIT_LFS + b"v1\noid sha256:00\n")
    (tmp_path / "large").write_bytes(b"123")
    for path, words in (
        (tmp_path / "pipe", "pipe is a pipe or a device"),
        (files.Path("/dev/zero"), "zero is a pipe or a device"),
        (tmp_path / "lfs", r"lfs is a pointer of Git LFS.*git lfs pull"),
        (tmp_path / "large", "large has 3 bytes; .* 2 at most"),
    ):
        with pytest.raises(UserError, match=words):
            files.regular(path, 2 if path.name == "large" else None)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError):
            files.regular(path)
    assert files.regular(tmp_path / "large", 3) == tmp_path / "large"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "more than 100 deep"),
        ("[" * 102 + "]" * 102, "more than 100 deep"),
        ("9" * 5_000, "5,000 digits"),
        ("NaN", "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ("1e999", "1e999 is too large"),
        (r'{"a": "\ud83d"}', "half of a pair"),
        (r'{"\udc00": 1}', "half of a pair"),
        (b"\xff", "utf-8"),
        ("{", "property name"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "stands twice"),
        ("{}".encode("utf-16-le"), "zero byte"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_json_is_one_kind_of_error(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        files.parse_json(text)
    (tmp_path / "a.json").write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )
    with pytest.raises(UserError, match=rf"a\.json cannot be read .*{words}.*; mend"):
        files.read_json(tmp_path / "a.json", "mend it")


def test_json_is_what_pythons_is():
    value = {"a": [1, -2.5, True, None, "ä 😀"], "b": {"c": 10**50}}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert files.parse_json(text) == value
        assert files.parse_json(b"\xef\xbb\xbf" + text.encode()) == value
    assert files.parse_json("[" * 101 + "]" * 101)
    assert files.parse_json('{"a": 1, "a": 2}', list) == [("a", 1), ("a", 2)]


def test_a_stream_is_read_up_to_its_bound():
    assert files.read_stream(io.BytesIO(b"abc"), 3) == b"abc"
    with pytest.raises(UserError, match="more than 2 bytes"):
        files.read_stream(io.BytesIO(b"abc"), 2)


def test_what_has_zero_bytes_is_no_text():
    """As UTF-16 has, whose bytes may be valid UTF-8."""
    for data in ("one text".encode("utf-16-le"), b"a\0"):
        data.decode()
        with pytest.raises(UnicodeDecodeError, match="zero byte"):
            files.text_of(data)
    assert files.text_of("\ufeffä\u2028".encode()) == "ä\u2028"
    endless = io.BytesIO(b"a" * 2**20 + b"\0" * 2**21 + b"b")
    assert len(files.read_stream(endless)) == 2**21


def test_a_line_ends_where_it_does_in_files_alone():
    text = "a\u2028b\x85\x0b\r\nc\rd\n\ne"
    assert list(files.lines_of(text)) == ["a\u2028b\x85\x0b", "c", "d", "", "e"]
    assert list(files.lines_of("a\n")) == ["a"] and not list(files.lines_of(""))
