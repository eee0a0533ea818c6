"""How Sphinx builds the site: `make docs`.

The folder that it reads is the repository, as README and the changelog are pages too.
"""

import itertools
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "Prompt Tuning"
author = "The prompt-tuning authors"
html_title = project
html_theme = "pydata_sphinx_theme"
html_show_sourcelink = False
# All pages beside each page, under their captions, instead of some along the top.
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {"navbar_center": [], "show_prev_next": False}
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "runs", "build", "prompt_tuning", "tests"]  # not walked
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Anchors of headings as GitHub makes them, whose readers follow the same links.
myst_heading_anchors = 4
default_role = "code"  # a docstring's `name`

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_inherit_docstrings = False  # Flax's own, of `setup`
# Defaults as they are written: of a module's constant, its name.
autodoc_preserve_defaults = True


FIELD = re.compile(r"\w+(, \w+)*: \S")  # `name: text` at the margin


def plain(app: Any, what: str, *of: Any) -> None:
    """Takes a docstring for plain text; nobody here writes reStructuredText.

    `names` are code, as are lines that are indented after an empty one; `name: text` at
    the margin of a class is a list; * and | are themselves.
    """
    *_, lines = of  # the name, the thing, the options, and what this changes
    made, code = [], False
    for line, after in itertools.pairwise([*lines, ""]):
        code = line.startswith("    ") and (code or (bool(made) and not made[-1]))
        if code:
            made += ["::", ""] * (not made[-1] and not made[-2].endswith("::"))
            made.append(line)
            continue
        is_list = not after or after.startswith("  ") or FIELD.match(after)
        item = what == "class" and FIELD.match(line) and is_list
        if item:
            made += [""] * (not made or not made[-1].startswith(("- ", "  ")))
        made.append("- " * bool(item) + escaped(line))
    lines[:] = made


def escaped(line: str) -> str:
    """What means something to reStructuredText, outside of `names`."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def setup(app: Any) -> None:
    """Before napoleon, which makes fields of `Args:`."""
    app.connect("autodoc-process-docstring", plain, priority=400)
