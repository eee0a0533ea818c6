"""SPoT (Vu et al., 2022): a prompt starts from one that was trained on another task.

    --gin.PROMPT_INIT=transfer --gin.transfer.bank=runs --gin.transfer.task=pocket_nli
    --gin.PROMPT_INIT=transfer --gin.transfer.bank=runs --gin.transfer.probe=early

The second takes the prompt of the bank that is nearest to this task's own after a few
steps, such as early/checkpoints/100.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.runs import parts
from prompt_tuning.settings import Run, Settings, Transfer

SUFFIXES = (".npy", ".safetensors")


class Source(NamedTuple):
    """A prompt to start from: its path, and its similarity if that chose it."""

    path: Path
    similarity: float | None = None


def said(settings: Settings) -> dict[str, Any]:
    """What a run says of the prompt that it starts from: its path and SHA-256.

    Raises:
      UserError: as `source`; or the prompt cannot be read.
    """
    found = source(settings)
    if found is None:
        return {}
    digest = hashlib.sha256(exchange.load_prompt(found.path).tobytes()).hexdigest()
    path = str(found.path.absolute())
    of_start = {"started_from": path, "start_fingerprint": digest}
    return of_start | {"similarity": found.similarity}


def described(description: Mapping[str, Any]) -> Path | None:
    """The prompt that a run starts from, by what it `said`."""
    found = description.get("started_from")
    return found and Path(found)


def source(settings: Settings) -> Source | None:
    """The prompt that a run starts from; None if its PROMPT_INIT names none.

    Raises:
      UserError: transfer.* contradicts PROMPT_INIT, or finds no prompt, or several.
    """
    run, options = settings.run, settings.transfer
    if run.prompt_init != "transfer":
        if options != Transfer():
            raise UserError(
                f"transfer.* is set, but PROMPT_INIT is {run.prompt_init!r}: set "
                "PROMPT_INIT=transfer, or leave them out"
            )
        return Source(Path(run.prompt_file)) if run.prompt_init == "file" else None
    if not options.bank or bool(options.task) == bool(options.probe):
        raise UserError(
            "PROMPT_INIT=transfer needs transfer.bank, a folder of trained prompts, "
            "and either transfer.task, the name of one, or transfer.probe, an early "
            "prompt of this task to which the nearest is taken"
        )
    bank = _bank(Path(options.bank))
    if options.task:
        return Source(_of_task(bank, options))
    return _nearest(bank, Path(options.probe))


def load(
    path: Path, run: Run, description: Mapping[str, Any], model: parts.Model
) -> np.ndarray:
    """A prompt to start from, which must fit what is to be trained.

    It may be of another task.

    Args:
      description: of the run that starts.
    """
    its = exchange.read_description(path)
    exchange.check_start(path, its, run.prompt_place)
    exchange.check(
        path,
        its,
        frozen_model=description["frozen_fingerprint"],
        name=run.initial_checkpoint_path,
        vocabulary=model.vocabulary,
    )
    return exchange.load_prompt(path)


def _bank(folder: Path) -> dict[str, Path]:
    """The runs and the prompt files in a folder, by name."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [
        (path.name if path.is_dir() else path.stem, path)
        for path in inside
        if (path / exchange.PROMPT).is_file() or path.suffix in SUFFIXES
    ]
    found = dict(named)
    if len(found) < len(named):
        names = [name for name, _ in named]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(
            f"transfer.bank is {str(folder)!r}, where two prompts are named {twice}: "
            "rename one"
        )
    if not found:
        raise UserError(
            f"transfer.bank is {str(folder)!r}, which holds no finished run with a "
            "prompt and no prompt file: give a folder that does"
        )
    return found


def _of_task(bank: Mapping[str, Path], options: Transfer) -> Path:
    """The prompt of this name, or the only one that was trained on this task."""
    name = options.task
    if name in bank:
        return bank[name]
    tasks = {own: exchange.read_description(p).get("task") for own, p in bank.items()}
    found = [own for own, task in tasks.items() if task == name]
    if len(found) != 1:
        named = ", ".join(f"{own} (of {task})" for own, task in tasks.items())
        raise UserError(
            f"transfer.task is {name!r}, which {'several' if found else 'none'} of the "
            f"prompts in {options.bank} are: give the name of one, of {named}"
        )
    return bank[found[0]]


def _nearest(bank: Mapping[str, Path], probe: Path) -> Source:
    """The prompt of the bank with the highest similarity to another one."""
    probe_PxD, found = exchange.load_prompt(probe), []
    for path in bank.values():
        prompt_PxD = exchange.load_prompt(path)
        if prompt_PxD.shape[1] != probe_PxD.shape[1]:
            raise UserError(
                f"{path} is {prompt_PxD.shape[1]} wide, but {probe} is "
                f"{probe_PxD.shape[1]}: a bank holds prompts of one frozen model"
            )
        found.append(Source(path, similarity(prompt_PxD, probe_PxD)))
    return max(found, key=lambda one: one.similarity)


def similarity(one_PxD: np.ndarray, other_PxD: np.ndarray) -> float:
    """The mean cosine of all pairs of vectors (SPoT, section 4.1)."""
    one_D, other_D = (
        (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)).mean(axis=0)
        for x in (one_PxD.astype(np.float64), other_PxD.astype(np.float64))
    )
    return float(one_D @ other_D)
