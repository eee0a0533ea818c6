"""Prompts on disk: .npy and .safetensors files, PEFT's folders, checkpoints."""

import collections
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import config, files, methods
from prompt_tuning.errors import UserError
from prompt_tuning.exchange import extras, peft
from prompt_tuning.exchange.descriptions import (
    check_length,
    check_model,
    check_one_prompt,
    read_description,
)
from prompt_tuning.exchange.names import EXTRA, MODEL, MOST_BYTES, PROMPT
from prompt_tuning.frozen import formats, weights
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.outputs import atomic, check_own_folder, write_json
from prompt_tuning.settings import T5Config
from prompt_tuning.t5.extra import Extra


def save_prompt(path: Path, prompt_PxD: Any, said: Mapping[str, Any]) -> None:
    """Writes a prompt as `path` (.npy or .safetensors) and its description as JSON.

    Each of the two files appears whole or not at all.
    """
    prompt_PxD = np.asarray(prompt_PxD, np.float32)
    with atomic(path) as temporary:
        if path.suffix == ".safetensors":
            metadata = {key: json.dumps(value) for key, value in said.items()}
            safetensors.save_file({"prompt": prompt_PxD}, temporary, metadata)
        elif path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, prompt_PxD)
        else:
            raise UserError(f"a prompt is saved as .npy or .safetensors, not as {path}")
    write_json(path.with_suffix(".json"), said)


def check_prompt_output(path: Path) -> None:
    """Raises UserError if the description of a prompt at `path` would replace others'.

    It is a JSON of the same name.
    """
    said = path.with_suffix(".json")
    others = [path.with_suffix(kind) for kind in (".npy", ".safetensors")]
    there = [one for one in others if one != path and one.exists()]
    if said.exists() and (there or not path.exists()):
        raise UserError(
            f"{said} is there, and describes "
            f"{there[0] if there else 'something else'}, not {path}: give --output "
            "another name"
        )


def save_peft(folder: Path, prompt_PxD: Any, said: Mapping[str, Any]) -> None:
    """Writes a prompt as a folder that PeftModel.from_pretrained loads.

    Raises:
      UserError: its place is not the input's front; or something else is in the folder.
    """
    check_own_folder(folder, (peft.CONFIG, peft.WEIGHTS))
    peft.write(folder, np.asarray(prompt_PxD, np.float32), said)


def save(
    folder: Path,
    params: Any,
    extra: Extra,
    config: T5Config,
    vocabulary: Vocabulary,
    said: Mapping[str, Any],
) -> list[Path]:
    """Writes what `Method.fold` gives to MODEL_DIR, and returns the files' paths.

    Args:
      params: the weights, or None if they are the frozen model's.
      extra: a prompt [P, D] at PROMPT_PLACE, or what is more than that, or nothing.
    """
    said = {
        **said,
        "ships_model": params is not None,
        "ships_extra": not extra.is_prompt,
    }
    written = []
    if params is not None:
        weights.save_frozen(folder / MODEL, params, config, vocabulary.file, said)
        written.append(folder / MODEL)
    if not extra.is_prompt:
        extras.save_extra(folder / EXTRA, extra, said)
        written.append(folder / EXTRA)
    elif extra.prompt is not None:
        save_prompt(folder / PROMPT, extra.prompt.vectors, said)
        written.append(folder / PROMPT)
    return written


def load_prompt(path: Path) -> np.ndarray:
    """Reads a prompt [P, D] float32 from a .npy or .safetensors file.

    Or from a folder: a run, one step of its checkpoints, PEFT's, or a T5X checkpoint.
    """
    given, said = path, read_description(path)
    if path.is_dir():
        check_one_prompt(path, said)
    names = PROMPT, peft.WEIGHTS
    there = (path / name for name in names if (path / name).exists())
    path = next(there, path)
    prompt = _from_checkpoint(path) if path.is_dir() else _from_file(path)
    if prompt.ndim != 2 or not prompt.size or not np.isfinite(prompt).all():
        finite = "finite" if np.isfinite(prompt).all() else "not finite"
        raise UserError(
            f"{path} holds an array of shape {prompt.shape}, {finite}; a prompt is one "
            "finite array [length, width]"
        )
    check_length(given, said, len(prompt))
    return prompt


def _from_file(path: Path) -> np.ndarray:
    shape = "it must be a .npy or .safetensors file with one array [length, width]"
    with formats.told(f"{path} cannot be read as a prompt", shape):
        try:
            files.regular(path, MOST_BYTES)
        except FileNotFoundError:
            raise UserError(
                f"no prompt file at {path}; give the path of a .npy or .safetensors "
                "file that `train` or `export` wrote"
            ) from None
        if path.suffix == ".safetensors":
            array = _from_safetensors(path)
        else:
            array = _from_npy(path)
        with np.errstate(over="ignore"):  # what overflows is not finite
            return np.asarray(array, np.float32)


def _from_npy(path: Path) -> np.ndarray:
    """An array of numbers; nothing is unpickled."""
    with path.open("rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        zipped = start.startswith(b"PK")
        raise ValueError("it is " + ("an archive, .npz" if zipped else "no .npy file"))
    # Mapped, so that a header that says more than the file holds reserves nothing.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and not array.dtype.names:
        return array.view(jnp.bfloat16)  # which NumPy has no name for
    return array


def _from_safetensors(path: Path) -> np.ndarray:
    if peft.find(path):
        peft.said(path)  # raises for other adapters, which hold several tensors
    ((name, tensor),) = formats.open_file(path).items()
    return peft.encoder_rows(path, name, np.asarray(tensor.read(tensor.all)))


def _from_checkpoint(folder: Path) -> np.ndarray:
    tensors, tensor = {}, None
    with contextlib.suppress(UserError):  # its message is about frozen models
        tensors = formats.open_checkpoint(str(folder))
        tensor = formats.prompt_of(tensors)
    if tensor is not None:
        with _told(folder):
            return np.asarray(tensor.read(tensor.all), np.float32)
    prompt_PxD = _folded(folder, tensors) if tensors else None
    if prompt_PxD is None:
        raise UserError(
            f"{folder} holds no {PROMPT} and is no checkpoint with a prompt; give a "
            "finished run, one step such as checkpoints/400 of ours or T5X's "
            "checkpoint_400, or a file"
        )
    return prompt_PxD


def _told(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Tells what cannot be read in a checkpoint."""
    problem = f"the prompt in {folder} cannot be read"
    return formats.told(problem, "copy the checkpoint again")


def load_tokens(step: Path) -> list[int] | None:
    """The token ids of a step's prompt; None if it is not made of pieces.

    Raises:
      UserError: it cannot be read.
    """
    state = _state(step, formats.open_checkpoint(str(step)))
    if state is None or state.method.tokens is None:
        return None
    return np.asarray(state.method.tokens(state.trained, state.frozen)).tolist()


def _folded(step: Path, tensors: Mapping[str, formats.Tensor]) -> np.ndarray | None:
    """The prompt [P, D] that a step of a run folds to; None if it makes none."""
    state = _state(step, tensors)
    if state is None:
        return None
    with _told(step):
        _, extra = state.method.fold(state.trained, state.frozen)
    return None if extra.prompt is None else np.asarray(extra.prompt.vectors)


class _State(NamedTuple):
    """A step's: what was trained, and the frozen model's embeddings."""

    method: methods.Method
    trained: Any
    frozen: Any


def _state(step: Path, tensors: Mapping[str, formats.Tensor]) -> _State | None:
    """What a step of a run holds; None if that makes no prompt."""
    file, said = step.absolute().parent.parent / "config.gin", read_description(step)
    # A model is not read, but for its embeddings.
    names = [n for n in tensors if not n.startswith(_MODEL) or n.startswith(_TABLE)]
    of_model_alone = said.get("ships_model") and len(names) == len(tensors)
    if not file.is_file() or said.get("ships_extra") or of_model_alone:
        return None
    return _read_state(step, {name: tensors[name] for name in names})


def load_step(step: Path) -> Extra:
    """What a saved state of a run folds to, such as runs/mine/checkpoints/400.

    Raises:
      UserError: it cannot be read.
    """
    state = _read_state(step, formats.open_checkpoint(str(step)))
    with _told(step):
        return state.method.fold(state.trained, state.frozen)[1]


MEAN = "mean"  # of all tasks' prompts


def load_task(
    step: Path, said: Mapping[str, Any], task: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """The prompt [P, D] of one task of a run that has one for each, and what it says.

    Args:
      step: a saved state, such as runs/mine/checkpoints/400.
      said: the run's description.
      task: a task's name; or MEAN, a prompt for another task to start from.

    Raises:
      UserError: the run has no such prompt; the state cannot be read.
    """
    tasks = said.get("tasks") or {}
    if task not in (*tasks, *([MEAN] if tasks else [])):
        there = ", ".join(tasks)
        raise UserError(
            f"--task is {task!r}, but the run in {step.parent.parent} has "
            + (
                f"prompts for {there}: give one of these, or mean"
                if tasks
                else "one prompt for whatever it was trained on: leave --task out"
            )
        )
    bank = load_step(step).bank
    assert bank is not None
    prompts_KxPxD = np.asarray(bank.vectors)
    of_all = "tasks", "ships_extra", "score"
    own = {name: x for name, x in said.items() if name not in of_all}
    if task in tasks:
        own |= {"task": task, "label_words": tasks[task]}
        return prompts_KxPxD[[*tasks].index(task)], own
    return prompts_KxPxD.mean(axis=0), own | {"mean_of": [*tasks]}


def _read_state(step: Path, tensors: Mapping[str, formats.Tensor]) -> _State:
    """The trained tree of a step of a run, and the run's method."""
    settings = config.load([str(step.absolute().parent.parent / "config.gin")])
    name, said = settings.run.initial_checkpoint_path, read_description(step)

    # The frozen model's file is read only if the method asks for its embeddings.
    def embeddings() -> dict[str, np.ndarray]:
        check_model(step, said, weights.fingerprint(name), name)
        return {"embedding": weights.embeddings(name)}

    frozen = collections.defaultdict(embeddings)
    with _told(step):
        trained = {
            name.removeprefix(_TRAINED): tensor.read(tensor.all)
            for name, tensor in tensors.items()
            if name.startswith(_TRAINED)
        }
        tree = traverse_util.unflatten_dict(trained, sep="/")
        return _State(methods.of(settings), tree, frozen)


_TRAINED, _MODEL = "trained/", "trained/params/"
_TABLE = f"{_MODEL}token_embedder/"
