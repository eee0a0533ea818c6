"""The report as Markdown, as GitHub shows it; pictures are files beside it."""

from collections.abc import Iterator, Mapping, Sequence

from prompt_tuning.reproduce import told
from prompt_tuning.reproduce.findings import Answer
from prompt_tuning.reproduce.report import Report, Section, asked
from prompt_tuning.reproduce.told import Grid, Line

_SPECIAL = str.maketrans({"|": r"\|", "<": "&lt;", ">": "&gt;", "\n": " ", "*": r"\*"})


def write(report: Report, pictures: Mapping[tuple[str, str], str]) -> str:
    """All of the report.

    Args:
      pictures: {(experiment, split): path of its SVG} of those that there are.
    """
    parts = [
        f"# {title(report)}",
        report.about,
        *([_models(report)] if report.models else []),
        told.about_runs(*report.made.runs),
        *_held(report),
        "## Selecting on the split that one reports",
        told.about_selecting(report.selecting),
        *(part for one in report.sections for part in _section(one, pictures)),
        "## How this was made",
        "\n".join(f"- {name}: {_plain(value)}" for name, value in report.made.facts),
    ]
    return "\n\n".join(parts) + "\n"


def title(report: Report) -> str:
    """The heading of every form of it."""
    return f"The paper's tables and figures, at the scale {report.scale}"


def _models(report: Report) -> str:
    return f"Frozen models: {told.about_models(report.models)}."


def _plain(text: str) -> str:
    return text.translate(_SPECIAL)


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A pipe table whose first column is words, the others numbers."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _held(report: Report) -> Iterator[str]:
    """The findings about the report's tables, if there are any."""
    found = asked(report)
    if found:
        _, *splits = zip(*found, strict=True)
        yield "## What held"
        yield told.about_findings(*splits, of=len(report.on_test))
        yield _findings(found)
        yield "### By how much"
        yield told.INTERVALS
        yield from _parts(found)


def _findings(found: Sequence[tuple[int, Answer, Answer]]) -> str:
    rows = (
        (
            f"{i}. {_plain(test.claim)} ({test.where})",
            told.verdict(test.verdict),
            told.verdict(development.verdict),
        )
        for i, test, development in found
    )
    return _table(("finding of the paper", told.ON_TEST, told.ON_DEVELOPMENT), rows)


def _parts(found: Sequence[tuple[int, Answer, Answer]]) -> Iterator[str]:
    for i, test, development in found:
        yield f"**{i}. {_plain(test.claim)}**"
        yield _table(
            ("contrast", "asked", told.ON_TEST, told.ON_DEVELOPMENT),
            _contrasts(test, development),
        )


def _contrasts(test: Answer, development: Answer) -> Iterator[Sequence[str]]:
    for one, other in zip(test.parts, development.parts, strict=True):
        both = (told.answered(part) for part in (one, other))
        yield tuple(map(_plain, (one.says, told.region(one), *both)))


def _section(
    section: Section, pictures: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    table = section.table
    yield f"## {section.title} ({section.where})"
    yield _plain(told.legend(table))
    for grid in told.grids(table):
        if grid.split:
            yield f"**{grid.split.capitalize()}**"
        if path := pictures.get((section.name, grid.split)):
            yield f"![{_plain(told.headed(section.title, grid))}]({path})"
        yield _grid(table.rows, table.columns, grid)
    if reasons := told.failures(table):
        yield "Failed:"
        yield "\n".join(f"- {_plain(reason)}" for reason in reasons)


def _grid(rows: Sequence[str], columns: Sequence[str], grid: Grid) -> str:
    lines = (
        (_plain(row), *(_cell(grid.cells[row, column]) for column in columns))
        for row in rows
    )
    return _table(("", *map(_plain, columns)), lines)


def _cell(lines: Sequence[Line]) -> str:
    return "<br>".join(_plain(line.text) for line in lines)
