"""Folders of PEFT's prompts: adapter_config.json and adapter_model.safetensors.

The latter has one float32 tensor, prompt_embeddings [submodules x P, D]. By default
PEFT makes two submodules of a T5, encoder and decoder in this order, but uses and
trains the first P rows alone. The prompt stands in front of the input.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.exchange import names
from prompt_tuning.outputs import atomic, write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TENSOR = "prompt_embeddings"
# Kinds whose tensor is what stands in front of the input; P-tuning saves what its
# encoder makes.
_KINDS = "PROMPT_TUNING", "P_TUNING"
TASK = "SEQ_2_SEQ_LM"


def find(path: Path) -> Path | None:
    """The tensor's file, if `path` is a folder of PEFT's or that file in one."""
    file = path / WEIGHTS if path.is_dir() else path
    is_theirs = file.name == WEIGHTS and os.path.lexists(file.with_name(CONFIG))
    return file if is_theirs else None


def said(file: Path) -> dict[str, Any]:
    """What adapter_config.json beside a file says, by our descriptions' names.

    Raises:
      UserError: it is damaged, or describes another kind of adapter.
    """
    about = _read(file.with_name(CONFIG))
    base = about.get("base_model_name_or_path")
    return {
        "method": "prompt",
        "place": "prefix",
        "length": about["num_virtual_tokens"],
    } | ({"frozen_model": base} if isinstance(base, str) and base else {})


def encoder_rows(path: Path, name: str, rows: np.ndarray) -> np.ndarray:
    """The prompt [P, D] in a safetensors file: all its rows, except in PEFT's.

    Args:
      name: the tensor's name.

    Raises:
      UserError: it is PEFT's tensor, and adapter_config.json is not beside it or is of
        something else.
    """
    beside = path.with_name(CONFIG)
    if not os.path.lexists(beside):
        if name != TENSOR:
            return rows
        raise UserError(
            f"{path} is PEFT's, which may hold rows for the decoder too, and "
            f"{CONFIG}, which says how many are the prompt, is not beside it: copy "
            "that too"
        )
    about = _read(beside)
    length, width = about["num_virtual_tokens"], about.get("token_dim")
    if width is not None and rows.ndim == 2 and rows.shape[1] != width:
        raise UserError(
            f"{path} holds rows of {rows.shape[1]}, but {CONFIG} beside it says "
            f"token_dim {width!r}; copy both again"
        )
    if len(rows) == length:
        return rows
    if about.get("num_transformer_submodules") == 2 and len(rows) == 2 * length:
        print(
            f"{path} holds {2 * length} rows, PEFT's for encoder and decoder; the "
            f"encoder's {length} are taken",
            file=sys.stderr,
        )
        return rows[:length]
    raise UserError(
        f"{path} holds {len(rows)} rows, but {CONFIG} beside it says "
        f"num_virtual_tokens {length}; copy both again"
    )


def _read(path: Path) -> dict[str, Any]:
    about = files.read_json(path, "copy it again")
    about = about if isinstance(about, dict) else {}
    for key, known in (("peft_type", _KINDS), ("task_type", (TASK,))):
        if about.get(key) not in (None, *known):
            raise UserError(
                f"{path} says {key} {str(about[key])[:80]!r}; only a prompt in front "
                f"of a T5's input can be read ({key} {' or '.join(known)})"
            )
    length = about.get("num_virtual_tokens")
    if type(length) is not int or length < 1:
        raise UserError(
            f"{path} says num_virtual_tokens {length!r}; it must be the prompt's "
            "length, as PEFT writes it: copy it again"
        )
    return about


def write(folder: Path, prompt_PxD: np.ndarray, about: Mapping[str, Any]) -> None:
    """Writes a prompt [P, D] so that PeftModel.from_pretrained loads it.

    Our own description goes into the tensor's file, which PEFT replaces as a whole.

    Raises:
      UserError: the prompt's place is not the input's front, where PEFT puts it.
    """
    place = names.place(about, about.get("place") or "prefix")
    if place != "prefix":
        raise UserError(
            f"PROMPT_PLACE of this prompt is {place!r}, but PEFT puts one in "
            "front of the input: its answers there would be others; train one with "
            "PROMPT_PLACE=prefix"
        )
    length, width = prompt_PxD.shape
    config = {
        "base_model_name_or_path": about.get("frozen_model"),
        "inference_mode": True,
        # PEFT fills in what is None by the model that it is given.
        "num_attention_heads": None,
        "num_layers": None,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": length,
        "peft_type": _KINDS[0],
        "prompt_tuning_init": "RANDOM",
        "task_type": TASK,
        "token_dim": width,
    }
    texts = {key: json.dumps(value) for key, value in about.items()}
    tensors = {TENSOR: np.ascontiguousarray(prompt_PxD, np.float32)}
    with atomic(folder / WEIGHTS) as temporary:
        safetensors.save_file(tensors, temporary, {"format": "pt"} | texts)
    write_json(folder / CONFIG, config)
