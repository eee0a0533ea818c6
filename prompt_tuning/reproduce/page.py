"""The report as files: one HTML page that needs nothing else, Markdown, JSON and CSV.

    page.write(folder, "pocket", sections, "prompt-tuning reproduce all --scale=pocket")

The page has its pictures within it, no script, and no address that a browser would ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from prompt_tuning import outputs
from prompt_tuning.reproduce import findings, markdown, pictures, report, told
from prompt_tuning.reproduce.findings import Answer, Part
from prompt_tuning.reproduce.report import Report, Section, asked
from prompt_tuning.reproduce.table import Table
from prompt_tuning.reproduce.told import Grid, Line

Drawn = Mapping[tuple[str, str], str]  # SVG by experiment and split
_STYLE = Path(__file__).with_name("page.css")


def write(
    folder: Path, scale: str, sections: Sequence[Section], command: str
) -> list[Path]:
    """Writes report.html, .md, .json and .csv into a folder, and figures/*.svg.

    Args:
      scale: "pocket", "english" or "paper".
      command: the one that made it.

    Returns:
      The paths of what was written.
    """
    made = report.build(scale, sections, command)
    drawn = draw(sections)
    names = {key: f"figures/{_name(*key)}.svg" for key in drawn}
    texts = {
        "report.html": html(made, drawn),
        "report.md": markdown.write(made, names),
        "report.csv": report.to_csv(made),
        **{names[key]: f"{svg}\n" for key, svg in drawn.items()},
    }
    for name, text in texts.items():
        with outputs.atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    outputs.write_json(folder / "report.json", report.to_json(made))
    return [folder / name for name in (*texts, "report.json")]


def draw(sections: Sequence[Section]) -> dict[tuple[str, str], str]:
    """The pictures of those tables that have one, of each split."""
    found = {
        (section.name, grid.split): pictures.draw(
            section.table,
            grid.measured,
            _name(section.name, grid.split),
            told.headed(section.title, grid),
        )
        for section in sections
        for grid in told.grids(section.table)
    }
    return {key: svg for key, svg in found.items() if svg}


def _name(experiment: str, split: str) -> str:
    return "-".join([experiment, *split.split()[-1:]])


# HTML. Every text goes through `escape`, in `tag` or by hand where it is inline.


def tag(name: str, *inside: str, **attributes: str) -> str:
    """An element around HTML; of its attributes class is class_, a hyphen _."""
    names = {k: k.rstrip("_").replace("_", "-") for k in attributes}
    said = "".join(f' {names[k]}="{escape(v)}"' for k, v in attributes.items())
    return f"<{name}{said}>{''.join(inside)}</{name}>"


def text(name: str, words: str, **attributes: str) -> str:
    """An element around words."""
    return tag(name, escape(words), **attributes)


def html(made: Report, drawn: Drawn) -> str:
    """The whole page."""
    title = markdown.title(made)
    head = (
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        + text("title", title)
        + tag("style", _STYLE.read_text("utf-8"))
    )
    body = [
        tag("header", text("h1", title), *_introduction(made)),
        tag("nav", tag("ul", *_contents(made)), aria_label="Contents"),
        tag(
            "main",
            *_held(made),
            text("h2", _SELECTING, id="selecting"),
            text("p", told.about_selecting(made.selecting)),
            *(_section(section, drawn) for section in made.sections),
        ),
        tag("footer", text("h2", _MADE, id="made"), _facts(made)),
    ]
    page = tag("html", tag("head", head), "\n", tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


_HELD = "What held"
_SELECTING = "Selecting on the split that one reports"
_MADE = "How this was made"


def _introduction(made: Report) -> Iterator[str]:
    yield text("p", made.about, class_="about")
    if made.models:
        yield text("p", f"Frozen models: {told.about_models(made.models)}.")
    yield text("p", told.about_runs(*made.made.runs))


def _contents(made: Report) -> Iterator[str]:
    places = [("held", _HELD)] if asked(made) else []
    places += [("selecting", _SELECTING)]
    places += [(one.name, f"{one.title} ({one.where})") for one in made.sections]
    for name, words in [*places, ("made", _MADE)]:
        yield tag("li", text("a", words, href=f"#{name}"))


def _facts(made: Report) -> str:
    return tag(
        "dl",
        *(text("dt", name) + text("dd", value) for name, value in made.made.facts),
    )


# Findings


def _held(made: Report) -> Iterator[str]:
    """The findings about the report's tables, if there are any."""
    found = asked(made)
    if not found:
        return
    _, *splits = zip(*found, strict=True)
    yield text("h2", _HELD, id="held")
    yield text("p", told.about_findings(*splits, of=len(made.on_test)))
    header = ("finding of the paper", told.ON_TEST, told.ON_DEVELOPMENT)
    rows = [
        tag(
            "tr",
            text("th", f"{i}. {test.claim} ({test.where})", scope="row"),
            *(_verdict(answer.verdict) for answer in (test, development)),
        )
        for i, test, development in found
    ]
    yield _table(header, rows, "held")
    yield text("h3", "By how much")
    yield text("p", told.INTERVALS)
    yield from (_answer(*one) for one in found)


_CLASSES = {findings.HOLDS: "yes", findings.FAILS: "no", findings.UNSAID: "open"}


def _verdict(said: str) -> str:
    return text("td", told.verdict(said), class_=_CLASSES[said])


def _answer(i: int, test: Answer, development: Answer) -> str:
    header = ("contrast", "asked", told.ON_TEST, told.ON_DEVELOPMENT)
    rows = [
        tag("tr", text("th", pair[0].says, scope="row"), *_part(header, *pair))
        for pair in zip(test.parts, development.parts, strict=True)
    ]
    heading = text("h4", f"{i}. {test.claim} ({test.where})")
    return tag("section", heading, _table(header, rows, "parts"))


def _part(header: Sequence[str], *splits: Part) -> Iterator[str]:
    """Cells that carry their column's name, for windows too narrow for a table."""
    yield text("td", told.region(splits[0]), data_label=header[1])
    for words, part in zip(header[2:], splits, strict=True):
        kind = _CLASSES[part.verdict]
        yield text("td", told.answered(part), class_=kind, data_label=words)


# Tables


def _table(header: Sequence[str], rows: Sequence[str], kind: str) -> str:
    """A table that scrolls within a narrow window."""
    head = tag("tr", *(text("th", words, scope="col") for words in header))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_=kind)
    return tag("div", table, class_="scroll", role="group", tabindex="0")


def _section(section: Section, drawn: Drawn) -> str:
    """Pictures side by side, then tables; one under the other for want of room."""
    table, grids = section.table, told.grids(section.table)
    figures = [
        tag("figure", svg)
        for grid in grids
        if (svg := drawn.get((section.name, grid.split)))
    ]
    reasons = [text("li", reason) for reason in told.failures(table)]
    failed = [text("p", "Failed:"), tag("ul", *reasons, class_="failed")]
    return tag(
        "section",
        text("h2", section.title, id=section.name),
        text("p", section.where, class_="where"),
        text("p", told.legend(table)),
        tag("div", *figures, class_="beside") if figures else "",
        tag("div", *(_split(table, grid) for grid in grids), class_="beside"),
        *(failed if reasons else []),
    )


def _split(table: Table, grid: Grid) -> str:
    rows = [
        tag(
            "tr",
            text("th", row, scope="row"),
            *(_cell(grid.cells[row, column]) for column in table.columns),
        )
        for row in table.rows
    ]
    heading = text("h3", grid.split.capitalize()) if grid.split else ""
    return tag(
        "div", heading, _table(("", *table.columns), rows, "numbers"), class_="split"
    )


def _cell(lines: Sequence[Line]) -> str:
    return tag("td", *(text("div", line.text, class_=line.kind) for line in lines))
