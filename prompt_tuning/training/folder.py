"""MODEL_DIR: a run's folder, with its settings and logs."""

import json
from collections.abc import Iterable
from pathlib import Path

from prompt_tuning import config, outputs
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, Settings

# Settings that may change between two starts of one run.
FREE = {"MODEL_DIR", "TRAIN_STEPS", "EVAL_PERIOD", "DATA_DIR", "TFDS_DATA_DIR"}
FREE |= {"MIXTURE_OR_TASK_MODULE", "pretrain.prefix_lm_steps", "mesh.data"}
FREE |= {"pretrain.skill_task", "mesh.model", "param_shardings.fully_sharded"}


def make_model_dir(run: Run) -> Path:
    """Makes MODEL_DIR, or raises UserError if it cannot be written."""
    if not run.model_dir:
        raise UserError(
            "MODEL_DIR is not set; give the folder for what this run writes, "
            "--gin.MODEL_DIR=runs/mine"
        )
    if "://" in run.model_dir:
        raise UserError(
            f"MODEL_DIR is {run.model_dir!r}, in a bucket; it must be a folder that "
            "every host sees: mount the bucket (gcsfuse), or use a shared disk"
        )
    return outputs.make_folder(Path(run.model_dir), "MODEL_DIR")


def keep_settings(path: Path, settings: Settings, check: bool) -> None:
    """Writes the settings to `path`; with `check`, they must match those there.

    Raises:
      UserError: the file there has other settings; it is not changed.
    """
    if check and path.exists():
        differ = config.differences(config.load([str(path)]), settings)
        changed = [
            f"{name.lower() if name.isupper() else name} is {new!r} and was {old!r}"
            for name, (old, new) in differ.items()
            if name not in FREE
        ]
        if changed:
            raise UserError(
                f"{path.parent} holds a run with other settings: {'; '.join(changed)}. "
                "Give the same settings to resume it, or another MODEL_DIR"
            )
    with outputs.atomic(path) as temporary:
        temporary.write_text(config.text(settings), encoding="utf-8")


def keep_lines(log: Path, last_step: int) -> list[dict]:
    """Drops a log's lines after `last_step`, left by a killed run; returns the rest."""
    if not log.exists():
        return []
    kept = [line for line in _records(log) if line["step"] <= last_step]
    with outputs.atomic(log) as temporary:  # being killed here must not lose the log
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _records(log: Path) -> Iterable[dict]:
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a line cut short when the run was killed
            return
