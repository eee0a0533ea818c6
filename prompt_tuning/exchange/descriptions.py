"""What a prompt says of itself: written beside it as JSON, checked where it is used."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

import prompt_tuning
from prompt_tuning import config, files
from prompt_tuning.errors import UserError
from prompt_tuning.exchange import peft, peft_extras
from prompt_tuning.exchange.names import DESCRIPTION, MOST_BYTES
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.outputs import warn
from prompt_tuning.settings import MOST_TOKENS, Settings
from prompt_tuning.training import own_data


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
        "options": _options(settings) or None,
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
        "decoding": run.decoding,
        "wayward_text": settings.wayward.text or None,
        "wayward_weight": settings.wayward.weight if settings.wayward.text else None,
        "seed": run.seed,
        "prompt_tuning": prompt_tuning.__version__,
    }


def _options(settings: Settings) -> dict[str, Any]:
    """The options of the run's method, by the names that users type."""
    own = f"{settings.run.method}."
    named = config.named(settings).items()
    return {name: value for name, value in named if name.startswith(own)}


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
    "DECODING": "decoding",
}


def said_settings(said: Mapping[str, Any]) -> list[str]:
    """A description's settings as `NAME=VALUE`, to be read before the user's own."""
    named = {name: said.get(key) for name, key in _SETTINGS.items()}
    named |= said.get("options") or {}
    return [f"{name}={value!r}" for name, value in named.items() if value is not None]


def check_settings(path: Path, said: Mapping[str, Any], settings: Settings) -> None:
    """Raises UserError if the settings contradict a prompt's description.

    The task may be another one: that is zero-shot transfer.
    """
    made = {
        name: said.get(_SETTINGS[name])
        for name in ("METHOD", "PROMPT_PLACE", "PROMPT_LENGTH")
    } | (said.get("options") or {})
    named = config.named(settings)
    for name, its in made.items():
        value = named.get(name)
        value = list(value) if isinstance(value, tuple) else value
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
    check_model(path, said, frozen_model, name)
    if said.get("vocabulary_fingerprint") not in (None, vocabulary.fingerprint()):
        raise UserError(
            f"{path} was trained with another vocabulary than "
            f"{vocabulary.file or 'bytes'}: give VOCABULARY the one it was trained with"
        )


def check_model(
    path: Path, said: Mapping[str, Any], fingerprint: str, name: str
) -> None:
    """Raises UserError if a prompt was trained on another model than `name`.

    Args:
      fingerprint: of the model `name`.
    """
    if said.get("frozen_fingerprint") not in (None, fingerprint):
        raise UserError(
            f"{path} was trained on {said.get('frozen_model')} (fingerprint "
            f"{said['frozen_fingerprint'][:12]}), but the frozen model {name} is "
            f"another ({fingerprint[:12]}): give INITIAL_CHECKPOINT_PATH the model "
            "that the prompt was trained on"
        )


def check_width(path: Path, its: int, *, name: str, width: int) -> None:
    """Raises UserError if a prompt is of another width than the frozen model `name`."""
    if its != width:
        raise UserError(
            f"the prompt {path} is {its} wide, but {name} needs {width}: give the "
            "frozen model that the prompt was trained on, or another prompt"
        )


def check_length(path: Path, said: Mapping[str, Any], length: int) -> None:
    """Raises UserError if a prompt's description says another length."""
    if said.get("length") not in (None, length):
        raise UserError(
            f"{path} says that its length is {said['length']}, but it holds {length} "
            "vectors: copy both again from where they came from"
        )
    if not 0 <= (said.get("in_front") or 0) <= length:
        raise UserError(
            f"{path} says that {said['in_front']} vectors stand in front of the input, "
            f"but it holds {length}: copy both again from where they came from"
        )


def check_start(path: Path, said: Mapping[str, Any], place: str) -> None:
    """Raises UserError where a prompt to start from stood in another place."""
    if said.get("in_front") is not None:
        raise UserError(
            f"the prompt to start from, {path}, stands where a template said, but "
            f"PROMPT_PLACE is {place!r}: take another one"
        )
    if said.get("place") not in (None, place):
        raise UserError(
            f"PROMPT_PLACE is {place!r}, but the prompt to start from, {path}, says "
            f"{said['place']!r}: set PROMPT_PLACE to that, or take another PROMPT_FILE"
        )


def check_one_prompt(path: Path, said: Mapping[str, Any]) -> None:
    """Raises UserError for a run that has a prompt for each of several tasks."""
    if names := [*(said.get("tasks") or {})]:
        raise UserError(
            f"{path} has a prompt for each of {', '.join(names)}: write one of them "
            f"with `prompt-tuning export --gin.MODEL_DIR={path} --task={names[0]} "
            "--output=FILE`, and take that"
        )


def read_description(path: Path) -> dict[str, Any]:
    """The description of a prompt's file or folder, a run or a step of it, or {}.

    A .safetensors file without its JSON says it in its metadata; what PEFT wrote says
    less, in adapter_config.json.

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
                _check_same_prompt(place, found, path)
                return _checked(place, found)
            warn(f"{place} does not describe {path}: it holds no names and values")
            return {}
    if theirs := peft.find(path):
        of_kind = peft_extras if peft_extras.of(theirs) else peft
        return _checked(path, of_kind.said(theirs) | _metadata(theirs))
    return _checked(path, _metadata(path)) if path.suffix == ".safetensors" else {}


# What a prompt's own metadata says as its JSON does.
_OF_ONE_PROMPT = "method", "length", "width", "place", "seed", "step"
_OF_ONE_PROMPT += "frozen_fingerprint", "vocabulary_fingerprint"


def _check_same_prompt(place: Path, found: Mapping[str, Any], path: Path) -> None:
    """Raises UserError if the JSON beside a .safetensors file is another prompt's."""
    inside = _metadata(path) if path.suffix == ".safetensors" else {}
    for key in _OF_ONE_PROMPT:
        its, own = found.get(key), inside.get(key)
        if None not in (its, own) and its != own:
            raise UserError(
                f"{place} says {key} {its!r}, but {path} itself says {own!r}: it "
                "describes another prompt; remove it, or give this one another name"
            )


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
    "wayward_text": str,
    "target_length": int,
    "ships_model": bool,
    "in_front": int,
    "ships_extra": bool,
    "options": dict,
    "tokens": list,
    "text": str,
    "text_tokens": list,
    "tasks": dict,
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
    words = (found.get("tasks") or {}).values() if not wrong else ()
    if not all(own is None or type(own) is list for own in words):
        wrong = ["tasks"]
    own = f"{found.get('method')}."
    if not wrong and not all(x.startswith(own) for x in found.get("options") or {}):
        wrong = ["options"]
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
    inside = [path / f"{name}.json" for name in ("prompt", "model", "extra")]
    if path.parent.name == "checkpoints":  # a step of a run
        inside.append(path.parents[1] / DESCRIPTION)
    return [*inside, path / DESCRIPTION]
