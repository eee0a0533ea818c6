"""What a method puts into the network that is more than a prompt, as one file.

Its arrays are named as the fields of t5/extra.py, such as encoder.mlp_adapter.down, so
that the file alone says what goes where.
"""

import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.exchange import peft, peft_extras
from prompt_tuning.exchange.names import EXTRA, MOST_BYTES
from prompt_tuning.frozen import formats
from prompt_tuning.outputs import atomic, check_own_folder, write_json
from prompt_tuning.t5.extra import Extra


def save_extra(path: Path, extra: Extra, said: Mapping[str, Any]) -> None:
    """Writes its arrays as a .safetensors file, and its description as JSON."""
    arrays = {name: np.ascontiguousarray(value) for name, value in _named(extra)}
    metadata = {key: json.dumps(value) for key, value in said.items()}
    with atomic(path) as temporary:
        safetensors.save_file(arrays, temporary, metadata)
    write_json(path.with_suffix(".json"), said)


def save_peft_extra(folder: Path, extra: Extra, said: Mapping[str, Any]) -> None:
    """Writes it as a folder that PeftModel.from_pretrained loads.

    Raises:
      UserError: PEFT has no adapter that holds it; something else is in the folder.
    """
    arrays = {name: np.asarray(value) for name, value in _named(extra)}
    check_own_folder(folder, (peft.CONFIG, peft.WEIGHTS))
    peft_extras.write(folder, arrays, said)


def find_extra(path: Path) -> Path | None:
    """The file in the folder of a finished run, or the file itself; None if no such.

    Or that of a folder of PEFT's LoRA or IA3.
    """
    theirs = peft.find(path)
    if theirs and theirs.is_file() and peft_extras.of(theirs):
        return theirs
    found = path / EXTRA if path.is_dir() else path
    return found if found.name == EXTRA and found.is_file() else None


def load_extra(path: Path) -> Extra:
    """Reads what `save_extra` wrote, or PEFT.

    Raises:
      UserError: it is not whole, or holds what the network has no place for.
    """
    with formats.told(
        f"{path} cannot be read", "copy it again from where it came from"
    ):
        files.regular(path, MOST_BYTES)
        if path.name == peft.WEIGHTS:
            arrays = peft_extras.read(path)
        else:
            tensors = formats.open_file(path)
            arrays = {name: np.asarray(x.read(x.all)) for name, x in tensors.items()}
        extra = _built(Extra, arrays)
    unread = arrays.keys() - dict(_named(extra)).keys()
    wrong = [name for name, x in arrays.items() if not np.isfinite(x).all()]
    if unread or wrong or not arrays:
        found = f"{min(unread)}, which has no place" if unread else "no arrays"
        found = f"values of {wrong[0]} that are not finite" if wrong else found
        raise UserError(
            f"{path} holds {found} in the network; take the file that a run wrote"
        )
    return extra


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays in NamedTuples, by their fields."""
    if hasattr(value, "_asdict"):
        for field, own in value._asdict().items():
            yield from _named(own, f"{name}.{field}".strip("."))
    elif value is not None:
        yield name, np.asarray(value)


def _built(kind: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A NamedTuple with the arrays that its fields name.

    Raises:
      TypeError: a part of it lacks what it needs.
    """
    made = {}
    for field, hint in typing.get_type_hints(kind).items():
        parts = typing.get_args(hint) or (hint,)
        inner = next((part for part in parts if hasattr(part, "_fields")), None)
        inside = f"{field}."
        own = {
            name.removeprefix(inside): value
            for name, value in arrays.items()
            if name.startswith(inside)
        }
        if inner and own:
            made[field] = _built(inner, own)
        elif field in arrays and not inner:
            made[field] = arrays[field]
    return kind(**made)
