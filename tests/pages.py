"""README and docs, parsed: links, anchors, blocks of code. Nothing here is a test.

A block that needs what a checkout lacks has a comment of its own above it, which says
what that is and which no reader sees:

    <!-- needs: the public bucket -->
"""

import itertools
import re
import shlex
from typing import NamedTuple

from markdown_it import MarkdownIt
from source import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NEEDS = re.compile(r"<!-- needs: (.+) -->")
OPERATORS = "|;&<>"
# How a line of an indented block begins if it is a command; those have no language.
COMMAND = re.compile(
    r"([A-Z_]+=\S+ )?(prompt-tuning [a-z]|python |make |pip |curl |echo |scripts/)"
)


class Block(NamedTuple):
    """A block of code: where it is, its language or "", its text, and what it needs."""

    place: str
    language: str
    text: str
    needs: str


def tokens(path):
    """The page's tokens, those inside paragraphs and cells included."""
    parser = MarkdownIt("commonmark").enable("table")
    for token in parser.parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def name(path):
    return path.relative_to(ROOT).as_posix()


def links(path):
    """Targets of a page's links and pictures that are no addresses."""
    found = [token.attrGet("href") or token.attrGet("src") for token in tokens(path)]
    return [one for one in found if one and not re.match(r"[a-z]+:", one)]


def anchors(path):
    """What GitHub, and MyST with it, makes of a page's headings."""
    for before, token in itertools.pairwise(tokens(path)):
        if before.type == "heading_open":
            words = "".join(child.content for child in token.children)
            yield re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def blocks(path):
    needs = ""
    for token in tokens(path):
        if token.type == "html_block":
            found = NEEDS.search(token.content)
            needs = found[1] if found else ""
        elif token.type in ("fence", "code_block"):
            place = f"{name(path)}:{token.map[0] + 1}"
            yield Block(place, token.info, token.content, needs)
        if token.level == 0 and token.type != "html_block":
            needs = ""


def inline_code(path):
    return [token.content for token in tokens(path) if token.type == "code_inline"]


def commands(block):
    """The commands of a block, each as a list of words."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "":
        lines = [line for line in lines if COMMAND.match(line)]
    elif block.language != "sh":
        return
    for line in lines:
        yield from programs(line)


def programs(line):
    """What the shell starts for a line: `X=1 a | b > file` is [a] and [b]."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace_split = True
    words, skipped = [], False
    for word in [*lexer, ";"]:
        if set(word) <= set(OPERATORS):
            if words and not skipped:
                yield words
            words, skipped = [], set(word) <= {"<", ">"}
        elif not skipped and (words or not re.match(r"[A-Z_]+=", word)):
            words.append(word)
