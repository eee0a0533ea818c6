"""What a run writes: training states and prompts, each whole or not at all.

A training state is an Orbax checkpoint of step, prompt and optimizer: never of the
frozen weights (weights.py). A prompt is a .npy (or .safetensors) file with a JSON of
what made it beside it.
"""

import contextlib
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats
from prompt_tuning.outputs import atomic, write_json

# A NamedTuple with a field `trained`: train.TrainState.
State = TypeVar("State")


# Training states


def manager(
    directory: Path, read_only: bool = False, last: int = 1
) -> ocp.CheckpointManager:
    """Keeps the last state, or so many, and the one with the best development score.

    States are written in the background, each under a temporary name until it is whole.
    With `read_only`, what a run beside this one is writing is left alone.
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
    states: ocp.CheckpointManager, state: State, step: int, score: float
) -> None:
    """Starts writing `state` with its development score."""
    states.save(
        step, args=ocp.args.StandardSave(state._asdict()), metrics={"score": score}
    )


def restore_state(states: ocp.CheckpointManager, like: State, step: int) -> State:
    """The state saved at `step`, with the shapes and shardings of `like`."""
    try:
        saved = states.item_metadata(step).tree["trained"]
        problem = _difference(saved, like.trained)
        if not problem:  # asked first, as Orbax tells of it at great length
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
    """The arrays of other shapes, as text."""
    saved, wanted = (
        {jax.tree_util.keystr(path): tuple(x.shape) for path, x in leaves}
        for leaves in map(jax.tree.leaves_with_path, (saved, wanted))
    )
    return ", ".join(
        f"it is {saved[name]} instead of {wanted[name]} {name}".rstrip()
        for name in sorted(saved.keys() & wanted.keys())
        if saved[name] != wanted[name]
    )


def best_step(states: ocp.CheckpointManager) -> int:
    """The kept step with the highest score; of equal ones the last."""
    return max(
        states.all_steps(), key=lambda step: (_score(states.metrics(step)), step)
    )


# Prompts


def save_prompt(path: Path, prompt_PxD: Any, description: dict[str, Any]) -> None:
    """Writes a prompt as `path` (.npy or .safetensors) and what made it as JSON.

    Each of the two files appears whole or not at all.
    """
    prompt_PxD = np.asarray(prompt_PxD, np.float32)
    with atomic(path) as temporary:
        if path.suffix == ".safetensors":
            metadata = {k: str(v) for k, v in description.items()}
            safetensors.save_file({"prompt": prompt_PxD}, temporary, metadata)
        elif path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, prompt_PxD)
        else:
            raise UserError(f"a prompt is saved as .npy or .safetensors, not as {path}")
    write_json(path.with_suffix(".json"), description)


def load_prompt(path: Path) -> np.ndarray:
    """Reads a prompt [P, D] float32 from a .npy or .safetensors file.

    Or from a checkpoint's folder: T5X's (t5x_engine.py), or a step of ours.
    """
    prompt = _from_checkpoint(path) if path.is_dir() else _from_file(path)
    if prompt.ndim != 2 or not prompt.size or not np.isfinite(prompt).all():
        finite = "finite" if np.isfinite(prompt).all() else "not finite"
        raise UserError(
            f"{path} holds an array of shape {prompt.shape}, {finite}; a prompt is one "
            "finite array [length, width]"
        )
    return prompt


def _from_file(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".safetensors":
            (array,) = safetensors.load_file(path).values()
        else:
            array = np.load(path, allow_pickle=False)
        return np.asarray(array, np.float32)
    except FileNotFoundError:
        raise UserError(
            f"no prompt file at {path}; give the path of a .npy or .safetensors file "
            "that `train` or `export` wrote"
        ) from None
    except (OSError, EOFError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read as a prompt ({error}); it must be a .npy or "
            ".safetensors file with one array [length, width]"
        ) from None


def _from_checkpoint(folder: Path) -> np.ndarray:
    tensors = {}
    with contextlib.suppress(UserError):  # which speaks of frozen models
        tensors = formats.open_checkpoint(str(folder))
    prompt = formats.prompt_of(tensors)
    if prompt is None:
        raise UserError(
            f"{folder} is a folder, and no checkpoint with a prompt; give one step, "
            "such as checkpoints/400 of ours or T5X's checkpoint_400, or a file"
        )
    return np.asarray(prompt.read(prompt.all), np.float32)
