"""Outcomes whose right table is known by hand. Nothing here is a test."""

from prompt_tuning.reproduce.grid import Cell
from prompt_tuning.reproduce.outcomes import Outcome


def outcome(row, column, seed, development, test, task="t", state="done", **more):
    """A run asked one task; test or development None where it was not asked."""
    scores = {f"validation/{task}/score": development, f"test/{task}/score": test}
    cell = Cell(row, column, seed, {"MIXTURE_OR_TASK_NAME": task}, (task,))
    more = {"folder": f"grid/{row}-{column}-{task}-seed{seed}-0", **more}
    metrics = {k: v for k, v in scores.items() if v is not None and state == "done"}
    return Outcome(cell, state=state, metrics=metrics, **more)


def seeds(row, column, developments, tests, **more):
    pairs = enumerate(zip(developments, tests, strict=True))
    return [outcome(row, column, i, d, t, **more) for i, (d, t) in pairs]


# Two rows and three columns. "nano 1": 10, 20, 30 have mean 20, deviation 10.
GRID = [
    *seeds("nano", "1", (12, 22, 32), (10, 20, 30)),
    *seeds("nano", "20", (50, 52, 54), (50, 51, 52)),
    outcome("nano", "100", 0, 60, 59),
    outcome("nano", "100", 1, 62, 61),
    outcome("nano", "100", 2, 0, 0, state="failed", reason="out of memory"),
    *seeds("mini", "1", (80, 80, 80), (79, 79, 79)),
    outcome("mini", "20", 0, 90, 88),
    outcome("mini", "20", 1, 0, 0, state="missing"),
    outcome("mini", "20", 2, 0, 0, state="running"),
    *[outcome("mini", "100", i, 0, 0, state="failed", reason="NaN") for i in (0, 1)],
    outcome("mini", "100", 2, 0, 0, state="missing"),
]
# (mean, sample deviation, n, failed, missing) on the test split
TEST = {
    ("nano", "1"): (20, 10, 3, (), 0),
    ("nano", "20"): (51, 1, 3, (), 0),
    ("nano", "100"): (60, 2**0.5, 2, ("seed 2: out of memory",), 0),
    ("mini", "1"): (79, 0, 3, (), 0),
    ("mini", "20"): (88, None, 1, (), 2),
    ("mini", "100"): (None, None, 0, ("seed 0: NaN", "seed 1: NaN"), 1),
}
DEVELOPMENT = {
    ("nano", "1"): (22, 10, 3, (), 0),
    ("nano", "20"): (52, 2, 3, (), 0),
    ("nano", "100"): (61, 2**0.5, 2, ("seed 2: out of memory",), 0),
    ("mini", "1"): (80, 0, 3, (), 0),
    ("mini", "20"): (90, None, 1, (), 2),
    ("mini", "100"): (None, None, 0, ("seed 0: NaN", "seed 1: NaN"), 1),
}
# Development less test of its 12 runs that are done: 2 2 2 0 1 2 1 1 1 1 1 2
SELECTING = (16 / 12, (4.667 / 11) ** 0.5, 12)
