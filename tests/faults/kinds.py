"""Every kind of input that a user's bytes reach us in. Nothing here is a test."""

import gzip
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tiny
from faults import checks, inputs
from safetensors import numpy as safetensors

from prompt_tuning import config, exchange
from prompt_tuning.frozen import formats, vocabulary, weights
from prompt_tuning.runs import trained
from prompt_tuning.training import checkpoints, folder, own_data, own_text


class Kind(NamedTuple):
    """An input, how we read it, and how to tell that we did so rightly.

    make(folder): makes a valid one; its path. read(path): reads all of it.
    check(path, value, whole): whether `value` is what stands at `path`, read by other
      means; `whole` is the path of the one that is not damaged.
    named: whether an error must name the file; a setting is told by its name.
    text: it is a text, such as a flag's value, and no file of the user's.
    piped: it may be a pipe, which is read until its writer closes it.
    made: we write it ourselves; it may be damaged, but nothing takes its place.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any, Path], bool]
    named: bool = True
    text: bool = False
    piped: bool = False
    made: bool = False

    @property
    def how(self):
        """How it may be damaged, for `damage`."""
        return self.text, self.piped, self.made


def outcome(kind: Kind, path: Path, whole: Path) -> tuple[str, str]:
    """accepted, refused, traceback, memory or wrong; and what was said."""
    try:
        value = kind.read(path)
    except MemoryError:
        return "memory", traceback.format_exc()
    except Exception as error:
        if not getattr(error, "user_message", False):
            return "traceback", traceback.format_exc()
        said = str(error)
        if kind.named and str(path.parent) not in said and path.name not in said:
            return "traceback", f"names no file: {said[:300]}\n"
        return "refused", said
    try:
        right = kind.check(path, value, whole)
    except Exception:
        return "wrong", f"only we can read it: {traceback.format_exc()}"
    return ("accepted", "") if right else ("wrong", f"{str(value)[:500]}\n")


def written(name, content):
    def make(folder):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


# Prompts and what they say


def prompt(path):
    said = exchange.read_description(path)
    trained.base_settings("", trained.Source(path, said))
    return said, exchange.load_prompt(path)


def prompt_safetensors(folder):
    folder.mkdir(parents=True)
    said = {key: json.dumps(value) for key, value in inputs.SAID.items()}
    rows = {"prompt": tiny.prompt()}
    safetensors.save_file(rows, folder / "p.safetensors", said)
    return folder / "p.safetensors"


# Frozen models


def few_in_zarr(folder):
    return inputs.t5x(folder, lambda values: values.shape == (16, 24))


def torch_file(folder):
    import torch  # pyright: ignore[reportMissingImports] - where it is installed

    folder.mkdir(parents=True)
    flat = {"shared.weight": torch.ones(4, 3), "x": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(flat, folder / "pytorch_model.bin")
    return folder


def torch_tensors(path):
    found = formats.open_checkpoint(str(path))
    return {name: np.asarray(tensor.read(tensor.all)) for name, tensor in found.items()}


# The user's texts


def own(path):
    task = own_data.open_own(str(path), None, None, inputs.BYTES, 0)
    for split in task.splits:
        task.load(split)
    return task


def split_folder(folder):
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("inputs,targets\n" + "x,a\ny,b\n" * 3)
    for name in ("dev", "test"):
        lines = [{"inputs": f"t{i}", "targets": "ab"[i % 2]} for i in range(3)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def filled(path):
    with own_data.io.StringIO(
        json.dumps(checks.COLUMNS | {"targets": "y"}) + "\n"
    ) as line:
        (path.parent / "d.jsonl").write_text(line.read() * 4)
    template = path.read_bytes().decode("utf-8", "surrogateescape")
    task = own_data.open_own(
        str(path.parent / "d.jsonl"), template, None, inputs.BYTES, 0
    )
    task.load("train")
    return task.rows["train"][0].inputs


# Settings


def gin_settings(path):
    return config.load([str(path.absolute())])


def binding(path):
    return config.load([], [path.read_bytes().decode("utf-8", "surrogateescape")])


# Official files, by the tasks that read them


def official(alias, split, name, content):
    """A file of a task's, read as the task reads it."""
    depth = name.count("/")

    def read(path):
        from prompt_tuning.tasks import paper, sources  # imports TensorFlow

        source = sources.Source(paper.ROWS[alias], str(path.parents[depth]))
        found = [example for _, example in source.read(split)]
        if found and any(isinstance(value, int) for value in found[0].values()):
            source.get_dataset(split, shuffle=False)  # their integers must fit
        return [(e["inputs"].decode(), e["targets"].decode()) for e in found]

    return written(name, content), read


# A run's folder


def run_folder(folder):
    folder.mkdir(parents=True)
    (folder / "config.gin").write_text(config.text(config.load([], ["SEED=5"])))
    (folder / "description.json").write_text(json.dumps(inputs.SAID))
    np.save(folder / "prompt.npy", tiny.prompt())
    (folder / "prompt.json").write_text(json.dumps(inputs.SAID))
    line = {"step": 0, "score": 1.5, "metrics": {"t": {"a": 1.5}}, "illegal": {}}
    logs = [line | {"step": step} for step in (0, 2, 4)]
    (folder / "eval.jsonl").write_text("".join(json.dumps(x) + "\n" for x in logs))
    logs = [{"step": step, "loss": 0.5} for step in range(1, 5)]
    (folder / "train.jsonl").write_text("".join(json.dumps(x) + "\n" for x in logs))
    for step in (2, 4):
        place = folder / "checkpoints" / str(step) / "metrics"
        place.mkdir(parents=True)
        (place / "metrics").write_text(json.dumps({"score": 50.5 + step}))
    return folder


def read_run(path):
    source = trained.find(str(path), None)
    settings = trained.base_settings(str(path), source)
    scores = checkpoints.scores(path / "checkpoints")
    array = exchange.load_prompt(path)
    names = "score", "metrics", "illegal"
    kept = folder.keep_lines(path / "eval.jsonl", 4, *names)
    losses = folder.keep_lines(path / "train.jsonl", 4, "loss")
    config.load([str(path / "config.gin")])
    return settings, scores, array, kept, losses


ROWS = [{"inputs": f"a text {n} ä", "targets": "yn"[n % 2], "x": 1.5} for n in range(9)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "inputs,targets\n" + 'a,"y ""q"" z"\nb,n\n' * 4
MRQA = '{"header": {}}\n' + 3 * (
    '{"context": "c", "qas": [{"question": "q", "answers": ["a", "b"]}]}\n'
)
SQUAD_QUESTION = {"question": "q?", "id": "1"}
SQUAD_QUESTION |= {"answers": [{"text": "a b", "answer_start": 0}]}
SQUAD = {
    "paragraphs": [{"context": "a b c", "qas": [SQUAD_QUESTION] * 2}],
    "title": "t",
}
SQUAD_FILE = json.dumps({"data": [SQUAD, SQUAD], "version": "1.1"})
GIN = "Run.seed = %SEED\nSEED = 3\nCLASS_LABELS = ['a', 'b']\nmesh.data = -1\n"
GIN += "TASK_FEATURE_LENGTHS = {'inputs': 5}\nschedule.learning_rate = 0.3\n"
GIN += "PROMPT_STRING = 'a text'\nT5Config.dropout_rate = 0.1\n"
BINDINGS = "SEED=3|PROMPT_STRING=a text|CLASS_LABELS=['a', 'b']|mesh.data=-1"
BINDINGS += "|TASK_FEATURE_LENGTHS={'inputs': 5}|schedule.learning_rate=0.3"
BINDINGS += "|MODEL_DIR=runs/x|T5Config.remat=True|DECODING=labels"
SPIECE = (weights.POCKET / weights.VOCABULARY).read_bytes()
BOOLQ = '{"passage": "a p", "question": "q", "label": true, "idx": 0}\n'
BOOLQ += '{"passage": "b", "question": "r", "label": false, "idx": 1}\n'
ANSWER = {"text": "x", "idx": 0, "label": 1}
MULTIRC = {
    "text": "t",
    "questions": [{"question": "q", "idx": 5, "answers": [ANSWER] * 2}],
}
RECORD = {"passage": {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 2}]}}
RECORD |= {"qas": [{"query": "@placeholder", "idx": 2, "answers": [{"text": "Ann"}]}]}
WSC = {"span1_text": "Ann", "span2_text": "she", "span1_index": 0, "span2_index": 3}
WSC = {"text": "Ann said that she ran .", "target": WSC, "label": True, "idx": 0}
DPR = b"Ann saw Bo when she ran.\nshe\nAnn,Bo\nAnn\n\n" * 3


def lines_of(record):
    return (json.dumps(record) + "\n") * 3


KINDS = {
    "npy": Kind(inputs.npy, prompt, checks.check_npy),
    "prompt": Kind(prompt_safetensors, prompt, checks.check_safetensors),
    "peft": Kind(inputs.peft, prompt, checks.check_peft),
    "ours": Kind(inputs.ours, inputs.tensors, checks.check_ours),
    "hugging_face": Kind(
        inputs.hugging_face, inputs.tensors, checks.check_hugging_face
    ),
    "t5x": Kind(few_in_zarr, inputs.tensors, checks.check_t5x),
    "msgpack": Kind(
        lambda folder: inputs.t5x(folder, lambda values: False),
        inputs.tensors,
        checks.check_t5x,
    ),
    "orbax": Kind(inputs.orbax, exchange.load_prompt, checks.check_orbax),
    "ocdbt": Kind(
        lambda folder: inputs.orbax(folder, use_ocdbt=True),
        exchange.load_prompt,
        checks.check_orbax,
    ),
    "torch": Kind(torch_file, torch_tensors, checks.anything),
    "vocabulary": Kind(
        written("spiece.model", SPIECE),
        lambda path: vocabulary.load_vocabulary(str(path)),
        checks.check_pieces,
    ),
    "csv": Kind(written("d.csv", CSV), own, checks.check_table),
    "tsv": Kind(written("d.tsv", CSV.replace(",", "\t")), own, checks.check_table),
    "jsonl": Kind(written("d.jsonl", JSONL), own, checks.check_lines),
    "folder": Kind(split_folder, own, checks.check_folder),
    "template": Kind(
        written("t", "é: {inputs} {{x}} {x}"),
        filled,
        checks.check_filled,
        named=False,
        text=True,
    ),
    "txt": Kind(
        written("d.txt", "one text\nanother ä\n"),
        lambda path: own_text.documents(str(path), inputs.BYTES),
        checks.check_texts,
    ),
    "predict": Kind(
        written("in.jsonl", JSONL),
        inputs.answered,
        checks.check_inputs,
        piped=True,
    ),
    "lines": Kind(
        written("in", "a text\n" + JSONL),
        inputs.answered,
        checks.check_inputs,
        piped=True,
    ),
    "gin": Kind(written("c.gin", GIN), gin_settings, checks.check_gin, named=False),
    "run": Kind(run_folder, read_run, checks.check_run, named=False, made=True),
    "boolq": Kind(
        *official("boolq", "train", "superglue/BoolQ/train.jsonl", BOOLQ),
        checks.check_boolq,
    ),
    "multirc": Kind(
        *official(
            "multirc",
            "train",
            "superglue/MultiRC/train.jsonl",
            lines_of({"passage": MULTIRC}),
        ),
        checks.anything,
    ),
    "record": Kind(
        *official(
            "record",
            "train",
            "superglue/ReCoRD/train.jsonl",
            lines_of(RECORD | {"idx": 1}),
        ),
        checks.anything,
    ),
    "wsc": Kind(
        *official("wsc", "train", "superglue/WSC/train.jsonl", lines_of(WSC)),
        checks.anything,
    ),
    "dpr": Kind(*official("dpr", "train", "dpr/train.c.txt", DPR), checks.anything),
    "sst2": Kind(
        *official(
            "sst2", "train", "glue/SST-2/train.tsv", "sentence\tlabel\na b\t1\nc\t0\n"
        ),
        checks.check_glue,
    ),
    "stsb": Kind(
        *official(
            "stsb",
            "train",
            "glue/STS-B/train.tsv",
            "sentence1\tsentence2\tscore\na\tb\t2.5\nc\td\t5\n",
        ),
        checks.anything,
    ),
    "mrqa": Kind(
        *official(
            "mrqa_drop",
            "validation",
            "mrqa/dev/DROP.jsonl.gz",
            gzip.compress(MRQA.encode()),
        ),
        checks.check_texts_alone,
    ),
    "squad": Kind(
        *official("squad", "train", "squad/train-v1.1.json", SQUAD_FILE),
        checks.check_squad,
    ),
} | {
    f"--gin.{text.partition('=')[0]}": Kind(
        written("binding", text), binding, checks.check_binding, named=False, text=True
    )
    for text in BINDINGS.split("|")
}
