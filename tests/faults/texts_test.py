"""What csv and json write is read back; no bytes make a traceback."""

import contextlib
import csv
import gzip
import json
import tempfile
from pathlib import Path

import pytest
from faults import inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_tuning import exchange
from prompt_tuning import files as checked
from prompt_tuning.errors import UserError
from prompt_tuning.tasks import DataError, files
from prompt_tuning.training import own_data, own_text

MANY = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Characters that a line may be thought to end at, or that a format gives a meaning.
ODD = st.sampled_from("\n\r\t\u2028\x85\x0b\x1c,\"'{}[]\\%@~é\U0001f600\ufeff \xa0")
TEXT = st.text(ODD | st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TARGET = TEXT.filter(str.strip)
LINE = TEXT.map(lambda text: " ".join(text.split("\n")).replace("\r", " "))
PAIRS = st.lists(st.tuples(TEXT, TARGET), min_size=2, max_size=5)


@pytest.fixture
def folder(tmp_path):
    """A function that makes a new folder for each of hypothesis's examples."""
    return lambda: Path(tempfile.mkdtemp(dir=tmp_path))


def rows(path):
    """The texts of all rows, before any are held out."""
    templates = [[("", "inputs")], [("", "targets")]]
    found = own_data._rows(path, templates)
    return [(row.inputs, row.targets) for row in found]


@MANY
@given(PAIRS, st.sampled_from(("csv", "tsv")), st.sampled_from(("\n", "\r\n")))
def test_a_table_of_any_texts_is_read_back(folder, pairs, kind, end):
    path = folder() / f"d.{kind}"
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = own_data.DELIMITERS[path.suffix]
        # Not all of Python's versions put quotes around a carriage return.
        how = {"lineterminator": end, "quoting": csv.QUOTE_ALL}
        writer = csv.writer(file, delimiter=delimiter, **how)
        writer.writerows([("inputs", "targets"), *pairs])
    assert rows(path) == pairs


@MANY
@given(PAIRS, st.booleans())
def test_json_lines_of_any_texts_are_read_back(folder, pairs, ascii_alone):
    path = folder() / "d.jsonl"
    records = [dict(zip(("inputs", "targets"), pair, strict=True)) for pair in pairs]
    lines = [json.dumps(record, ensure_ascii=ascii_alone) for record in records]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8", newline="")
    assert rows(path) == pairs
    assert inputs.answered(path) == records
    found = [record for _, parse in files.jsonl(path) for record in parse()]
    assert found == records


@MANY
@given(st.lists(LINE.filter(lambda line: line.lstrip("\ufeff \t")[:1] not in "{[")))
def test_plain_lines_are_read_back(folder, lines):
    path = folder() / "in"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(f"{x}\n" for x in lines).encode())
    assert [record["inputs"] for record in inputs.answered(path)] == lines
    texts = [line.encode() for line in lines if len(line.encode()) > 1]
    if len(texts) < 2:
        return
    path = path.rename(path.with_suffix(".txt"))
    parts = own_text.documents(str(path), inputs.BYTES)
    found = [bytes((row - 3).tolist()) for part in parts for row in part]
    assert sorted(found) == sorted(texts)


@MANY
@given(st.lists(st.tuples(LINE, LINE), min_size=1))
def test_cells_of_an_official_table_are_read_back(folder, pairs):
    pairs = [tuple(cell.replace("\t", " ") for cell in pair) for pair in pairs]
    pairs = [pair for pair in pairs if pair[1]]  # a label is not empty
    path = folder() / "d.tsv"
    lines = ["s\tl", *("\t".join(pair) for pair in pairs)]
    path.write_bytes("\n".join(lines).encode())
    found = [row for _, parse in files.tsv(path, inputs.COLUMNS) for row in parse()]
    expected = [dict(zip(("sentence", "label"), pair, strict=True)) for pair in pairs]
    assert found == expected


FORMATS = b'{}[]",:\n\r\t\\0' + b"\xff\0\xed"
BYTES = st.binary(max_size=200) | st.lists(
    st.sampled_from([bytes([byte]) for byte in FORMATS])
    | st.sampled_from([b'"inputs"', b"inputs,targets\n", b"NaN", b"1e999", b"\\ud800"]),
    max_size=40,
).map(b"".join)


def all_of(pieces):
    for _, parse in pieces:
        with contextlib.suppress(DataError):
            parse()


READERS = {
    "d.csv": lambda path: own_data.open_own(str(path), None, None, inputs.BYTES, 0),
    "d.jsonl": lambda path: own_data.open_own(str(path), None, None, inputs.BYTES, 0),
    "in.jsonl": inputs.answered,
    "in": inputs.answered,
    "d.txt": lambda path: own_text.documents(str(path), inputs.BYTES),
    "p.json": lambda path: exchange.read_description(path.with_suffix(".npy")),
    "config.json": lambda path: checked.read_json(path, "copy it again"),
    "train.jsonl": lambda path: all_of(files.jsonl(path)),
    "train.tsv": lambda path: all_of(files.tsv(path, inputs.COLUMNS)),
    "dev.jsonl.gz": lambda path: all_of(files.mrqa(path)),
    "squad.json": lambda path: all_of(files.squad(path)),
    "dpr.txt": lambda path: all_of(files.pronouns(path)),
}


@pytest.mark.parametrize("name", READERS)
@MANY
@given(data=BYTES, packed=st.booleans())
def test_any_bytes_are_read_or_refused_and_named(folder, name, data, packed):
    path = folder() / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") and packed else data)
    try:
        READERS[name](path)
    except (UserError, DataError) as error:
        assert name in str(error)
