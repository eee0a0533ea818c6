"""Files of each kind that we read, ways to damage them, and what may come of it.

Used by fuzz_test.py, and by scripts/faults/fuzz.py at length. Nothing here is a test.
"""

import contextlib
import gzip
import json
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
import tiny
from flax import serialization, traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import config, exchange
from prompt_tuning.commands import predict
from prompt_tuning.frozen import description, formats, vocabulary, weights
from prompt_tuning.tasks import files
from prompt_tuning.training import own_data, own_text


class Reader(NamedTuple):
    """make(folder): a valid input there; its path. read(path): reads all of it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


BYTES = vocabulary.load_vocabulary("byt5")


def written(name, content):
    def make(folder):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def npy(folder):
    folder.mkdir()
    np.save(folder / "p.npy", tiny.prompt())
    (folder / "p.json").write_text(json.dumps(SAID))
    return folder / "p.npy"


SAID = {"method": "prompt", "task": "t", "label_words": ["a", "b"], "step": 5}
SAID |= {"target_length": 3, "frozen_fingerprint": "ab" * 32, "score": 1.5}


def peft(folder):
    folder.mkdir()
    rows = {"prompt_embeddings": np.tile(tiny.prompt(), (2, 1))}
    safetensors.save_file(rows, folder / "adapter_model.safetensors")
    about = {"num_virtual_tokens": 3, "num_transformer_submodules": 2}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def ours(folder):
    folder.mkdir()
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
    folder.mkdir()
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


def t5x(folder):
    folder.mkdir()
    leaves = {}
    flat = traverse_util.flatten_dict(tiny.params(), sep="/")
    for number, (name, values) in enumerate(sorted(flat.items())):
        leaves[name] = values
        if values.ndim < 2:
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


def orbax(folder):
    tree = {"prompt": tiny.prompt(), "more": {"scale": np.ones(3, np.float32)}}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as writer:
        writer.save(folder.absolute(), tree)
    return folder


def tensors(path):
    """Everything of a checkpoint, as `train` reads it."""
    description.config(str(path), {})
    for name, tensor in formats.open_checkpoint(str(path)).items():
        try:
            tensor.read(tensor.all)
        except formats.READ_ERRORS as error:  # as weights.load_frozen has it
            raise exchange.UserError(f"{path}: {name}: {error}") from None


def prompt(path):
    exchange.said_settings(exchange.read_description(path))
    exchange.load_prompt(path)


def own(path):
    task = own_data.open_own(str(path), None, None, BYTES, 0)
    for split in task.splits:
        task.load(split)


def pieces(read, *more):
    def all_of(path):
        for _, parse in read(path, *more):
            with contextlib.suppress(files.DataError):  # told with the place by others
                parse()

    return all_of


ROWS = [{"inputs": f"a text {n} ä", "targets": "yn"[n % 2], "x": 1.5} for n in range(9)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
MRQA = '{"header": {}}\n' + 3 * (
    '{"context": "c", "qas": [{"question": "q", "answers": ["a", "b"]}]}\n'
)
SQUAD = json.dumps(
    {"data": [{"paragraphs": [json.loads(MRQA.splitlines()[1])], "title": "t"}]}
)
GIN = "Run.seed = %SEED\nSEED = 3\nCLASS_LABELS = ['a', 'b']\nmesh.data = -1\n"
GIN += "TASK_FEATURE_LENGTHS = {'inputs': 5}\nschedule.learning_rate = 0.3\n"
SPIECE = (weights.POCKET / weights.VOCABULARY).read_bytes()
COLUMNS = {"sentence": "s", "label": "l"}

READERS = {
    "npy": Reader(npy, prompt),
    "peft": Reader(peft, prompt),
    "ours": Reader(ours, tensors),
    "hugging_face": Reader(hugging_face, tensors),
    "t5x": Reader(t5x, tensors),
    "orbax": Reader(orbax, prompt),
    "vocabulary": Reader(
        written("spiece.model", SPIECE), lambda p: vocabulary.load_vocabulary(str(p))
    ),
    "csv": Reader(
        written("d.csv", "inputs,targets\n" + 'a,"y ""q"" z"\nb,n\n' * 4), own
    ),
    "jsonl": Reader(written("d.jsonl", JSONL), own),
    "txt": Reader(
        written("d.txt", "one text\nanother ä\n"),
        lambda p: own_text.documents(str(p), BYTES),
    ),
    "predict": Reader(
        written("in.jsonl", JSONL), lambda p: list(predict.read_inputs(str(p)))
    ),
    "lines": Reader(
        written("in", "a text\n" + JSONL), lambda p: list(predict.read_inputs(str(p)))
    ),
    "superglue": Reader(written("d.jsonl", JSONL), pieces(files.jsonl)),
    "glue": Reader(
        written("d.tsv", "s\tl\na b\t1\nc\t0\n"), pieces(files.tsv, COLUMNS)
    ),
    "mrqa": Reader(
        written("d.jsonl.gz", gzip.compress(MRQA.encode())), pieces(files.mrqa)
    ),
    "squad": Reader(written("d.json", SQUAD), pieces(files.squad)),
    "gin": Reader(
        written("c.gin", GIN), lambda p: config.text(config.load([str(p.absolute())]))
    ),
}

ODD = [b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"NaN", b"1e999", b"-1", b"[]"]
ODD += [
    b"{}",
    b"null",
    b"true",
    b'"',
    b"\n",
    b"\r",
    b"\t",
    b"[" * 100_000,
    b"1" * 5_000,
]
ODD += [
    b"9223372036854775808",
    b"4611686018427387904",
    b"0",
    b'{"a":' * 50_000,
    b"F8_E4M3",
]
WHOLE = [b"", b"\n", b"[]", b"{}", b"null", b"PK\3\4", b"\x80\4N.", b"\0" * 100]
WHOLE += [b"[" * 100_000, b"9" * 5_000, b"version https://git-lfs.github.com/spec/v1\n"]
WHOLE += [gzip.compress(b"{}\n" * 10_000_000)]


def damage(path, seed):
    """Damages one file of an input, and says how; the same for the same seed."""
    rng = random.Random(seed)
    there = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    beside = path.with_suffix(".json")
    there += [beside] if path.is_file() and beside.is_file() and beside != path else []
    # Headers break more than what they are of.
    heads = [p for p in there if p.suffix == ".json" or p.name.startswith((".", "_"))]
    file = rng.choice(sorted(heads if heads and rng.random() < 0.5 else there))
    data = file.read_bytes()
    way = rng.choice(("flip", "cut", "insert", "swap", "number", "whole", "double"))
    at = rng.randrange(min(len(data), rng.choice((100, 2_000, 10**9))) or 1)
    if way == "flip":
        data = bytearray(data)
        for place in [at, *rng.choices(range(max(len(data), 1)), k=rng.randrange(4))]:
            data[place : place + 1] = bytes([rng.randrange(256)])
    elif way == "cut":
        data = data[:at] + (
            b"" if rng.random() < 0.5 else data[at + rng.randrange(9) :]
        )
    elif way == "insert":
        data = data[:at] + rng.choice(ODD) + data[at:]
    elif way == "swap":
        data = data[:at] + rng.choice(ODD) + data[at + rng.randrange(1, 20) :]
    elif way == "number":
        digits = [i for i, byte in enumerate(data[:5_000]) if byte in b"0123456789"]
        if digits:
            at = rng.choice(digits)
            data = data[:at] + rng.choice(ODD) + data[at + 1 :]
    elif way == "double":
        data = data[:at] + data[at : at + 50] * 2 + data[at + 50 :]
    else:
        data = rng.choice(WHOLE)
    file.write_bytes(bytes(data))
    return f"{file.name}, {way} at {at}"


def outcome(reader, path, what):
    """accepted, clean, traceback or memory; and what was damaged and was said."""
    try:
        reader.read(path)
    except MemoryError:
        return "memory", f"{what}\n{traceback.format_exc()}"
    except Exception as error:
        if not getattr(error, "user_message", False):
            return "traceback", f"{what}\n{traceback.format_exc()}"
        # A setting is told by its name.
        named = str(path.parent) in str(error) or path.name in str(error)
        if not named and path.suffix != ".gin":
            return "traceback", f"{what}\nnames no file: {str(error)[:300]}\n"
        return "clean", str(error)
    return "accepted", what
