"""The config.json that transformers has beside a T5: reads and writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.settings import T5Config

NAME = "config.json"


class Said(NamedTuple):
    """A T5Config field's value; and by whom it is said, in words for a message."""

    value: Any
    by: str


def read(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      UserError: it is damaged.
    """
    content = files.read_json(path, "copy it again")
    if not isinstance(content, dict):
        raise UserError(
            f"{path} cannot be read (it holds {type(content).__name__}, not names and "
            "values); copy it again"
        )
    return content


# Our fields by transformers' names.
_SIZES = {
    "vocab_size": "vocab_size",
    "d_model": "emb_dim",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "d_ff": "mlp_dim",
    "num_layers": "num_encoder_layers",
    "num_decoder_layers": "num_decoder_layers",
    "relative_attention_num_buckets": "relpos_buckets",
    "relative_attention_max_distance": "relpos_max_distance",
    "layer_norm_epsilon": "layer_norm_epsilon",
}
# What else is read, and of which type it is.
_TYPES: Mapping[str, Any] = dict.fromkeys(_SIZES, int) | {
    "layer_norm_epsilon": (int, float),
    "model_type": str,
    "architectures": list,
    "feed_forward_proj": str,
    "dense_act_fn": str,
    "is_gated_act": (bool, int),
    "tie_word_embeddings": (bool, int),
    "scale_decoder_outputs": (bool, int),
}
_LEFT_OUT = {"relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6}
_MLP = {"t5": "relu", "mt5": "gated-gelu"}  # if feed_forward_proj is left out
# In transformers "gelu" is exact, but "gated-gelu" means gelu_new.
_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu_exact",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


def described(folder: Path) -> dict[str, Said]:
    """The T5Config fields in `folder`'s config.json, as transformers 5 reads it.

    Fields that are left out have transformers' defaults. Whether the head is tied is
    not taken from here, as transformers 5 says that every T5's is: the tensors tell.

    Raises:
      UserError: the model is not a T5 with encoder, decoder and head; or its activation
        is not one of ours.
    """
    found = read(folder / NAME)
    there = {key: value for key, value in found.items() if value is not None}
    _check_types(folder / NAME, there)
    kind = _checked_kind(folder, there)
    source = f"{NAME} in {folder}"

    def said(value: Any, *keys: str) -> Said:
        key = next((key for key in keys if key in there), keys[-1])
        if key in there:
            return Said(value, f"{source} says {key} {json.dumps(there[key])}")
        return Said(value, f"{source} leaves out {key}, which means {value}")

    full = _LEFT_OUT | {"num_decoder_layers": there.get("num_layers")} | there
    out = {
        field: said(full[key], key)
        for key, field in _SIZES.items()
        if full.get(key) is not None
    }
    activation, gated = _mlp(source, there, _MLP[kind])
    out["activation"] = said(activation, "dense_act_fn", "feed_forward_proj")
    out["gated_mlp"] = said(gated, "is_gated_act", "feed_forward_proj")
    untied = there.get("tie_word_embeddings") is False
    if untied:
        out["tied_head"] = said(False, "tie_word_embeddings")
    if kind == "mt5":
        out["scale_decoder_outputs"] = said(False, "model_type")
    else:
        keys = "scale_decoder_outputs", "tie_word_embeddings"
        out[keys[0]] = said(bool(there.get(keys[0], not untied)), *keys)
    return out


# T5's ids, and what its decoder is given first.
IDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
_OURS = {name: IDS[name] for name in ("pad_token_id", "eos_token_id")}


def written(config: T5Config, dtype: str) -> dict[str, Any]:
    """What config.json says of a T5, for every version of transformers.

    Args:
      dtype: of the weights.
    """
    known = {ours: theirs for theirs, ours in _ACTIVATIONS.items() if theirs != "swish"}
    known["gelu_tanh"] = "gelu_new"
    activation = known[config.activation]
    gate = "gated-" * config.gated_mlp
    # "gated-gelu" means gelu_new there, which "gated-gelu_new" does not in all places.
    named = "gelu" if config.gated_mlp and "gelu" in activation else activation
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "t5",
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        "feed_forward_proj": gate + named,
        "dense_act_fn": activation,
        "is_gated_act": config.gated_mlp,
        # Before version 5 this said whether to scale, too.
        "tie_word_embeddings": config.tied_head,
        "scale_decoder_outputs": config.scale_decoder_outputs,
        "dropout_rate": config.dropout_rate,
        "is_encoder_decoder": True,
        "torch_dtype": dtype,
        **IDS,
    }


def _check_types(path: Path, there: Mapping[str, Any]) -> None:
    for key, kind in _TYPES.items():
        value = there.get(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wrong = not isinstance(value, kinds)
        wrong |= type(value) is bool and bool not in kinds
        if kind is list and isinstance(value, list):
            wrong = not all(isinstance(item, str) for item in value)
        if value is not None and wrong:
            raise UserError(
                f"{path} says {key} {json.dumps(value)[:80]}, which is of another type "
                "than transformers writes; copy it again"
            )


def _mlp(source: str, there: Mapping[str, Any], default: str) -> tuple[str, bool]:
    """Our name of the activation, and whether there is a gate."""
    gate, _, name = there.get("feed_forward_proj", default).rpartition("-")
    if (gate, name) == ("gated", "gelu"):
        name = "gelu_new"
    name = there.get("dense_act_fn", name)
    if name not in _ACTIVATIONS:
        raise UserError(
            f"{source} says that the activation is {name!r}; known are "
            f"{', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name], bool(there.get("is_gated_act", gate == "gated"))


_OTHERS = {
    "umt5": "a UMT5 (model_type umt5), each of whose layers has a position bias",
    "longt5": "a LongT5 (model_type longt5), whose encoder attends locally",
    "switch_transformers": "a Switch Transformer (model_type switch_transformers), "
    "whose MLPs are mixtures of experts",
    "t5gemma": "a T5Gemma (model_type t5gemma), whose layers are Gemma's",
    "t5gemma2": "a T5Gemma 2 (model_type t5gemma2), whose layers are Gemma's",
}
ARCHITECTURE = "T5ForConditionalGeneration"
_ARCHITECTURES = {
    ARCHITECTURE,
    "MT5ForConditionalGeneration",
    "T5WithLMHeadModel",  # its name until 2020
}


def _checked_kind(folder: Path, there: Mapping[str, Any]) -> str:
    """The model_type, t5 or mt5; raises UserError for anything else, naming it."""
    kind = there.get("model_type", "t5")
    found = ""
    if kind not in _MLP:
        found = _OTHERS.get(kind, f"a model that is no T5 (model_type {kind})")
    elif others := set(there.get("architectures", ())) - _ARCHITECTURES:
        found = (
            f"a {min(others)}, which is not encoder, decoder and language-model head"
        )
    elif others := [n for n, i in _OURS.items() if there.get(n, i) not in (i, None)]:
        found = (
            f"a model whose {others[0]} is {there[others[0]]}, not T5's "
            f"{_OURS[others[0]]}, such as CodeT5: its vocabulary is of another kind"
        )
    if not found:
        return kind
    raise UserError(
        f"{folder} holds {found}; give a T5, T5 1.1, Flan-T5, mT5, UL2 or ByT5 (a "
        "T5ForConditionalGeneration)"
    )
