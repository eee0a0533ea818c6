"""A report as a value: what every form of it tells, and its JSON and CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning.reproduce import findings, paper, table, told
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import Measured, Place, Selecting, Table
from prompt_tuning.runs.compare import Spread

_STANDS_IN = (
    "They stand in for the paper's T5 1.1 of 77 million to 11 billion parameters and "
    "for its data, and are neither: no score here is an estimate of a score there. "
    "Where a number of the paper's stands beside one of ours, it is of another model "
    "and another task of like form, and the difference is no error of reproduction. "
    "What the paper says of its largest model is asked of the largest one here, which "
    "is smaller than the paper's smallest."
)
ABOUT = {
    "pocket": "These are results of the pocket family: T5 1.1 models trained from "
    "nothing by this package's own recipe, the paper's two stages, on a generated "
    "world of English, and tasks of the same world, like the paper's in form. "
    + _STANDS_IN,
    "english": "These are results of a model trained from nothing by this package's "
    "own recipe on public English text, on the official data of the paper's tasks. It "
    "stands in for the paper's models of 77 million to 11 billion parameters, and is "
    "not one of them.",
    "paper": "These are results of the public T5 1.1 models on the paper's tasks, with "
    "the paper's settings.",
}


class Section(NamedTuple):
    """An experiment's table, and the runs behind it.

    name: "fig3a". where: the paper's section, "section 3.2, Figure 3(a)".
    """

    name: str
    title: str
    where: str
    table: Table
    outcomes: Sequence[Outcome] = ()


class Runs(NamedTuple):
    """How many there are."""

    done: int
    failed: int
    missing: int


class Made(NamedTuple):
    """How the numbers came about.

    facts: (name, value), for the foot.
    """

    facts: tuple[tuple[str, str], ...]
    runs: Runs


class Report(NamedTuple):
    """All that a report tells.

    about: what the models and tasks are, and are not. models: {name: parameters}.
    on_test, on_development: the twelve findings, asked of either split.
    """

    scale: str
    about: str
    models: Mapping[str, float]
    sections: tuple[Section, ...]
    on_test: tuple[findings.Answer, ...]
    on_development: tuple[findings.Answer, ...]
    selecting: Selecting
    made: Made


def build(scale: str, sections: Sequence[Section], command: str) -> Report:
    """The report of these sections.

    Args:
      scale: "pocket", "english" or "paper".
      command: the one that made it.
    """
    tables = {section.name: section.table for section in sections}
    outcomes = [run for section in sections for run in section.outcomes]
    runs = table.runs(outcomes)
    return Report(
        scale,
        ABOUT[scale],
        models(sections),
        tuple(sections),
        tuple(findings.answers(tables)),
        tuple(findings.answers(tables, selected=True)),
        table.selecting(runs),
        made(runs, command),
    )


def asked(report: Report) -> list[tuple[int, findings.Answer, findings.Answer]]:
    """The findings about the report's tables: number, and the answer of each split."""
    names = {section.name for section in report.sections}
    pairs = zip(report.on_test, report.on_development, strict=True)
    return [
        (i, *pair) for i, pair in enumerate(pairs, 1) if pair[0].experiment in names
    ]


def models(sections: Sequence[Section]) -> dict[str, float]:
    """The frozen models that pictures have on their axis, by size."""
    at = {
        row: size
        for section in sections
        if (axis := section.table.axis) and set(paper.SIZES).isdisjoint(axis.at)
        for row, size in (axis.panels.sizes if axis.panels else axis.at).items()
    }
    return dict(sorted(at.items(), key=lambda pair: pair[1]))


def made(runs: Sequence[Outcome], command: str) -> Made:
    """What the runs say of how they were made; of several, each once."""
    done = [run for run in runs if run.state == "done"]
    facts = [run.facts for run in done]
    versions = _each(
        f"{name} {version}"
        for fact in facts
        for name, version in (fact.get("versions") or {}).items()
    )
    dates = sorted({str(fact["date"]) for fact in facts if fact.get("date")})
    told_facts = (
        ("command", command),
        ("commit", _each(fact.get("commit") for fact in facts)),
        ("versions", versions),
        ("hardware", _each(fact.get("hardware") for fact in facts)),
        ("date", " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])) or _UNKNOWN),
        ("hours", f"{hours(done):.1f} of training, over {len(done)} runs"),
    )
    failed = sum(run.state == "failed" for run in runs)
    missing = len(runs) - len(done) - failed
    return Made(told_facts, Runs(len(done), failed, missing))


_UNKNOWN = "not known"


def _each(values: Any) -> str:
    known = dict.fromkeys(str(value) for value in values if value)
    return ", ".join(known) or _UNKNOWN


def hours(runs: Sequence[Outcome]) -> float:
    """Of training. Runs that shared their steps share the time."""
    shares = [
        run.facts.get("seconds", 0.0) / (run.facts.get("together") or 1) for run in runs
    ]
    return sum(shares) / 3_600


# JSON


def to_json(report: Report) -> dict[str, Any]:
    """All of it, for machines; null for what is not known."""
    return {
        "scale": report.scale,
        "about": report.about,
        "models": dict(report.models),
        "made": dict(report.made.facts),
        "runs": report.made.runs._asdict(),
        "findings": [
            _finding(*pair)
            for pair in zip(report.on_test, report.on_development, strict=True)
        ],
        "selecting": {
            "development_less_test": _spread(report.selecting.spread),
            "above": report.selecting.above,
            "below": report.selecting.below,
        },
        "experiments": [_section(section) for section in report.sections],
    }


def _finding(test: findings.Answer, development: findings.Answer) -> dict[str, Any]:
    return {"claim": test.claim, "where": test.where} | {
        split: {
            "verdict": answer.verdict,
            "parts": [
                {
                    "says": part.says,
                    "asked": told.region(part),
                    "verdict": part.verdict,
                    "estimate": part.estimate and part.estimate._asdict(),
                    "why": part.why or None,
                }
                for part in answer.parts
            ],
        }
        for split, answer in (("test", test), ("development", development))
    }


def _section(section: Section) -> dict[str, Any]:
    found = section.table
    return {
        "name": section.name,
        "title": section.title,
        "where": section.where,
        "caption": found.caption,
        "unit": found.form,
        "facts": dict(found.facts),
        "rows": list(found.rows),
        "columns": list(found.columns),
        "at": dict(found.axis.at) if found.axis else None,
        "cells": [_cell(found, place) for place in _places(found)],
    }


def _places(found: Table) -> Iterator[Place]:
    """Where something was measured, or is printed."""
    known = {*found.values, *found.selected, *found.paper, *found.later}
    return (
        (row, column)
        for row in found.rows
        for column in found.columns
        if (row, column) in known
    )


def _cell(found: Table, place: Place) -> dict[str, Any]:
    return {
        "row": place[0],
        "column": place[1],
        "test": _measured(found.values.get(place)),
        "development": _measured(found.selected.get(place)),
        "paper": _spread(found.paper.get(place)),
        "difference": table.difference(found, place, found.paper),
        "later": _spread(found.later.get(place)),
        "difference_later": table.difference(found, place, found.later),
    }


def _measured(one: Measured | None) -> dict[str, Any] | None:
    return one and {**one._asdict(), "failed": list(one.failed)}


def _spread(one: Spread | None) -> dict[str, Any] | None:
    return one and one._asdict()


# CSV

_SPLITS = ("test", "development")
_MEASURED = ("mean", "deviation", "n", "missing")
COLUMNS = (
    *("experiment", "row", "column", "unit"),
    *(f"{split}_{name}" for split in _SPLITS for name in (*_MEASURED, "failed")),
    *("paper", "paper_deviation", "difference"),
    *("later", "later_deviation", "difference_later"),
)


def to_csv(report: Report) -> str:
    """A line for each cell; empty for what is not known."""
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    lines.writeheader()
    for section in report.sections:
        found = section.table
        for place in _places(found):
            row = {"experiment": section.name, "unit": found.form_of(place[1])}
            lines.writerow(row | _flat(_cell(found, place)))
    return text.getvalue()


def _flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: cell[name] for name in ("row", "column")}
    for split in _SPLITS:
        one = cell[split] or {}
        flat |= {f"{split}_{name}": one.get(name) for name in _MEASURED}
        flat[f"{split}_failed"] = "; ".join(one.get("failed", ()))
    for name, apart in (("paper", "difference"), ("later", "difference_later")):
        one = cell[name] or {}
        flat |= {name: one.get("mean"), f"{name}_deviation": one.get("deviation")}
        flat[apart] = cell[apart]
    return flat
