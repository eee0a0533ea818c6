"""Training states on disk: Orbax checkpoints of step, trained tree, optimizer state.

They never hold frozen weights. Each appears whole or not at all.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from prompt_tuning.errors import UserError
from prompt_tuning.training.step import TrainState

# Training states


def manager(
    directory: Path, read_only: bool = False, last: int = 1
) -> ocp.CheckpointManager:
    """Keeps the `last` newest states, and the one with the best development score.

    States are written in the background, each under a temporary name until it is whole.
    With `read_only`, nothing is touched that a run is still writing.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(last),
                checkpoint_managers.BestN(get_metric_fn=_score, n=1),
            ]
        ),
        best_fn=_score,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
    )
    return ocp.CheckpointManager(
        epath.Path(directory.resolve()),
        item_handlers=ocp.StandardCheckpointHandler(),
        options=options,
    )


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def save_state(
    states: ocp.CheckpointManager, state: TrainState, step: int, score: float
) -> None:
    """Starts writing `state` with its development score."""
    states.save(
        step, args=ocp.args.StandardSave(state._asdict()), metrics={"score": score}
    )


def restore_state(
    states: ocp.CheckpointManager, like: TrainState, step: int
) -> TrainState:
    """The state saved at `step`, with the shapes and shardings of `like`."""
    try:
        saved = states.item_metadata(step).tree["trained"]
        problem = _difference(saved, like.trained)
        if not problem:  # checked first, as Orbax's own message is very long
            target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
            tree = states.restore(step, args=ocp.args.StandardRestore(target))
            return type(like)(**tree)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error).partition("\n")[0].partition(". ")[0][:200]
    raise UserError(
        f"the checkpoint of step {step} in {states.directory} does not fit this run "
        f"({problem}): it is damaged, or the prompt's length or the optimizer differs. "
        "Use the settings it was made with, or another MODEL_DIR"
    )


def _difference(saved: Any, wanted: Any) -> str:
    """The arrays whose shapes differ, as text."""
    saved, wanted = (
        {jax.tree_util.keystr(path): tuple(x.shape) for path, x in leaves}
        for leaves in map(jax.tree.leaves_with_path, (saved, wanted))
    )
    return ", ".join(
        f"it is {saved[name]} instead of {wanted[name]} {name}".rstrip()
        for name in sorted(saved.keys() & wanted.keys())
        if saved[name] != wanted[name]
    )


def score(states: ocp.CheckpointManager, step: int) -> float:
    """The development score that the state of `step` was saved with."""
    metrics = states.metrics(step)
    assert metrics is not None  # save_state writes them
    return _score(metrics)


def best_step(states: ocp.CheckpointManager) -> int:
    """The kept step with the highest score; the last of equal ones."""
    return max(states.all_steps(), key=lambda step: (score(states, step), step))
