"""Training states on disk: Orbax checkpoints of step, trained tree, optimizer state.

They never hold frozen weights. Each appears whole or not at all; if one is damaged
later, the one before it is used.
"""

import contextlib
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from prompt_tuning import files, interrupts, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run
from prompt_tuning.training.step import TrainState

# Training states

DAMAGED = ".damaged"  # behind the step, the name of what was set aside
# Where states go to be deleted. A kill amid that would leave half a state otherwise.
_DELETED = ".deleted"


def kept_steps(directory: Path, run: Run) -> Sequence[int]:
    """KEEP_STEPS, of a run whose states go to a folder.

    Raises:
      UserError: no state is saved at one of them.
    """
    period, last, there = run.eval_period, run.train_steps, _steps(directory)
    for step in run.keep_steps:
        at_period = 0 <= step <= last and step % period == 0
        if not at_period and step != last and step not in there:
            raise UserError(
                f"KEEP_STEPS has {step}, but states are saved at multiples of "
                f"EVAL_PERIOD ({period}) up to TRAIN_STEPS ({last}), and at that: give "
                "such steps, or another EVAL_PERIOD"
            )
    return run.keep_steps


def manager(directory: Path, keep: Sequence[int] = ()) -> ocp.CheckpointManager:
    """Keeps the two newest states, the one with the best development score, and `keep`.

    States are written in the background, each under a temporary name until it is whole.
    One whose score cannot be read is taken for one that was not evaluated.
    """
    directory = Path(os.path.realpath(directory))
    with _writing(directory):
        if outputs.is_writer():
            _delete(directory)
            for step in sorted(_steps(directory)):
                if _saved_metrics(directory, step) is None:
                    _forget_score(directory, step)
        partitioning.meet(f"states in {directory}")
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),
                checkpoint_managers.BestN(get_metric_fn=_rank, n=1),
                checkpoint_managers.CustomSteps(keep),
            ]
        ),
        best_fn=_rank,
        cleanup_tmp_directories=True,
        todelete_subdir=_DELETED,
    )
    with _writing(directory):
        return ocp.CheckpointManager(
            epath.Path(directory),
            item_handlers=ocp.StandardCheckpointHandler(),
            options=options,
        )


def save_state(
    states: ocp.CheckpointManager, state: TrainState, step: int, score: float | None
) -> None:
    """Starts writing `state` with its development score.

    Args:
      score: None for a state that was not evaluated, as the run had to stop.

    Raises:
      UserError: it, or the one before it, cannot be written.
    """
    with _writing(Path(states.directory)), interrupts.held():
        _wait(states)
        tree = ocp.args.StandardSave(state._asdict())
        states.save(step, args=tree, metrics={"score": score})


def save_score(states: ocp.CheckpointManager, step: int, score: float) -> None:
    """Keeps the score of a saved state that was not evaluated then.

    Raises:
      UserError: it cannot be written.
    """
    directory = Path(states.directory)
    with _writing(directory), interrupts.held():
        if outputs.is_writer():
            outputs.write_json(_metrics(directory, step), {"score": score})
        partitioning.meet(f"score of {step}")
        states.reload()


def finish(states: ocp.CheckpointManager) -> None:
    """Waits until what was to be saved is saved; Ctrl-C and SIGTERM wait for it too.

    Raises:
      UserError: it cannot be written.
    """
    with _writing(Path(states.directory)), interrupts.held():
        _wait(states)


def _wait(states: ocp.CheckpointManager) -> None:
    states.wait_until_finished()
    if outputs.is_writer():
        _delete(Path(states.directory))


def _delete(directory: Path) -> None:
    if (directory / _DELETED).exists():
        shutil.rmtree(directory / _DELETED)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Tells in one line what went wrong with writing, whatever the library raised."""
    try:
        yield
    except Exception as error:
        if partitioning.is_lost_process(error):
            raise
        problem = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(
            f"a state cannot be saved in {directory} ({_reason(problem)}); those saved "
            "before are kept: mend that (make room, say), and the same command goes on"
        ) from None


def _reason(problem: str) -> str:
    """What the system said, out of TensorStore's account of who asked whom."""
    said = re.search(r"([^:]+) \[os_error_code=", problem)
    return said.group(1).strip() if said else problem[:200]


def restore_last(
    states: ocp.CheckpointManager, like: TrainState, last: int | None = None
) -> TrainState | None:
    """The newest state that can be read, or None where no state was ever saved.

    Damaged ones are set aside, with a warning.

    Args:
      like: what it must be like, in shapes and shardings.
      last: the newest step to take.

    Raises:
      UserError: the states are of another run, or all are damaged.
    """
    directory = Path(states.directory)
    for step in sorted(_steps(directory) & {*states.all_steps()}, reverse=True):
        if last is None or step <= last:
            state = restore_or_set_aside(states, like, step)
            if state is not None:
                return state
    aside = [path.name for path in directory.glob(f"*{DAMAGED}")]
    if aside:
        raise UserError(
            f"no state in {directory} can be read: {', '.join(sorted(aside))}. Restore "
            f"them from a copy, or remove {directory.parent} to start this run anew"
        )
    return None


def restore_or_set_aside(
    states: ocp.CheckpointManager, like: TrainState, step: int
) -> TrainState | None:
    """As restore_state; a damaged state is set aside, with a warning, for None.

    Raises:
      UserError: it is of another run.
    """
    try:
        return restore_state(states, like, step)
    except DamagedError:
        if outputs.is_writer():
            _set_aside(Path(states.directory), step)
        partitioning.meet(f"set aside {step}")
        states.reload()
    return None


class DamagedError(UserError):
    """A state that cannot be read."""


def restore_state(
    states: ocp.CheckpointManager, like: TrainState, step: int
) -> TrainState:
    """The state saved at `step`, with the shapes and shardings of `like`.

    Raises:
      DamagedError: it cannot be read.
      UserError: it is of another run.
    """
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
    try:
        saved = states.item_metadata(step).tree
        problem = _difference(saved, like._asdict())
        if not problem:  # checked first, as Orbax's own message is very long
            tree = states.restore(step, args=ocp.args.StandardRestore(target))
            return type(like)(**tree)
    except Exception as error:  # whatever a library makes of damaged bytes
        if partitioning.is_lost_process(error):
            raise
        problem = str(error).partition("\n")[0].partition(". ")[0][:200]
        raise DamagedError(
            f"the checkpoint of step {step} in {states.directory} is damaged "
            f"({problem}): remove {Path(states.directory, str(step))}, and the same "
            "command goes on from the state before it"
        ) from None
    raise UserError(
        f"the checkpoint of step {step} in {states.directory} does not fit this run "
        f"({problem}): the prompt's length or the optimizer differs. "
        "Use the settings it was made with, or another MODEL_DIR"
    )


def _difference(saved: Any, wanted: Any) -> str:
    """The arrays whose names or shapes differ, as text."""
    saved, wanted = (
        {jax.tree_util.keystr(p, simple=True): tuple(x.shape) for p, x in leaves}
        for leaves in map(jax.tree.leaves_with_path, (saved, wanted))
    )
    told = [
        f"it is {saved[name]} instead of {wanted[name]} {name}"
        for name in sorted(saved.keys() & wanted.keys())
        if saved[name] != wanted[name]
    ]
    if told or saved.keys() == wanted.keys():
        return ", ".join(told)
    names = sorted(saved.keys() ^ wanted.keys())
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return f"{', '.join(names[:3])}{more} in one of them alone"


# Their scores


def scores(directory: Path) -> dict[int, float | None]:
    """{step: development score} of the states in a folder, in ascending order.

    A state that was not evaluated has None, as has one whose score cannot be read.
    Asking changes nothing: a run may be writing beside us.
    """
    return {
        step: (_saved_metrics(directory, step) or {"score": None})["score"]
        for step in sorted(_steps(directory))
    }


def _steps(directory: Path) -> set[int]:
    if not directory.is_dir():
        return set()
    # What is not whole yet has another name.
    names = {p.name for p in directory.iterdir() if p.is_dir()}
    return {int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)}


def _metrics(directory: Path, step: int) -> Path:
    return directory / str(step) / "metrics" / "metrics"


def _saved_metrics(directory: Path, step: int) -> Mapping[str, Any] | None:
    """What a state was saved with, read as the JSON it is; None if it cannot be."""
    try:
        path = files.regular(_metrics(directory, step), files.MOST_JSON)
        found = files.parse_json(path.read_bytes())
    except (OSError, ValueError):  # a UserError is a ValueError
        return None
    match found:
        case {"score": None}:
            return found
        case {"score": int() | float() as score} if math.isfinite(score):
            return found
    return None


def _rank(metrics: Mapping[str, Any] | None) -> float:
    score = (metrics or {}).get("score")
    return -math.inf if score is None else score


def best_step(directory: Path) -> int | None:
    """The kept step with the highest score; the last of equal ones."""
    found = [(s, step) for step, s in scores(directory).items() if s is not None]
    return max(found, default=(0, None))[1]


def _forget_score(directory: Path, step: int) -> None:
    """Makes a state whose score cannot be read one that was not evaluated."""
    outputs.write_json(_metrics(directory, step), {"score": None})
    outputs.warn(
        f"the score of the state of step {step} in {directory} is damaged; the state "
        "is evaluated again"
    )


def _set_aside(directory: Path, step: int) -> None:
    """Takes a damaged state out of the way, and says so."""
    path = directory / str(step)
    aside = path.with_name(path.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    outputs.warn(
        f"the state of step {step} in {directory} is damaged; it is set aside as "
        f"{aside.name}, and those before it are used"
    )
