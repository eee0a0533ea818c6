"""The SuperGLUE score of eight runs, or of one run of the multi-task mixture.

    python scripts/superglue_score.py runs/*/metrics.json

Reads the metrics.json that `prompt-tuning train` writes to each MODEL_DIR, and prints
the tasks' scores and their mean (paper, Table 3). If a task occurs twice, the last file
counts.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.files import read_json
from prompt_tuning.tasks import paper as paper  # registers the tasks
from prompt_tuning.tasks import scoring
from prompt_tuning.tasks_io.quiet import seqio


def alias(name: str) -> str | None:
    """The short name of a SuperGLUE task, given any of its names; None for others."""
    if name not in seqio.TaskRegistry.names():
        return None
    found = getattr(seqio.TaskRegistry.get(name).source, "alias", None)
    return found if found in scoring.SUPERGLUE else None


def main(paths: Sequence[str]) -> None:
    metrics = {}
    for path in paths:
        match read_json(Path(path), "give the metrics.json of a finished run"):
            case {"trained": {"metrics": dict(trained)}}:
                metrics |= {alias(name): values for name, values in trained.items()}
            case _:
                raise UserError(f"{path} is no metrics.json of a finished run")
    for task in scoring.SUPERGLUE:
        values = metrics.get(task)
        if values:
            each = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
            print(f"{task:10} {np.mean(list(values.values())):5.1f}  ({each})")
    try:
        print(f"{'SuperGLUE':10} {scoring.superglue_score(metrics):5.1f}")
    except ValueError as error:
        sys.exit(f"error: {error}; there are {len(paths)} files")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
