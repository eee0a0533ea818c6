"""A grid as data: its cells, and the scale that it is run at.

A cell is a run: settings over the scale's own, a seed, and the tasks that the finished
run is asked. Nothing here trains, reads or writes.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning import config
from prompt_tuning.settings import Settings

GIN_FILE = "gin_file"  # among a cell's settings: a gin file's name, or several
TASK = "MIXTURE_OR_TASK_NAME"
PENDING = "not made yet"  # stands for the folder of a cell that is waited for


class Cell(NamedTuple):
    """A run of an experiment.

    row, column: as the table prints them. settings: {gin's name: value} over the
    scale's; a value may be an After. asks: the tasks whose development and test splits
    the finished run is evaluated on.
    """

    row: str
    column: str
    seed: int
    settings: Mapping[str, Any]
    asks: tuple[str, ...]


class After(NamedTuple):
    """The folder of another cell's run, as a setting: PROMPT_FILE to start from."""

    cell: Cell


class Model(NamedTuple):
    """A frozen model.

    settings: its gin file and how it is kept. stages: {percent of LM adaptation:
    INITIAL_CHECKPOINT_PATH}; 0 is span corruption alone, 100 the default.
    """

    name: str
    settings: Mapping[str, Any]
    stages: Mapping[int, str]


class Transfer(NamedTuple):
    """A task trained on, and the task that it is then asked."""

    source: str
    target: str
    trains: str
    asks: str


class Tasks(NamedTuple):
    """The tasks that play the paper's parts.

    suite: {the paper's name: a task} of the score. sentinel: the same with a sentinel
    in front of each target. named: the same, as they are in `mixture`, which has their
    name in front of the inputs. question: trained on for Table 1, and `domains` {name:
    a task} that it is asked then. paraphrases: of Table 2. timed: of Table 5.
    described: {name: a task} of Tables 7 to 16. source: where a prompt is first trained
    (SPoT). own: settings of a task, such as longer targets. designed: {a task of the
    suite: its instruction and decoding, for prompt design}; {}: it is not run.
    compared: those of the suite that every method is tuned on; (): all of them.
    """

    suite: Mapping[str, str]
    sentinel: Mapping[str, str]
    named: Mapping[str, str]
    mixture: str
    question: str
    domains: Mapping[str, str]
    paraphrases: tuple[Transfer, ...]
    timed: str
    described: Mapping[str, str]
    source: str
    own: Mapping[str, Mapping[str, Any]] = {}
    designed: Mapping[str, Mapping[str, Any]] = {}
    compared: Sequence[str] = ()


class Scale(NamedTuple):
    """At which models, tasks and settings an experiment is run.

    settings: of every cell. whole: of model tuning besides; mixed: of multi-task model
    tuning besides those; designed: of prompt design. seeds: of each configuration;
    members: of an ensemble's prompts. test: the split that nothing was selected on; ""
    where none has labels.
    lengths: of Figure 3(a); timed: of Table 5. longer: the steps of a longer tuning.
    rates: the learning rates of which each method has its best.
    devices: of a host or pod, for which --dry_run plans.
    """

    name: str
    models: tuple[Model, ...]
    tasks: Tasks
    settings: Mapping[str, Any]
    whole: Mapping[str, Any]
    mixed: Mapping[str, Any]
    seeds: tuple[int, ...]
    members: tuple[int, ...] = (0, 1, 2, 3, 4)
    test: str = "test"
    lengths: tuple[int, ...] = (1, 5, 20, 100, 150)
    timed: tuple[int, ...] = (1, 20, 50, 100)
    longer: int = 0
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    devices: int = 1
    designed: Mapping[str, Any] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """The development split, and the untouched one where there is one."""
        return ("validation", self.test) if self.test else ("validation",)


# Cells


def of_tasks(
    scale: Scale,
    row: str,
    column: str,
    model: Model,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    asks: Sequence[str] | None = None,
    **settings: Any,
) -> Iterator[Cell]:
    """A cell for each task and seed, on one frozen model.

    Args:
      tasks: by default the suite's. seeds: by default the scale's.
      asks: by default the task itself.
      settings: gin's names; of model tuning METHOD says so, and its settings follow.
    """
    tasks = list(scale.tasks.suite.values()) if tasks is None else tasks
    seeds = scale.seeds if seeds is None else seeds
    of_method = scale.whole if settings.get("METHOD") == "whole" else {}
    asked = None if asks is None else tuple(asks)
    for task, seed in itertools.product(tasks, seeds):
        found = {**model.settings, **scale.tasks.own.get(task, {}), **of_method}
        found |= {TASK: task} | settings
        yield Cell(row, column, seed, found, (task,) if asked is None else asked)


def tuned(model: Model) -> dict[str, Any]:
    """The settings of model tuning, which starts from span corruption alone (3.1)."""
    return {"METHOD": "whole", **adapted(model, 0)}


def adapted(model: Model, percent: int) -> dict[str, Any]:
    """The setting of a frozen model at a stage of its LM adaptation."""
    return {"INITIAL_CHECKPOINT_PATH": model.stages[percent]}


def settings_of(
    scale: Scale, cell: Cell, folder: str = "", sources: Mapping[str, str] | None = None
) -> Settings:
    """A cell's settings as a value.

    Args:
      folder: its MODEL_DIR.
      sources: {setting: the folder that its After is}.

    Raises:
      UserError: a name or a value is wrong.
    """
    found = _values(scale, cell, folder, sources)
    files = _files(found.pop(GIN_FILE, ()))
    return config.load(files, [f"{name}={value!r}" for name, value in found.items()])


def _values(
    scale: Scale, cell: Cell, folder: str, sources: Mapping[str, str] | None
) -> dict[str, Any]:
    found = {**scale.settings, **cell.settings, "SEED": cell.seed, "MODEL_DIR": folder}
    given = sources or {}
    return {
        name: given.get(name, PENDING) if isinstance(value, After) else value
        for name, value in found.items()
    }


def _files(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def flags(
    scale: Scale, cell: Cell, folder: str, sources: Mapping[str, str] | None = None
) -> list[str]:
    """The flags of `train` that make a cell's run; see `settings_of`."""
    found = _values(scale, cell, folder, sources)
    files = _files(found.pop(GIN_FILE, ()))
    values = [f"--gin.{name}={_bare(value)}" for name, value in found.items()]
    return [*(f"--gin_file={name}" for name in files), *values]


def _bare(value: Any) -> str:
    """A string as it may stand on a command line; anything else as Python writes it."""
    return value if isinstance(value, str) else repr(value)


def after(cell: Cell) -> dict[str, Cell]:
    """{setting: the cell whose folder it is} of those that a cell waits for."""
    return {k: v.cell for k, v in cell.settings.items() if isinstance(v, After)}


def quick(scale: Scale, steps: int = 20) -> Scale:
    """The same grids made short: one seed, few steps, the smallest model, two tasks."""
    tasks, models = scale.tasks, scale.models[:1]
    two = list(tasks.suite)[:2]
    cut = {
        field: {name: getattr(tasks, field)[name] for name in two}
        for field in ("suite", "sentinel", "named")
    }
    short = {"TRAIN_STEPS": steps, "EVAL_PERIOD": steps}
    return scale._replace(
        models=models,
        tasks=tasks._replace(**cut),
        settings={**scale.settings, **short},
        whole={**scale.whole, **short},
        seeds=scale.seeds[:1],
        members=scale.members[:2],
        lengths=scale.lengths[:2],
        timed=scale.timed[:2],
        rates=scale.rates[-2:],
        longer=2 * steps,
    )
