"""Folders of PEFT's LoRA and IA3 for a T5: what is more than a prompt, as PEFT has it.

Its tensors lie in each layer, ours are of all layers of a stack; kernels are [out, in]
there. LoRA's product is multiplied by lora_alpha / r. What PEFT has for a T5 besides is
refused: its prefix tuning puts keys in front of the decoder's alone, ours in front of
the encoder's too.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import numpy as safetensors

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.exchange.names import EXTRA
from prompt_tuning.exchange.peft import CONFIG, TASK, WEIGHTS
from prompt_tuning.frozen import formats
from prompt_tuning.outputs import atomic, write_json

# Where the parts of a layer are.
_PARTS = {
    "encoder": {"self_attention": "0.SelfAttention", "mlp": "1.DenseReluDense"},
    "decoder": {
        "self_attention": "0.SelfAttention",
        "cross_attention": "1.EncDecAttention",
        "mlp": "2.DenseReluDense",
    },
}


class Kind(NamedTuple):
    """A kind of adapter that is read and written.

    method: METHOD here. places: {an array of ours: the name of a layer's, with {} for
    the layer}. into, back: a layer's array of ours as theirs, and theirs as ours.
    config: what adapter_config.json says beside what all of them do.
    """

    method: str
    places: Mapping[str, str]
    into: Callable[[str, np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    config: Mapping[str, Any]


def _place(stack: str, part: str, inside: str) -> str:
    block = f"base_model.model.{stack}.block.{{}}"
    return f"{block}.layer.{_PARTS[stack][part]}.{inside}"


_ATTENTIONS = [(s, part) for s, own in _PARTS.items() for part in own if part != "mlp"]
_LORA = {
    f"{stack}.{part}.{kernel}.{ours}": _place(
        stack, part, f"{kernel[0]}.{their}.weight"
    )
    for stack, part in _ATTENTIONS
    for kernel in ("query", "value")
    for ours, their in (("down", "lora_A"), ("up", "lora_B"))
}
_IA3 = {
    f"{stack}.{part}.{kind}_scale": _place(stack, part, f"{kind[0]}.ia3_l")
    for stack, part in _ATTENTIONS
    for kind in ("key", "value")
} | {f"{stack}.mlp_scale": _place(stack, "mlp", "wo.ia3_l") for stack in _PARTS}
KINDS = {
    "LORA": Kind(
        "lora",
        _LORA,
        lambda _, x: x.T,
        lambda x: x.T,
        {
            "target_modules": ["q", "v"],
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
        },
    ),
    "IA3": Kind(
        "ia3",
        _IA3,
        # Factors of a module's output are a column, of its input a row.
        lambda name, x: x[None] if name.endswith("mlp_scale") else x[:, None],
        lambda x: x.reshape(-1),
        {
            "target_modules": ["k", "v", "wo"],
            "feedforward_modules": ["wo"],
            "fan_in_fan_out": False,
        },
    ),
}
# Options of PEFT's that change what an adapter does, and are not read.
_UNREAD = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save")
_UNREAD += ("fan_in_fan_out", "lora_bias", "layer_replication")


def write(
    folder: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes a method's arrays so that PeftModel.from_pretrained loads them.

    Args:
      arrays: by the names of extras.py, such as encoder.self_attention.query.down.
      about: the description, which goes into the tensors' file.

    Raises:
      UserError: PEFT has no adapter for a T5 that holds them.
    """
    name = next((n for n, k in KINDS.items() if arrays.keys() <= k.places.keys()), None)
    if name is None:
        raise UserError(_not_held(arrays, about))
    kind = KINDS[name]
    tensors = {
        kind.places[ours].format(layer): np.ascontiguousarray(kind.into(ours, x))
        for ours, array in arrays.items()
        for layer, x in enumerate(np.asarray(array, np.float32))
    }
    config = {
        "base_model_name_or_path": about.get("frozen_model"),
        "inference_mode": True,
        "peft_type": name,
        "task_type": TASK,
        **kind.config,
    }
    if name == "LORA":  # our alpha is in `up` already
        rank = next(x.shape[-1] for n, x in arrays.items() if n.endswith("down"))
        config |= {"r": rank, "lora_alpha": rank}
    texts = {key: json.dumps(value) for key, value in about.items()}
    with atomic(folder / WEIGHTS) as temporary:
        safetensors.save_file(tensors, temporary, {"format": "pt"} | texts)
    write_json(folder / CONFIG, config)


def _not_held(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    known = {name for kind in KINDS.values() for name in kind.places}
    other = next((name for name in arrays if name not in known), min(arrays))
    why = f"no adapter of PEFT's puts {other} into a T5"
    if "prompt_weights" in arrays:
        why = "no adapter of PEFT's is a mixture of several prompts"
    if "encoder.keys" in arrays:
        why = (
            "PEFT's prefix stands in front of a T5 decoder's keys alone, and this one "
            "in front of the encoder's too"
        )
    return (
        f"METHOD of this run is {about.get('method')}, and {why}: take {EXTRA} and its "
        "JSON of the finished run as they are"
    )


def of(file: Path) -> str | None:
    """The kind of adapter, "LORA" or "IA3", that a file of PEFT's holds; else None."""
    found = files.read_json(file.with_name(CONFIG), "copy it again")
    kind = found.get("peft_type") if isinstance(found, dict) else None
    return kind if kind in KINDS else None


def said(file: Path) -> dict[str, Any]:
    """What adapter_config.json beside a file says, by our descriptions' names.

    Raises:
      UserError: it is damaged, of another task, or asks for what is not done here.
    """
    about = files.read_json(file.with_name(CONFIG), "copy it again")
    kind = KINDS[about["peft_type"]]
    found: dict[str, Any] = {"method": kind.method, "ships_extra": True}
    _check(file, about)
    if about["peft_type"] == "LORA":
        rank, alpha = about["r"], float(about["lora_alpha"])
        found["options"] = {"lora.rank": rank, "lora.alpha": alpha}
    base = about.get("base_model_name_or_path")
    return found | ({"frozen_model": base} if isinstance(base, str) and base else {})


def _check(file: Path, about: Mapping[str, Any]) -> None:
    path, task = file.with_name(CONFIG), about.get("task_type")
    unread = [name for name in _UNREAD if about.get(name)]
    unread += ["bias"] * (about.get("bias") not in (None, "none"))
    if task not in (None, TASK) or unread:
        name = unread[0] if unread else "task_type"
        raise UserError(
            f"{path} says {name} {str(about[name])[:80]!r}; only plain "
            f"{about['peft_type']} of a T5 is read ({TASK}, without that)"
        )
    if about["peft_type"] != "LORA":
        return
    for name, kinds in (("r", int), ("lora_alpha", (int, float))):
        value = about.get(name)
        if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
            raise UserError(
                f"{path} says {name} {value!r}; it must be a number above 0, as PEFT "
                "writes it: copy it again"
            )


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays in a file of PEFT's, by the names of extras.py.

    Raises:
      UserError: it holds what is not read here, or not all layers alike.
    """
    about = files.read_json(file.with_name(CONFIG), "copy it again")
    _check(file, about)
    kind = KINDS[about["peft_type"]]
    tensors = {n: np.asarray(x.read(x.all)) for n, x in formats.open_file(file).items()}
    found = {}
    for ours, place in kind.places.items():
        names = itertools.takewhile(
            tensors.__contains__, map(place.format, itertools.count())
        )
        if layers := [kind.back(tensors.pop(name)) for name in names]:
            found[ours] = np.stack(layers).astype(np.float32)
    if tensors or len({len(x) for n, x in found.items() if n.startswith("enc")}) > 1:
        other = min(tensors, default="layers that others have not")
        raise UserError(
            f"{file} holds {other}; of {about['peft_type']} what is read is "
            f"{' and '.join(kind.config['target_modules'])} of every layer"
        )
    if about["peft_type"] == "LORA":
        scale = about["lora_alpha"] / about["r"]
        found |= {n: scale * x for n, x in found.items() if n.endswith("up")}
    return found
