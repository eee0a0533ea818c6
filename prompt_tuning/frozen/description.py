"""What a checkpoint says about its model: fields of T5Config, from JSON or tensors.

Every checkpoint has the sizes, as the shapes of its tensors. The rest is in the JSON
beside it: config.json in Hugging Face's folders, NAME.json beside our NAME.safetensors.
Without one, as in T5X's checkpoints, defaults are assumed: with a gated MLP T5 1.1's
gelu, without a gate T5 1.0's relu; scaled outputs if the head is tied; T5's distances
and epsilon. Where they are wrong, set them with gin: a UL2 in T5X's format needs
T5Config.activation="silu".
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats
from prompt_tuning.frozen.formats import config_json, hugging_face
from prompt_tuning.frozen.formats.config_json import Said
from prompt_tuning.settings import T5Config

# How a model is stored and computed: the user's choice, never taken from the file.
USERS = ("dropout_rate", "dtype", "param_dtype", "remat", "scan_layers", "attention")
SIZES = (
    "vocab_size",
    "emb_dim",
    "num_heads",
    "head_dim",
    "mlp_dim",
    "num_encoder_layers",
    "num_decoder_layers",
)
# What no tensor's shape shows.
UNSEEN = (
    "activation",
    "scale_decoder_outputs",
    "relpos_max_distance",
    "layer_norm_epsilon",
)


def describe(name: str) -> dict[str, Any]:
    """The T5Config fields that the checkpoint at `name` gives; reads no weights.

    Raises:
      UserError: as formats.open_checkpoint; or the model is not a T5, or not a whole
        one; or the JSON beside it is damaged or describes another model.
    """
    return {field: said.value for field, said in _said(name).items()}


def config(name: str, given: Mapping[str, Any]) -> T5Config:
    """The T5Config of the checkpoint at `name`, with the fields that the user gave.

    A bucket is not read if `given` has all sizes, as gin/models/*.gin do.

    Args:
      given: fields of T5Config by name.

    Raises:
      UserError: as describe; or a field of `given` contradicts the checkpoint.
    """
    known = "://" in name and all(size in given for size in SIZES)
    said = {} if known else _said(name)
    _check(given, said)
    fields = {field: of.value for field, of in said.items()} | dict(given)
    gelu = fields.get("gated_mlp", True)
    assumed = {
        "activation": "gelu_tanh" if gelu else "relu",
        "scale_decoder_outputs": fields.get("tied_head", False),
    }
    try:
        return T5Config(**assumed | fields)
    except UserError as error:  # of the file's own values
        raise UserError(f"{name}: {error}") from None


def check(name: str, config: T5Config) -> None:
    """Raises UserError if `config` contradicts the JSON beside the checkpoint.

    It checks what no tensor's shape shows; a wrong size shows when tensors do not fit.
    """
    said = _by_json(formats.find(name))
    _check({field: getattr(config, field) for field in UNSEEN}, said)


def _check(given: Mapping[str, Any], said: Mapping[str, Said]) -> None:
    wrong = [
        f"T5Config.{field} is {value}, but {said[field].by}"
        for field, value in given.items()
        if field in said and said[field].value != value
    ]
    if wrong:
        it = "them" if wrong[1:] else "it"
        raise UserError(
            f"{'; '.join(wrong)}; leave {it} out, or give another "
            "INITIAL_CHECKPOINT_PATH"
        )


def _said(name: str) -> dict[str, Said]:
    """Everything that tensors and JSON say, after checking that they agree."""
    name = formats.find(name)
    by_json = _by_json(name)  # first, as it can name a model that is no T5
    by_shapes = _by_shapes(name)
    for field in by_shapes.keys() & by_json.keys():
        if by_shapes[field].value != by_json[field].value:
            raise UserError(
                f"{by_json[field].by}, but {by_shapes[field].by}: the two are of "
                "different models; copy the model's files again"
            )
    return by_shapes | by_json


def _by_json(name: str) -> dict[str, Said]:
    """What the JSON beside the weights says, be it ours or Hugging Face's."""
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    theirs = folder / config_json.NAME
    if path.is_dir() and not os.path.lexists(theirs):  # a run that ships a model
        path = path / hugging_face.WEIGHTS
    ours = path.with_suffix(".json")
    if path.is_file() and os.path.lexists(ours):
        content = config_json.read(ours).get("config", path)
        if isinstance(content, dict):
            return _by_ours(ours, content)
        if content is not path:  # another program's
            raise UserError(f"{ours} says config {content!r:.80}; copy it again")
    if hugging_face.is_folder(folder) and os.path.lexists(theirs):
        return config_json.described(folder)
    return {}


def _by_ours(path: Path, there: Mapping[str, Any]) -> dict[str, Said]:
    """What save_frozen wrote. Old files lack fields, but they are all of T5 1.1."""
    defaults = {field.name: field.default for field in dataclasses.fields(T5Config)}
    if unknown := sorted(there.keys() - defaults.keys()):
        raise UserError(
            f"{path} says {unknown[0]}, which this version of prompt_tuning does not "
            "know; install the one that wrote it"
        )
    return {
        field: Said(value, f"{path} says {field} {value}")
        for field, value in (defaults | dict(there)).items()
        if field not in USERS
    }


def _by_shapes(name: str) -> dict[str, Said]:
    """What the tensors' names and shapes say.

    Raises:
      UserError: there is no embedding, no encoder or no decoder.
    """
    tensors = formats.open_checkpoint(name)

    def size(key: str, axis: int) -> int | None:
        shape = tensors[key].shape if key in tensors else ()
        return shape[axis] if len(shape) == 2 else None

    embedding, bias = "token_embedder/embedding", "encoder/relpos_bias/rel_embedding"
    gate, mlp = (f"encoder/layers_0/mlp/{wi}/kernel" for wi in ("wi_0", "wi"))
    heads = size(bias, 0)
    joined = size("encoder/layers_0/attention/query/kernel", 1)
    found = {
        "vocab_size": size(embedding, 0),
        "emb_dim": size(embedding, 1),
        "num_heads": heads,
        "head_dim": joined // heads if joined and heads else None,
        "mlp_dim": size(gate, 1) or size(mlp, 1),
        "num_encoder_layers": _layers(tensors, "encoder"),
        "num_decoder_layers": _layers(tensors, "decoder"),
        "relpos_buckets": size(bias, 1),
        "gated_mlp": gate in tensors if {gate, mlp} & tensors.keys() else None,
        "tied_head": "decoder/logits_dense/kernel" not in tensors,
    }
    parts = {"embedding": "vocab_size"}
    parts |= {part: f"num_{part}_layers" for part in ("encoder", "decoder")}
    missing = [f"no {part}" for part, field in parts.items() if not found[field]]
    if missing:
        raise UserError(
            f"{name} does not hold a whole T5: it has {' and '.join(missing)}; give a "
            "T5 with encoder, decoder and embedding"
        )
    return {
        field: Said(value, f"the tensors in {name} say {field} {value}")
        for field, value in found.items()
        if value is not None
    }


def _layers(tensors: Mapping[str, Any], stack: str) -> int:
    matches = (re.match(rf"{stack}/layers_(\d+)/", key) for key in tensors)
    return max((int(match[1]) + 1 for match in matches if match), default=0)
