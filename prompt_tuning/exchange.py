"""What training ships: a prompt's or a model's file, and its description.

A prompt is a .npy or .safetensors file [P, D] with a JSON of the same name beside it,
its description: the method and its options, the frozen model, the vocabulary, the task
and what is needed to predict with it, the score. Code that uses a prompt takes settings
from the description (`said_settings`) and checks what it loads against it (`check`).
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

import prompt_tuning
from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.outputs import atomic, warn, write_json
from prompt_tuning.settings import MOST_TOKENS, Settings, T5Config
from prompt_tuning.training import own_data

PROMPT, MODEL = "prompt.npy", "model.safetensors"  # in MODEL_DIR
PEFT = "adapter_model.safetensors"  # in a folder of PEFT's
MOST_BYTES = 2**30  # of a prompt's file; 100 vectors of the largest T5 have 2 MB
DESCRIPTION = "description.json"  # written when a run starts


# Descriptions


def description(
    settings: Settings,
    *,
    frozen_model: str,
    vocabulary: Vocabulary,
    label_words: tuple[str, ...] | None,
    target_length: int,
    width: int,
) -> dict[str, Any]:
    """How a prompt is made, for the JSON beside it; `step` and `score` come later.

    Args:
      frozen_model: the frozen model's fingerprint (weights.fingerprint).
      label_words: what the model writes for each label; None if the task has none.
      target_length: tokens of the longest answer, EOS included.
      width: D.
    """
    run = settings.run
    name, module = run.mixture_or_task_name, run.mixture_or_task_module
    return {
        "method": run.method,
        "frozen_model": _whole_path(run.initial_checkpoint_path),
        "frozen_fingerprint": frozen_model,
        "vocabulary": run.vocabulary and _whole_path(run.vocabulary),
        "vocabulary_fingerprint": vocabulary.fingerprint(),
        "task": _whole_path(name) if own_data.is_own(name) else name,
        "module": module if isinstance(module, str) else " ".join(module),
        "data_dir": run.data_dir and _whole_path(run.data_dir),
        "tfds_data_dir": run.tfds_data_dir and _whole_path(run.tfds_data_dir),
        "inputs": run.inputs,
        "targets": run.targets,
        "label_words": label_words and list(label_words),
        "target_length": target_length,
        "length": run.prompt_length,
        "width": width,
        "init": run.prompt_init,
        "place": run.prompt_place,
        "seed": run.seed,
        "prompt_tuning": prompt_tuning.__version__,
    }


def _whole_path(name: str) -> str:
    """The absolute path of an existing file or folder; any other name is kept."""
    return str(Path(name).absolute()) if Path(name).exists() else name


# The settings that a description holds, and its names for them.
_SETTINGS = {
    "METHOD": "method",
    "INITIAL_CHECKPOINT_PATH": "frozen_model",
    "VOCABULARY": "vocabulary",
    "MIXTURE_OR_TASK_NAME": "task",
    "MIXTURE_OR_TASK_MODULE": "module",
    "DATA_DIR": "data_dir",
    "TFDS_DATA_DIR": "tfds_data_dir",
    "INPUTS": "inputs",
    "TARGETS": "targets",
    "PROMPT_LENGTH": "length",
    "PROMPT_PLACE": "place",
}


def said_settings(said: Mapping[str, Any]) -> list[str]:
    """A description's settings as `NAME=VALUE`, to be read before the user's own."""
    return [
        f"{name}={said[key]!r}"
        for name, key in _SETTINGS.items()
        if said.get(key) is not None
    ]


def check_settings(path: Path, said: Mapping[str, Any], settings: Settings) -> None:
    """Raises UserError if the settings contradict a prompt's description.

    The task may be another one: that is zero-shot transfer.
    """
    for name in ("METHOD", "PROMPT_PLACE", "PROMPT_LENGTH"):
        value, its = getattr(settings.run, name.lower()), said.get(_SETTINGS[name])
        if its is not None and value != its:
            raise UserError(
                f"{name} is {value!r}, but {path} says {its!r}: leave {name} out, or "
                "take another prompt"
            )


def check(
    path: Path,
    said: Mapping[str, Any],
    *,
    frozen_model: str,
    name: str,
    vocabulary: Vocabulary,
) -> None:
    """Raises UserError if a prompt was trained on another model or vocabulary.

    Args:
      frozen_model: the fingerprint of the model in use.
      name: its name, for messages.
    """
    if said.get("frozen_fingerprint") not in (None, frozen_model):
        raise UserError(
            f"{path} was trained on {said.get('frozen_model')} (fingerprint "
            f"{said['frozen_fingerprint'][:12]}), but the frozen model {name} is "
            f"another ({frozen_model[:12]}): give INITIAL_CHECKPOINT_PATH the model "
            "that the prompt was trained on"
        )
    if said.get("vocabulary_fingerprint") not in (None, vocabulary.fingerprint()):
        raise UserError(
            f"{path} was trained with another vocabulary than "
            f"{vocabulary.file or 'bytes'}: give VOCABULARY the one it was trained with"
        )


def check_start(path: Path, said: Mapping[str, Any], place: str) -> None:
    """Raises UserError where a prompt to start from stood in another place."""
    if said.get("place") not in (None, place):
        raise UserError(
            f"PROMPT_PLACE is {place!r}, but the prompt to start from, {path}, says "
            f"{said['place']!r}: set PROMPT_PLACE to that, or take another PROMPT_FILE"
        )


def read_description(path: Path) -> dict[str, Any]:
    """The description of a prompt's file, a run's folder or a step of it, or {}.

    A .safetensors file without its JSON says it in its metadata.

    Raises:
      UserError: its JSON is damaged.
    """
    for place in _description_places(path):
        if os.path.lexists(place):
            mend = (
                "it describes the prompt beside it: copy it again from where the "
                "prompt came from, or remove it"
            )
            found = files.read_json(place, mend)
            if isinstance(found, dict):
                return _checked(place, found)
            warn(f"{place} does not describe {path}: it holds no names and values")
            return {}
    return _checked(path, _metadata(path)) if path.suffix == ".safetensors" else {}


def _metadata(path: Path) -> dict[str, Any]:
    """A description by the metadata of a file; {} if there is none to be read."""
    try:
        files.regular(path, MOST_BYTES)
        texts = safe_open(path, framework="numpy").metadata() or {}
    except (OSError, SafetensorError):  # load_prompt says so
        return {}
    return {key: _from_json(text) for key, text in texts.items()}


def _from_json(text: str) -> Any:
    try:
        return files.parse_json(text)
    except ValueError:  # 0.1.0 wrote texts as they are
        return text


# What is read of a description, and of which type it is.
_TYPES = dict.fromkeys(_SETTINGS.values(), str) | {
    "length": int,
    "frozen_fingerprint": str,
    "vocabulary_fingerprint": str,
    "label_words": list,
    "target_length": int,
    "ships_model": bool,
}


def _checked(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    wrong = [
        key
        for key, kind in _TYPES.items()
        if found.get(key) is not None and type(found[key]) is not kind
    ]
    words, length = found.get("label_words"), found.get("target_length")
    if not wrong and words and not all(isinstance(word, str) for word in words):
        wrong = ["label_words"]
    if not wrong and length is not None and not 1 <= length <= MOST_TOKENS:
        wrong = ["target_length"]
    if wrong:
        raise UserError(
            f"{path} says {wrong[0]} {str(found[wrong[0]])[:80]!r}, which makes no "
            "sense; take it from where the prompt came from, or remove it"
        )
    paths = {key: found[key] for key in _PATHS if found.get(key)}
    return found | {key: _found_path(path, name) for key, name in paths.items()}


# What a description says that may be a path.
_PATHS = "frozen_model", "vocabulary", "task", "data_dir", "tfds_data_dir"


def _found_path(description: Path, name: str) -> str:
    """A relative path from the folder of the description, or from one that holds that.

    Where a run was started is not known: in such a folder, most often.
    """
    path = Path(name)
    named = "/" not in name and not path.suffix  # a packaged model, or a task
    if named or "://" in name or path.is_absolute() or path.exists():
        return name
    folders = Path(os.path.abspath(description)).parents
    return next((str(f / path) for f in folders if (f / path).exists()), name)


def _description_places(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path.with_suffix(".json")]
    inside = [path / PROMPT.replace(".npy", ".json"), path / "model.json"]
    if path.parent.name == "checkpoints":  # a step of a run
        inside.append(path.parents[1] / DESCRIPTION)
    return [*inside, path / DESCRIPTION]


# Prompts


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


def save(
    folder: Path,
    params: Any,
    prompt_PxD: Any,
    config: T5Config,
    vocabulary: Vocabulary,
    said: Mapping[str, Any],
) -> list[Path]:
    """Writes what `Method.fold` gives to MODEL_DIR, and returns the files' paths.

    Args:
      params: the weights, or None if they are the frozen model's.
      prompt_PxD: the prompt, or None if there is none.
    """
    said = {**said, "ships_model": params is not None}
    written = []
    if params is not None:
        weights.save_frozen(folder / MODEL, params, config, vocabulary.file, said)
        written.append(folder / MODEL)
    if prompt_PxD is not None:
        save_prompt(folder / PROMPT, prompt_PxD, said)
        written.append(folder / PROMPT)
    return written


def load_prompt(path: Path) -> np.ndarray:
    """Reads a prompt [P, D] float32 from a .npy or .safetensors file.

    Or from a folder: a run, one step of its checkpoints, or a T5X checkpoint.
    """
    there = (path / name for name in (PROMPT, PEFT) if (path / name).exists())
    path = next(there, path)
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
        files.regular(path, MOST_BYTES)
        if path.suffix == ".safetensors":
            array = _first_of_two(path, _from_safetensors(path))
        else:
            array = _from_npy(path)
        with np.errstate(over="ignore"):  # what overflows is not finite
            return np.asarray(array, np.float32)
    except FileNotFoundError:
        raise UserError(
            f"no prompt file at {path}; give the path of a .npy or .safetensors file "
            "that `train` or `export` wrote"
        ) from None
    except formats.READ_ERRORS as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read as a prompt ({formats.first_line(error)}); it must "
            "be a .npy or .safetensors file with one array [length, width]"
        ) from None


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
    (tensor,) = formats.open_file(path).values()
    return np.asarray(tensor.read(tensor.all))


def _first_of_two(path: Path, prompt_PxD: np.ndarray) -> np.ndarray:
    """Of PEFT's prompts for encoder and decoder, in this order, the encoder's."""
    beside = path.with_name("adapter_config.json")
    if not os.path.lexists(beside):
        return prompt_PxD
    about = files.read_json(beside, "copy it again")
    about = about if isinstance(about, dict) else {}
    length, parts = (
        about.get(f"num_{name}")
        for name in ("virtual_tokens", "transformer_submodules")
    )
    if type(length) is not int or length < 1:
        raise UserError(
            f"{beside} says num_virtual_tokens {length!r}; it must be the prompt's "
            "length, as PEFT writes it: copy it again"
        )
    if len(prompt_PxD) == length:
        return prompt_PxD
    if parts == 2 and len(prompt_PxD) == 2 * length:
        print(
            f"{path} holds {2 * length} rows, PEFT's for encoder and decoder; the "
            f"encoder's {length} are taken",
            file=sys.stderr,
        )
        return prompt_PxD[:length]
    raise UserError(
        f"{path} holds {len(prompt_PxD)} rows, but {beside.name} beside it says "
        f"num_virtual_tokens {length}; copy both again"
    )


def _from_checkpoint(folder: Path) -> np.ndarray:
    tensor = None
    with contextlib.suppress(UserError):  # its message is about frozen models
        tensor = formats.prompt_of(formats.open_checkpoint(str(folder)))
    if tensor is None:
        raise UserError(
            f"{folder} holds no {PROMPT} and is no checkpoint with a prompt; give a "
            "finished run, one step such as checkpoints/400 of ours or T5X's "
            "checkpoint_400, or a file"
        )
    try:
        return np.asarray(tensor.read(tensor.all), np.float32)
    except formats.READ_ERRORS as error:
        raise UserError(
            f"the prompt in {folder} cannot be read ({formats.first_line(error)}); "
            "copy the checkpoint again"
        ) from None
