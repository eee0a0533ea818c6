"""Facts about the source code, from its syntax tree. Nothing here is a test."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path):
    """Dotted names of what a file imports, even inside functions."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():  # absolute, as ruff demands
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
