"""Every kind of input that a user's bytes reach us in. Nothing here is a test."""

import gzip
import json
import math
import string
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece
import tiny
from faults import independent, inputs
from safetensors import numpy as safetensors

from prompt_tuning import config, exchange
from prompt_tuning.commands import predict
from prompt_tuning.frozen import formats, vocabulary, weights
from prompt_tuning.runs import trained
from prompt_tuning.training import checkpoints, folder, own_data, own_text

same = independent.same


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
    config.load([], exchange.said_settings(said))
    return said, exchange.load_prompt(path)


def described(path):
    """What stands beside a prompt; {} if there is nothing, or no names and values."""
    said = json.loads(path.read_text("utf-8-sig")) if path.exists() else {}
    return said if isinstance(said, dict) else {}


def prompt_safetensors(folder):
    folder.mkdir(parents=True)
    said = {key: json.dumps(value) for key, value in inputs.SAID.items()}
    rows = {"prompt": tiny.prompt()}
    safetensors.save_file(rows, folder / "p.safetensors", said)
    return folder / "p.safetensors"


def check_npy(path, value, whole):
    said, array = value
    return same(said, described(path.with_suffix(".json"))) and same(
        array, independent.npy(path)
    )


def check_safetensors(path, value, whole):
    (array,) = independent.safetensors(path).values()
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    texts = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    said = {name: value[0].get(name) for name in texts}
    expected = {name: loaded(text) for name, text in texts.items()}
    return same(said, expected) and same(value[1], array.astype(np.float32))


def loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def check_peft(path, value, whole):
    """The first num_virtual_tokens rows."""
    (array,) = independent.safetensors(path / exchange.PEFT).values()
    about = path / "adapter_config.json"
    if about.exists():
        array = array[: json.loads(about.read_text("utf-8-sig"))["num_virtual_tokens"]]
    return same(value[1], array.astype(np.float32))


def check_orbax(path, value, whole):
    """Only a change of a chunk or its header can change what is read."""

    def arrays(folder):
        names = [p for p in folder.rglob("*") if p.is_file()]
        names = [p for p in names if p.name == ".zarray" or p.name[0] not in "._"]
        return {p.relative_to(folder): p.read_bytes()[: 2**20] for p in names}

    if any(p.is_file() and p.stat().st_size > 2**30 for p in path.rglob("*")):
        return same(value, tiny.prompt())  # zeros were appended
    return arrays(path) != arrays(whole) or same(value, tiny.prompt())


# Frozen models


def check_shapes(found, expected):
    return found.keys() == expected.keys() and all(
        same(found[name], expected[name]) for name in found
    )


def check_ours(path, value, whole):
    settings, found = value
    said = described(path.with_suffix(".json")).get("config", {})
    shape = found["token_embedder/embedding"].shape
    return (
        check_shapes(found, independent.safetensors(path))
        and (settings.vocab_size, settings.emb_dim) == shape
        and all(
            same(getattr(settings, name), value)
            or (float, int) == (type(getattr(settings, name)), type(value))
            for name, value in said.items()
            if name not in ("dropout_rate", "dtype", "param_dtype", "remat")
            and name not in ("scan_layers", "attention")
        )
    )


THEIRS = {"d_model": "emb_dim", "layer_norm_epsilon": "layer_norm_epsilon"}
THEIRS |= {"relative_attention_num_buckets": "relpos_buckets"}


def check_hugging_face(path, value, whole):
    settings, found = value
    said = {}
    if (path / "config.json").exists():
        said = json.loads((path / "config.json").read_text("utf-8-sig"))
    ours = {"gated-gelu": ("gelu_tanh", True), "relu": ("relu", False)}
    mlp = said.get("feed_forward_proj")
    return check_shapes(found, independent.sharded(path)) and (
        (mlp is None or ours[mlp] == (settings.activation, settings.gated_mlp))
        and all(
            getattr(settings, our) == said[name]
            for name, our in THEIRS.items()
            if said.get(name) is not None
        )
    )


def check_t5x(path, value, whole):
    return check_shapes(value[1], independent.t5x(path))


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


def check_pieces(path, value, whole):
    """The same pieces, but for the sentinels behind them."""
    pieces = independent.pieces(path)
    ours = [value.processor.id_to_piece(i) for i in range(len(pieces))]
    other = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    text = "the cat is 7 ä"
    return pieces == ours and value.encode(text) == other.encode(text)


# The user's texts


def own(path):
    task = own_data.open_own(str(path), None, None, inputs.BYTES, 0)
    for split in task.splits:
        task.load(split)
    return task


def rows(task):
    found = [row for rows in task.rows.values() for row in rows]
    return sorted((row.inputs, row.targets) for row in found)


def check_table(path, value, whole):
    records = independent.table(path, own_data.DELIMITERS[path.suffix])
    return rows(value) == sorted((r["inputs"], r["targets"]) for r in records)


def check_lines(path, value, whole):
    records = independent.json_lines(path)
    return rows(value) == sorted((str(r["inputs"]), str(r["targets"])) for r in records)


def check_folder(path, value, whole):
    records = independent.table(path / "train.csv", ",")
    for name in ("dev.jsonl", "test.jsonl"):
        records += independent.json_lines(path / name) if (path / name).exists() else []
    return rows(value) == sorted((str(r["inputs"]), str(r["targets"])) for r in records)


def split_folder(folder):
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("inputs,targets\n" + "x,a\ny,b\n" * 3)
    for name in ("dev", "test"):
        lines = [{"inputs": f"t{i}", "targets": "ab"[i % 2]} for i in range(3)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def check_texts(path, value, whole):
    """The lines of two tokens or more, which here are bytes."""
    lines = independent.re.split(r"\r\n|\r|\n", independent.text(path))
    lines = [line.encode() for line in lines]
    found = [bytes((row - 3).tolist()) for part in value for row in part]
    return sorted(found) == sorted(line for line in lines if len(line) > 1)


def check_inputs(path, value, whole):
    return same(value, independent.inputs(path))


COLUMNS = {"inputs": "a {b}", "x": "1.5", "é": "ü"}


def filled(path):
    with own_data.io.StringIO(json.dumps(COLUMNS | {"targets": "y"}) + "\n") as line:
        (path.parent / "d.jsonl").write_text(line.read() * 4)
    template = path.read_bytes().decode("utf-8", "surrogateescape")
    task = own_data.open_own(
        str(path.parent / "d.jsonl"), template, None, inputs.BYTES, 0
    )
    task.load("train")
    return task.rows["train"][0].inputs


def check_filled(path, value, whole):
    template = path.read_bytes().decode("utf-8", "surrogateescape")
    # As str.format has it, without its fields' attributes and items.
    parts = string.Formatter().parse(template)
    known = COLUMNS | {"targets": "y"}
    return value == "".join(
        text + (known[name] if name is not None else "") for text, name, *_ in parts
    )


# Settings


def gin_settings(path):
    return config.load([str(path.absolute())])


def check_gin(path, value, whole):
    return said_by(independent.gin(independent.text(path)), value)


def said_by(said, settings):
    """Whether the settings are what Python makes of the literals."""
    for name, expected in (said or {}).items():
        field = name.lower() if "." not in name else name.removeprefix("Run.")
        held = settings.run
        if "." in field:
            section, field = field.split(".")[-2:]
            held = getattr(settings, config.SECTIONS[section][1])
        value = held[field] if isinstance(held, dict) else getattr(held, field, None)
        if hasattr(held, field) and value != expected:
            return False
    return config.load([], [], base=settings) == settings


def binding(path):
    return config.load([], [path.read_bytes().decode("utf-8", "surrogateescape")])


def check_binding(path, value, whole):
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    name, _, literal = (part.strip() for part in text.partition("="))
    said = independent.gin(f"{name} = {literal}")
    if said is None or not said:
        said = {name: literal}
    field = name.lower().removeprefix("run.")
    kept = getattr(value.run, field, None) if hasattr(value.run, field) else None
    if isinstance(kept, str):  # text may be bare, and may look like a literal
        return kept in (literal, said.get(name)) or str(said.get(name)) == kept
    return said_by(said if "%" not in literal else None, value)


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


def pairs_of(records, names, label):
    """`name: text` of each; the label word."""

    def one(record):
        fields = " ".join(f"{name}: {record[name]}" for name in names)
        return fields, label(record)

    return [one(record) for record in records]


def boolq_label(record):
    label = record["label"]
    return (
        label
        if isinstance(label, str) and label in "True False"
        else str(bool(int(label)))
    )


def check_boolq(path, value, whole):
    records = independent.json_lines(path)
    return value == pairs_of(records, ("passage", "question"), boolq_label)


def check_glue(path, value, whole):
    """Cells between tabs; nothing is quoted."""
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
    lines = [x for x in independent.re.split(r"[\r\n]+", lines) if x.strip(" \t\f\v")]
    header, *cells = [line.split("\t") for line in lines]
    records = [dict(zip(header, row, strict=False)) for row in cells]
    found = [r for r in records if "label" in r]

    def label(record):
        words = ("negative", "positive")
        return (
            record["label"] if record["label"] in words else words[int(record["label"])]
        )

    return value == pairs_of(found, ("sentence",), label)


def check_texts_alone(path, value, whole):
    """As many as there are, each a question about its context."""
    return all(text.startswith("question: ") for text, _ in value)


def first_answers(path):
    for article in json.loads(path.read_text("utf-8-sig"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield question["answers"][0]["text"]


def words(text):
    return independent.re.findall(r"\w+", text)


def check_squad(path, value, whole):
    said = [words(target) for _, target in value]
    return said == [words(answer) for answer in first_answers(path)]


def anything(path, value, whole):
    return True


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


def check_run(path, value, whole):
    """The prompt is the file's; scores and logs are those that were whole."""
    settings, scores, array, kept, losses = value
    text = json.dumps([kept, losses, list(scores.values())], allow_nan=False)
    steps = [line["step"] for line in (*kept, *losses)]
    return (
        same(array, independent.npy(path / "prompt.npy"))
        and json.loads(text) is not None
        and all(isinstance(step, int) for step in steps)
        and all(score is None or math.isfinite(score) for score in scores.values())
        and settings.run.mixture_or_task_name
        == (described(path / "prompt.json").get("task") or "pocket_kind")
    )


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
    "npy": Kind(inputs.npy, prompt, check_npy),
    "prompt": Kind(prompt_safetensors, prompt, check_safetensors),
    "peft": Kind(inputs.peft, prompt, check_peft),
    "ours": Kind(inputs.ours, inputs.tensors, check_ours),
    "hugging_face": Kind(inputs.hugging_face, inputs.tensors, check_hugging_face),
    "t5x": Kind(few_in_zarr, inputs.tensors, check_t5x),
    "msgpack": Kind(
        lambda folder: inputs.t5x(folder, lambda values: False),
        inputs.tensors,
        check_t5x,
    ),
    "orbax": Kind(inputs.orbax, exchange.load_prompt, check_orbax),
    "ocdbt": Kind(
        lambda folder: inputs.orbax(folder, use_ocdbt=True),
        exchange.load_prompt,
        check_orbax,
    ),
    "torch": Kind(torch_file, torch_tensors, anything),
    "vocabulary": Kind(
        written("spiece.model", SPIECE),
        lambda path: vocabulary.load_vocabulary(str(path)),
        check_pieces,
    ),
    "csv": Kind(written("d.csv", CSV), own, check_table),
    "tsv": Kind(written("d.tsv", CSV.replace(",", "\t")), own, check_table),
    "jsonl": Kind(written("d.jsonl", JSONL), own, check_lines),
    "folder": Kind(split_folder, own, check_folder),
    "template": Kind(
        written("t", "é: {inputs} {{x}} {x}"),
        filled,
        check_filled,
        named=False,
        text=True,
    ),
    "txt": Kind(
        written("d.txt", "one text\nanother ä\n"),
        lambda path: own_text.documents(str(path), inputs.BYTES),
        check_texts,
    ),
    "predict": Kind(
        written("in.jsonl", JSONL),
        lambda path: list(predict.read_inputs(str(path))),
        check_inputs,
        piped=True,
    ),
    "lines": Kind(
        written("in", "a text\n" + JSONL),
        lambda path: list(predict.read_inputs(str(path))),
        check_inputs,
        piped=True,
    ),
    "gin": Kind(written("c.gin", GIN), gin_settings, check_gin, named=False),
    "run": Kind(run_folder, read_run, check_run, named=False, made=True),
    "boolq": Kind(
        *official("boolq", "train", "superglue/BoolQ/train.jsonl", BOOLQ), check_boolq
    ),
    "multirc": Kind(
        *official(
            "multirc",
            "train",
            "superglue/MultiRC/train.jsonl",
            lines_of({"passage": MULTIRC}),
        ),
        anything,
    ),
    "record": Kind(
        *official(
            "record",
            "train",
            "superglue/ReCoRD/train.jsonl",
            lines_of(RECORD | {"idx": 1}),
        ),
        anything,
    ),
    "wsc": Kind(
        *official("wsc", "train", "superglue/WSC/train.jsonl", lines_of(WSC)), anything
    ),
    "dpr": Kind(*official("dpr", "train", "dpr/train.c.txt", DPR), anything),
    "sst2": Kind(
        *official(
            "sst2", "train", "glue/SST-2/train.tsv", "sentence\tlabel\na b\t1\nc\t0\n"
        ),
        check_glue,
    ),
    "stsb": Kind(
        *official(
            "stsb",
            "train",
            "glue/STS-B/train.tsv",
            "sentence1\tsentence2\tscore\na\tb\t2.5\nc\td\t5\n",
        ),
        anything,
    ),
    "mrqa": Kind(
        *official(
            "mrqa_drop",
            "validation",
            "mrqa/dev/DROP.jsonl.gz",
            gzip.compress(MRQA.encode()),
        ),
        check_texts_alone,
    ),
    "squad": Kind(
        *official("squad", "train", "squad/train-v1.1.json", SQUAD_FILE), check_squad
    ),
} | {
    f"--gin.{text.partition('=')[0]}": Kind(
        written("binding", text), binding, check_binding, named=False, text=True
    )
    for text in BINDINGS.split("|")
}
