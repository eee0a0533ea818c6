"""Training from Python: what `prompt_tuning.train` and `prompt_tuning.sweep` do."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import config
from prompt_tuning.runs import results, runner, tune
from prompt_tuning.runs import sweep as sweeps
from prompt_tuning.runs.results import Result
from prompt_tuning.settings import Settings

# Otherwise Orbax imports TensorFlow, which takes seconds, to write to folders.
os.environ.setdefault("EPATH_USE_TF", "false")


def train(gin_files: Sequence[str], settings: Mapping[str, Any]) -> Result:
    """Trains a run, or goes on with it; what has become of it."""
    found = config.load(gin_files, _bindings(settings))
    tune.train([found])
    return results.read(Path(found.run.model_dir))


def sweep(
    values: Mapping[str, Iterable[Any]],
    gin_files: Sequence[str],
    settings: Mapping[str, Any],
) -> list[Result]:
    """Trains a run for each combination of values; the runs, in that order."""

    def load(more: Sequence[str]) -> Settings:
        return config.load(gin_files, [*_bindings(settings), *more])

    texts = [f"{name}={','.join(map(_typed, each))}" for name, each in values.items()]
    found = sweeps.sweep(load, texts)
    runner.train(found)
    runner.conclude(found)
    return [results.read(Path(one.run.model_dir)) for one in found]


def _bindings(settings: Mapping[str, Any]) -> list[str]:
    """As typed behind `--gin.`; a path is a text."""
    plain = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in settings.items()
    }
    return [f"{name}={value!r}" for name, value in plain.items()]


def _typed(value: Any) -> str:
    """A value as one types it in `--sweep`, which names the run's folder."""
    plain = isinstance(value, str) and re.fullmatch(r"[\w./+-]+", value)
    return value if plain else repr(value)
