"""What the folders of runs say: settings, scores, curves, or why a run failed."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prompt_tuning import exchange, files, outputs
from prompt_tuning.errors import UserError, plain
from prompt_tuning.settings import Settings
from prompt_tuning.t5 import products
from prompt_tuning.training import folder
from prompt_tuning.training.task import development_score

SETTINGS, METRICS, FAILURE = "config.gin", "metrics.json", "failed.json"
# What a run makes at its end, and others take for what came of it.
FILES = METRICS, exchange.PROMPT, exchange.MODEL, exchange.EXTRA
DONE, FAILED, BEGUN = "done", "failed", "unfinished"  # states of a run


class Result(NamedTuple):
    """A run, by what is in its folder.

    state: DONE, FAILED or BEGUN.
    reason: why it failed.
    made_of: fingerprints of its frozen model, vocabulary and data, by the names in
      folder.MADE_OF; what is not known is left out.
    step, score: of the best evaluation; score as training.task.development_score.
    metrics: {"TASK METRIC": value} of that step; empty unless it is done.
    majority: the score of the most frequent class, if there is one.
    scores, losses: {step: value} of each evaluation and each training step; losses in
      nats per target token.
    """

    folder: Path
    settings: Settings
    state: str
    reason: str = ""
    made_of: Mapping[str, Any] = {}
    step: int | None = None
    score: float | None = None
    metrics: Mapping[str, float] = {}
    majority: float | None = None
    scores: Mapping[int, float] = {}
    losses: Mapping[int, float] = {}


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a prompt's (or a model's) tuning."""
    begun = ("eval.jsonl", METRICS, FAILURE)
    return (path / SETTINGS).is_file() and any((path / x).is_file() for x in begun)


def below(path: Path) -> Iterator[Path]:
    """The folders of runs in `path`, sorted; or `path` itself, if it is one.

    What lies in a run's folder, such as its checkpoints, is not looked at.
    """
    for name, folders, _ in os.walk(path):
        if is_run(Path(name)):
            folders.clear()
            yield Path(name)
        else:
            folders[:] = sorted(one for one in folders if not one.startswith("."))


def find(paths: Sequence[str]) -> list[Result]:
    """The runs at and below `paths`, each once.

    Raises:
      UserError: there is none in one of them, or what one says cannot be read.
    """
    found: dict[str, Path] = {}
    for path in paths:
        runs = list(below(Path(path)))
        if not runs:
            there = "no run in" if Path(path).is_dir() else "no folder"
            raise UserError(
                f"there is {there} {path!r}; give the MODEL_DIR of a run or of a "
                "--sweep"
            )
        for one in runs:
            found.setdefault(os.path.realpath(one), one)
    return [read(path) for path in found.values()]


def read(path: Path) -> Result:
    """What the folder of a run says.

    Raises:
      UserError: a file there is damaged.
    """
    settings = folder.kept_settings(path / SETTINGS)
    said = exchange.read_description(path / exchange.DESCRIPTION)
    made_of = {name: said[name] for name in folder.MADE_OF if name in said}
    begun = Result(path, settings, BEGUN, made_of=made_of)
    begun = begun._replace(
        scores=_curve(path / "eval.jsonl", "score"),
        losses=_curve(path / "train.jsonl", "loss"),
    )
    kept = _kept(path / METRICS)
    if kept is None or kept.get("steps", 0) < _steps_to_go(kept, settings):
        reason = failure(path)
        return begun if reason is None else begun._replace(state=FAILED, reason=reason)
    try:
        trained, step = kept["trained"]["metrics"], kept["best_step"]
        metrics, majority = flat(trained), kept.get("majority") or {}
        majority = development_score(majority) if any(majority.values()) else None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"{path / METRICS} is no metrics.json of a finished run; run its `train` "
            "again, which writes it"
        ) from None
    score = begun.scores.get(step)
    best = {"step": step, "score": score, "metrics": metrics, "majority": majority}
    return begun._replace(state=DONE, **best)


def flat(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{task: {metric: value}} -> {"TASK METRIC": value}."""
    return {
        f"{task} {metric}": float(value)
        for task, values in metrics.items()
        for metric, value in values.items()
    }


def _steps_to_go(kept: Mapping[str, Any], settings: Settings) -> int:
    """A run of an earlier version does not say how many steps its metrics are of."""
    return settings.run.train_steps if "steps" in kept else 0


def _kept(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = files.read_json(path, "run its `train` again, which writes it")
    return found if isinstance(found, dict) else {}


def _curve(log: Path, name: str) -> dict[int, float]:
    lines = folder.read_lines(log, name)[0] if log.is_file() else []
    return {line["step"]: float(line[name]) for line in lines}


def is_done(settings: Settings) -> bool:
    """Whether the run in MODEL_DIR has its results at TRAIN_STEPS.

    Raises:
      UserError: what is there cannot be read, or is a run with other settings.
    """
    path = Path(settings.run.model_dir)
    if not (path / SETTINGS).is_file():
        return False
    kept = _kept(path / METRICS)
    if kept is None:
        return False
    check(settings)
    return kept.get("steps", 0) >= settings.run.train_steps


def check(settings: Settings) -> None:
    """Raises UserError unless the settings go on with those of the run in MODEL_DIR."""
    path = Path(settings.run.model_dir, SETTINGS)
    folder.check_settings(path, _as_kept(settings))


def _as_kept(settings: Settings) -> Settings:
    """The settings as a run keeps them: with the type that "auto" is here."""
    if "dtype" not in settings.model:
        return settings
    chosen = {"dtype": products.chosen(settings.model["dtype"])}
    return dataclasses.replace(settings, model={**settings.model, **chosen})


# A run that failed


def failure(path: Path) -> str | None:
    """Why the run failed, if it did when it was last tried."""
    if not (path / FAILURE).is_file():
        return None
    found = files.read_json(path / FAILURE, "remove it; the run's `train` tries again")
    reason = found.get("reason") if isinstance(found, dict) else None
    return reason if isinstance(reason, str) else "it is not known why"


def keep_failure(settings: Settings, reason: str) -> None:
    """Writes to the run's folder why it failed, and its settings if they are not there.

    It goes once the run is tried again (`forget_failure`).
    """
    path = folder.make_model_dir(settings.run)
    if not (path / SETTINGS).is_file():
        folder.keep_settings(path / SETTINGS, _as_kept(settings))
    outputs.write_json(path / FAILURE, {"reason": plain(reason)})


def forget_failure(path: Path) -> None:
    """Removes what `keep_failure` wrote."""
    if outputs.is_writer():
        (path / FAILURE).unlink(missing_ok=True)
