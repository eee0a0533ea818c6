"""The page is whole, needs nothing else, and hides nothing."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import planted_outcomes
import pytest

from prompt_tuning.reproduce import page, paper
from prompt_tuning.reproduce.report import Section
from prompt_tuning.reproduce.table import Axis, build

VOID = {"meta", "path", "use", "br"}
COMMAND = "prompt-tuning reproduce fig3a --only='a<b'"


def section(name="fig3a", **more):
    axis = Axis({"nano": 1.3e6, "mini": 7e6}, "parameters", "score")
    table = build("Prompt length", "By size", planted_outcomes.GRID, axis=axis, **more)
    return Section(name, "Prompt length", "Figure 3(a)", table, planted_outcomes.GRID)


class Reader(HTMLParser):
    """Elements, in their nesting; and all text."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"{tag} closes what is not open"

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    paths = page.write(folder, "pocket", [section(), section("fig3d")], COMMAND)
    return folder, paths


@pytest.fixture(scope="module")
def reader(written):
    found = Reader()
    found.feed((written[0] / "report.html").read_text("utf-8"))
    assert not found.open
    return found


def test_what_is_written(written):
    folder, paths = written
    names = {"report.html", "report.md", "report.csv", "report.json"}
    for name in ("fig3a-development", "fig3a-test", "fig3d-development", "fig3d-test"):
        names.add(f"figures/{name}.svg")
    assert {path.relative_to(folder).as_posix() for path in paths} == names
    assert all(path.stat().st_size for path in paths)


def test_the_page_asks_for_nothing(reader):
    tags = {tag for tag, _ in reader.seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for tag, attributes in reader.seen:
        for name, value in attributes.items():
            assert not name.startswith("on"), "a script"
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                assert value.startswith("#"), (tag, value)
            if name != "xmlns":
                assert "://" not in (value or ""), (tag, name, value)
    style = " ".join(reader.words)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", style)


def test_every_link_has_its_place_and_every_id_is_one(reader):
    ids = [a["id"] for _, a in reader.seen if "id" in a]
    assert len(ids) == len({*ids})
    links = {a["href"][1:] for _, a in reader.seen if "href" in a}
    assert links <= {*ids}


def test_all_tables_say_all(reader):
    words = " ".join(reader.words)
    assert "pocket family" in words and "are neither" in words
    assert "nano (1.3M parameters), mini (7M parameters)" in words
    assert "20.0 ± 10.0 (3)" in words and "22.0 ± 10.0 (3)" in words
    assert "seed 2: out of memory" in words and "✗ 2 failed" in words
    assert "Runs: 12 done, 3 failed, 3 missing" in words
    assert COMMAND in words


def test_every_picture_stands_in_the_page(written, reader):
    assert sum(tag == "svg" for tag, _ in reader.seen) == 4
    for path in (written[0] / "figures").iterdir():
        ElementTree.fromstring(path.read_text("utf-8"))


def test_equal_outcomes_give_equal_files(written, tmp_path):
    folder, paths = written
    page.write(tmp_path, "pocket", [section(), section("fig3d")], COMMAND)
    for path in paths:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_words_of_a_table_are_no_html(tmp_path):
    runs = planted_outcomes.seeds("<b>&", "a|b", (1, 2), (1, 2))
    runs += planted_outcomes.seeds("x", "a|b", (0,), (0,), state="failed", reason="<i>")
    table = build("t", "<script>", runs, paper=paper.TABLE_1.values)
    made = Section("table1", "a&b", "Table 1", table, runs)
    page.write(tmp_path, "paper", [made], "c")
    found = Reader()
    found.feed((tmp_path / "report.html").read_text("utf-8"))
    assert not {tag for tag, _ in found.seen} & {"script", "b", "i"}
    assert {"<b>&", "a|b", "<script>. Mean"} <= {
        word.split(" ±")[0] for word in found.words
    }
