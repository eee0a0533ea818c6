"""What came of a cell: its scores on development and untouched splits, its curve."""

import collections
import dataclasses
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prompt_tuning import config, exchange
from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import asking, cells
from prompt_tuning.reproduce.cells import Planned
from prompt_tuning.reproduce.grid import Cell
from prompt_tuning.settings import T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import folder, plan
from prompt_tuning.training.task import Metrics, development_score

SCORE = "score"  # the mean of a task's metrics, beside them


class Outcome(NamedTuple):
    """A cell and what is known of its run.

    state: cells.DONE, MISSING, FAILED or RUNNING; reason: of a failure, in one line.
    metrics: {"SPLIT/TASK/METRIC": value}, SCORE among a task's metrics. curve: (step,
    score on the development split). facts: trained_parameters, frozen_parameters,
    steps, seconds (without evaluating), seconds_a_step, together (runs in one step),
    flops_a_second, hardware, versions, commit, date.
    """

    cell: Cell
    folder: str
    state: str
    reason: str = ""
    metrics: Mapping[str, float] = {}
    curve: tuple[tuple[int, float], ...] = ()
    facts: Mapping[str, Any] = {}


def read_all(planned: Iterable[Planned], splits: Sequence[str]) -> list[Outcome]:
    """The outcomes of cells.

    Raises:
      UserError: two of them had different data for one task.
    """
    found = [read(one, splits) for one in planned]
    _check_same_data(found)
    return found


def read(one: Planned, splits: Sequence[str]) -> Outcome:
    """What has become of a cell; DONE only once it was asked all that it is asked."""
    state, reason = cells.state(one)
    outcome = Outcome(one.cell, str(one.folder), state, reason)
    if state != cells.DONE:
        return outcome
    if left := asking.left(one, splits):
        told = ", ".join(f"{task} {split}" for task, split in left)
        return outcome._replace(state=cells.MISSING, reason=f"not asked yet: {told}")
    return outcome._replace(
        metrics=flat(asking.answers(one.folder)),
        curve=tuple(sorted(cells.read(one.folder).scores.items())),
        facts=_facts(one.folder, cells.stamp(one.folder)),
    )


def flat(answers: Mapping[str, Metrics]) -> dict[str, float]:
    """{split: {task: {metric: value}}} -> {"SPLIT/TASK/METRIC": value}, with SCORE."""
    found: dict[str, float] = {}
    for split, metrics in answers.items():
        for task, values in metrics.items():
            scored = {SCORE: development_score({task: values})} if values else {}
            for name, value in {**values, **scored}.items():
                found[f"{split}/{task}/{name}"] = float(value)
    return found


@functools.lru_cache(maxsize=4096)
def _facts(path: Path, _: Any) -> Mapping[str, Any]:
    settings = cells.read(path).settings
    log = path / "train.jsonl"  # not there where nothing was trained
    lines = folder.read_lines(log, "loss", "seconds")[0] if log.is_file() else []
    seconds = [line["seconds"] for line in lines]
    rates = [line["flops_per_second"] for line in lines if "flops_per_second" in line]
    batch = settings.run.batch_size
    together = [
        line["examples_per_second"] * line["seconds"] / batch for line in lines[-1:]
    ]
    frozen = parameters(T5Config(**settings.model))
    said = exchange.read_description(path / exchange.DESCRIPTION)
    prompt = said.get("length", 0) * said.get("width", 0)
    whole = said.get("ships_model", settings.run.method != "prompt")
    counted = frozen if whole else prompt  # by a run that did not count
    return {
        "trained_parameters": said.get("trained_parameters", counted),
        "frozen_parameters": 0 if whole else frozen,
        "steps": len(lines),
        "seconds": sum(seconds),
        "seconds_a_step": statistics.median(seconds) if seconds else None,
        "together": round(together[0]) if together else None,
        "flops_a_second": statistics.median(rates) if rates else None,
    } | asking.kept(path / asking.MADE)


@functools.cache
def parameters(config: T5Config) -> int:
    """The number of parameters of a frozen model."""
    # Tracing one scanned layer is quicker than all, and gives the same count.
    return plan.count(Transformer(dataclasses.replace(config, scan_layers=True)))


def _check_same_data(found: Iterable[Outcome]) -> None:
    """Raises UserError where runs that read a task alike did not read the same."""
    data: dict[tuple, dict[str, str]] = collections.defaultdict(dict)
    for one in found:
        if one.state != cells.DONE:
            continue
        run = cells.read(Path(one.folder))
        named, said = config.named(run.settings), run.made_of
        of = ("MIXTURE_OR_TASK_NAME", "TASK_FEATURE_LENGTHS", "EVAL_SPLIT")
        key = (*(str(named[n]) for n in of), said.get("vocabulary_fingerprint"))
        data[key].setdefault(str(said.get("eval_data_fingerprint")), one.folder)
    for (task, *_), folders in data.items():
        if len(folders) > 1:
            one, other, *_ = folders.values()
            raise UserError(
                f"{one} and {other} read different data for {task}, so they cannot "
                "stand in one table: give both the same --data_dir, and move the "
                "folder of one of them away"
            )
