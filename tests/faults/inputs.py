"""Checkpoints and prompts of each kind that we read. Nothing here is a test."""

import json

import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
import tiny
from flax import serialization, traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, formats, vocabulary, weights
from prompt_tuning.serving import inputs

BYTES = vocabulary.load_vocabulary("byt5")


def npy(folder):
    folder.mkdir(parents=True)
    np.save(folder / "p.npy", tiny.prompt())
    (folder / "p.json").write_text(json.dumps(SAID))
    return folder / "p.npy"


SAID = {"method": "prompt", "task": "t", "label_words": ["a", "b"], "step": 5}
SAID |= {"target_length": 3, "frozen_fingerprint": "ab" * 32, "score": 1.5}


def peft(folder):
    folder.mkdir(parents=True)
    rows = {"prompt_embeddings": np.tile(tiny.prompt(), (2, 1))}
    safetensors.save_file(rows, folder / "adapter_model.safetensors")
    about = {"num_virtual_tokens": 3, "num_transformer_submodules": 2}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def ours(folder):
    folder.mkdir(parents=True)
    weights.save_frozen(folder / "m.safetensors", tiny.params(), tiny.CONFIG)
    return folder / "m.safetensors"


CONFIG_JSON = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "d_model": 16,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "relative_attention_num_buckets": 32,
    "layer_norm_epsilon": 1e-06,
}


def hugging_face(folder):
    folder.mkdir(parents=True)
    flat = traverse_util.flatten_dict(tiny.params(), sep="/")
    files_, index = ("a.safetensors", "b.safetensors"), {}
    for number, file in enumerate(files_):
        part = {
            k: v for i, (k, v) in enumerate(sorted(flat.items())) if i % 2 == number
        }
        safetensors.save_file(part, folder / file)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    (folder / "config.json").write_text(json.dumps(CONFIG_JSON))
    return folder


def t5x(folder, in_zarr=lambda values: values.ndim > 1):
    folder.mkdir(parents=True)
    leaves = {}
    flat = traverse_util.flatten_dict(tiny.params(), sep="/")
    for number, (name, values) in enumerate(sorted(flat.items())):
        leaves[name] = values
        if not in_zarr(values):
            continue
        kvstore = {"driver": "file", "path": "target." + name.replace("/", ".")}
        packed = ({"id": "gzip", "level": 1}, {"id": "zlib", "level": 1}, None)
        metadata = {"shape": values.shape, "dtype": "<f4"}
        metadata |= {"chunks": [-(-n // 2) for n in values.shape]}
        metadata |= {"compressor": packed[number % 3]}
        leaves[name] = {"driver": "zarr", "kvstore": kvstore}
        local = {"kvstore": kvstore | {"path": f"{folder}/{kvstore['path']}"}}
        spec = leaves[name] | local | {"create": True, "metadata": metadata}
        ts.open(spec).result().write(values).result()
    tree = {"optimizer": {"target": traverse_util.unflatten_dict(leaves, sep="/")}}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    return folder


def orbax(folder, **how):
    tree = {"prompt": tiny.prompt(), "more": {"scale": np.ones(3, np.float32)}}
    with ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(**{"use_ocdbt": False} | how)
    ) as writer:
        writer.save(folder.absolute(), tree)
    return folder


def tensors(path):
    """Everything of a checkpoint, as `train` reads it."""
    config, found = description.config(str(path), {}), {}
    for name, tensor in formats.open_checkpoint(str(path)).items():
        try:
            found[name] = np.asarray(tensor.read(tensor.all))
        except formats.READ_ERRORS as error:  # as weights.load_frozen has it
            raise exchange.UserError(f"{path}: {name}: {error}") from None
    return config, found


COLUMNS = {"sentence": "s", "label": "l"}


def answered(path):
    """The rows that `predict` answers; the first error is raised."""
    found = []
    for row in inputs.read(str(path)):
        if row.error:
            raise UserError(row.error)
        found.append({**row.fields, "inputs": inputs.text_of(row)})
    return found
