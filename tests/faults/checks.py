"""Whether what we read is what stands there, read by other means.

Each is called with the path, our value, and the path of what is not damaged. Nothing
here is a test.
"""

import json
import math
import string

import numpy as np
import sentencepiece
import tiny
from faults import independent

from prompt_tuning import config, exchange
from prompt_tuning.training import own_data

same = independent.same


def described(path):
    """What stands beside a prompt; {} if there is nothing, or no names and values."""
    said = json.loads(path.read_text("utf-8-sig")) if path.exists() else {}
    return said if isinstance(said, dict) else {}


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


def check_pieces(path, value, whole):
    """The same pieces, but for the sentinels behind them."""
    pieces = independent.pieces(path)
    ours = [value.processor.id_to_piece(i) for i in range(len(pieces))]
    other = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    text = "the cat is 7 ä"
    return pieces == ours and value.encode(text) == other.encode(text)


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


def check_texts(path, value, whole):
    """The lines of two tokens or more, which here are bytes."""
    lines = independent.re.split(r"\r\n|\r|\n", independent.text(path))
    lines = [line.encode() for line in lines]
    found = [bytes((row - 3).tolist()) for part in value for row in part]
    return sorted(found) == sorted(line for line in lines if len(line) > 1)


def check_inputs(path, value, whole):
    return same(value, independent.inputs(path))


COLUMNS = {"inputs": "a {b}", "x": "1.5", "é": "ü"}


def check_filled(path, value, whole):
    template = path.read_bytes().decode("utf-8", "surrogateescape")
    # As str.format has it, without its fields' attributes and items.
    parts = string.Formatter().parse(template)
    known = COLUMNS | {"targets": "y"}
    return value == "".join(
        text + (known[name] if name is not None else "") for text, name, *_ in parts
    )


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


def check_run(path, value, whole):
    """The prompt is the file's; of scores and logs those lines that are whole.

    A metric that we logged may be NaN: of STS-B where all answers are the same.
    """
    settings, scores, array, kept, losses = value
    steps = [line["step"] for line in (*kept, *losses)]
    said = {}
    for name in ("eval.jsonl", "train.jsonl"):
        for line in (path / name).read_bytes().split(b"\n"):
            said |= {line: json.loads(line)} if line else {}
    return (
        same(array, independent.npy(path / "prompt.npy"))
        and all(type(step) is int for step in steps)
        and all(any(same(line, x) for x in said.values()) for line in (*kept, *losses))
        and all(score is None or math.isfinite(score) for score in scores.values())
        and settings.run.mixture_or_task_name
        == (described(path / "prompt.json").get("task") or "pocket_kind")
    )
