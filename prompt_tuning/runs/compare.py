"""Runs side by side: what they differ in, and their mean and deviation over seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning import config, methods
from prompt_tuning.errors import UserError
from prompt_tuning.runs import report, results
from prompt_tuning.runs.results import Result
from prompt_tuning.sections import called
from prompt_tuning.training import folder

# Where a run is made, not what it is: settings that do not set two runs apart.
_PLACES = (folder.FREE - {"TRAIN_STEPS", "EVAL_PERIOD"}) | {"SEED"}
_UNREAD = ("pretrain.", "inverse_square_root.")  # by tuning
_MODEL = called("Run", "initial_checkpoint_path")


class Spread(NamedTuple):
    """Mean and sample standard deviation of n values; no deviation of a single one."""

    mean: float
    deviation: float | None
    n: int

    def told(self, digits: int = 1) -> str:
        """Such as 91.2 ± 0.4."""
        found = f"{self.mean:.{digits}f}"
        if self.deviation is None:
            return found
        return f"{found} ± {self.deviation:.{digits}f}"


class Row(NamedTuple):
    """Runs that are alike in everything but the seed.

    settings: {name: value} of what some rows differ in.
    """

    settings: Mapping[str, Any]
    runs: Sequence[Result]

    @property
    def done(self) -> list[Result]:
        return [run for run in self.runs if run.state == results.DONE]

    def values(self, metric: str) -> list[float]:
        """The values of its runs that are done and have it."""
        return [run.metrics[metric] for run in self.done if metric in run.metrics]

    def scores(self) -> list[float]:
        """The scores of its runs that are done."""
        return [run.score for run in self.done if run.score is not None]

    @property
    def name(self) -> str:
        """What tells it from the others, in a few words."""
        values = [f"{_short(n)} {_shown(v)}" for n, v in self.settings.items()]
        return ", ".join(values) or "all runs"


def spread(values: Sequence[float]) -> Spread | None:
    """Their mean and sample deviation; None of no values."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


# Which runs are alike


def rows(runs: Sequence[Result]) -> list[Row]:
    """The runs by setting, sorted by the values of what they differ in.

    Runs are apart by their settings, without those that say where they were made, and
    by what they were made of: the frozen model, the vocabulary, the data.

    Raises:
      UserError: two runs are the same, seed and all.
    """
    sides = [_side(run, _PLACES) for run in runs]
    if _repeated(runs, sides):
        sides = [_side(run, {"MODEL_DIR", "SEED"}) for run in runs]
    if again := _repeated(runs, sides):
        raise UserError(
            f"{again[0].folder} and {again[1].folder} are one run twice, with the same "
            "settings and seed: leave one of them out"
        )
    groups: list[tuple[dict[str, Any], list[Result]]] = []
    # One that failed may not know all settings; it joins those that do.
    order = sorted(range(len(runs)), key=lambda i: runs[i].state != results.DONE)
    for i in order:
        group = next((g for side, g in groups if not _apart(side, sides[i])), None)
        if group is None:
            groups.append((sides[i], group := []))
        group.append(runs[i])
    names = _differing([side for side, _ in groups])
    found = [
        Row({n: side.get(n) for n in names}, sorted(group, key=_by_seed))
        for side, group in groups
    ]
    return sorted(found, key=lambda row: [_rank(v) for v in row.settings.values()])


def _side(run: Result, without: Iterable[str]) -> dict[str, Any]:
    """What sets a run apart: {name: value}, fingerprints cut to 8 digits."""
    unread = _UNREAD + methods.unread(run.settings.run.method)
    settings = {
        name: value
        for name, value in config.named(run.settings).items()
        if name not in without and not name.startswith(unread)
    }
    return settings | {
        name: value[:8] if isinstance(value, str) else value
        for name, value in run.made_of.items()
    }


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names in which they differ; what one of them lacks is not asked."""
    return [name for name in one if name in other and one[name] != other[name]]


def _repeated(
    runs: Sequence[Result], sides: Sequence[Mapping[str, Any]]
) -> tuple[Result, Result] | None:
    """Two runs that differ in nothing."""
    for i, one in enumerate(runs):
        for j in range(i):
            same_seed = one.settings.run.seed == runs[j].settings.run.seed
            if same_seed and not _apart(sides[j], sides[i]):
                return runs[j], one
    return None


def _differing(sides: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names to tell the sides apart by, in the order of the settings.

    What follows from another difference is left out: the size of another frozen model,
    and fingerprints where settings differ too.
    """
    pairs = [(a, b) for i, a in enumerate(sides) for b in sides[:i]]
    apart = [set(_apart(a, b)) for a, b in pairs]
    told: set[str] = set()
    for names in apart:
        model = _MODEL in names
        settings = {
            name
            for name in names - folder.MADE_OF.keys()
            if not (model and name.startswith("T5Config."))
        }
        told |= settings or names
    return list(dict.fromkeys(n for side in sides for n in side if n in told))


def _by_seed(run: Result) -> int:
    return run.settings.run.seed


def _rank(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, before all else by its text."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


# What is told of them


def metrics(found: Sequence[Row]) -> list[str]:
    """The metrics that the runs have."""
    names = (name for row in found for run in row.done for name in run.metrics)
    return list(dict.fromkeys(names))


def text(found: Sequence[Row]) -> str:
    """Tables for a terminal, by setting and of each run; and why runs failed."""
    runs = [run for row in found for run in row.runs]
    lines = [
        "each run at its best step; mean ± sample deviation over n seeds",
        "",
        _by_setting(found),
        "",
        _each([run for run in runs if run.state == results.DONE], metrics(found)),
    ]
    missing = [run for run in runs if run.state != results.DONE]
    lines += [""] * bool(missing)
    lines += [f"{run.state:<11} {run.folder}  {run.reason}".rstrip() for run in missing]
    return "\n".join(lines)


def _by_setting(found: Sequence[Row]) -> str:
    asked = metrics(found)
    settings = list(found[0].settings) if found else []
    several = ["score"] if len(asked) > 1 else []
    header = [*map(_short, settings), "n", *several, *asked]
    columns = [[row.values(metric) for row in found] for metric in asked]
    if several:
        columns.insert(0, [row.scores() for row in found])
    told = zip(*map(_told, columns), strict=True) if columns else [()] * len(found)
    cells = [
        [*map(_shown, row.settings.values()), _counted(row), *spreads]
        for row, spreads in zip(found, told, strict=True)
    ]
    return report.lay_out([header, *cells], len(settings))


def _each(runs: Sequence[Result], asked: Sequence[str]) -> str:
    columns = [[run.metrics.get(metric) for run in runs] for metric in asked]
    told = [_told([[] if x is None else [x] for x in column]) for column in columns]
    cells = [
        [str(run.folder), f"{run.step}", *(column[i] for column in told)]
        for i, run in enumerate(runs)
    ]
    return report.lay_out([["run", "best step", *asked], *cells], 1)


def _told(column: Sequence[Sequence[float]]) -> list[str]:
    """A metric's spreads; of values that are shares of 1, to three digits."""
    largest = max((abs(value) for values in column for value in values), default=0)
    digits = 3 if 0 < largest <= 1 else 1
    spreads = map(spread, column)
    return ["-" if one is None else one.told(digits) for one in spreads]


def _counted(row: Row) -> str:
    missing = len(row.runs) - len(row.done)
    return f"{len(row.done)} of {len(row.runs)}" if missing else f"{len(row.done)}"


def summary(found: Sequence[Row]) -> dict[str, Any]:
    """The rows and the runs, for JSON; deviations are null for a single value."""
    asked = metrics(found)
    return {
        "rows": [
            {
                "settings": dict(row.settings),
                "n": len(row.done),
                "seeds": [_by_seed(run) for run in row.done],
                "score": _spread(row.scores()),
                "metrics": {
                    metric: _spread(row.values(metric))
                    for metric in asked
                    if row.values(metric)
                },
            }
            for row in found
        ],
        "runs": [_run(row, run) for row in found for run in row.runs],
    }


def _run(row: Row, run: Result) -> dict[str, Any]:
    reason = {"reason": run.reason} if run.reason else {}
    return {
        "folder": str(run.folder),
        "state": run.state,
        **reason,
        "settings": {"SEED": _by_seed(run), **row.settings},
        "best_step": run.step,
        "score": run.score,
        "metrics": dict(run.metrics),
    }


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    found = spread(values)
    return found and found._asdict()


def _short(name: str) -> str:
    """A setting's name without its section, or what a fingerprint is of."""
    return folder.MADE_OF.get(name, name.rpartition(".")[2])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else repr(value)
