"""A whole run made small: a task, a text, a frozen model, the command line.

The flags set MIXTURE_OR_TASK_MODULE to this file, as users do with their own modules.
The frozen model is random; its vocabulary is pocket's. Nothing here is a test.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
from pathlib import Path

import numpy as np
import seqio
import tensorflow as tf
import tiny

from prompt_tuning import cli, config, tasks
from prompt_tuning.frozen import weights
from prompt_tuning.t5 import network
from prompt_tuning.tasks import pocket

CONFIG = tiny.OF_WORDS
MODEL = network.Transformer(CONFIG)
LABELS = ("food", "bird", "tool")
VOCABULARY = seqio.SentencePieceVocabulary(
    str(weights.POCKET / "spiece.model"), extra_ids=100
)
_FEATURE = seqio.Feature(VOCABULARY, add_eos=True)


def examples(split):
    """The first word is the label; 10 validation examples are no multiple of 8."""
    numbers = {"train": range(24), "validation": range(30, 40)}[split]
    labels = [LABELS[number % 3] for number in numbers]
    inputs = [
        f"{label} {number}" for label, number in zip(labels, numbers, strict=True)
    ]
    return {"inputs": inputs, "targets": labels}


def mood_examples(split):
    """Other labels, of other lengths, and as many examples of them again and a half."""
    rows = examples(split)["inputs"]
    inputs = [f"mood {text}" for text in (*rows, *rows[: len(rows) // 2])]
    return {
        "inputs": inputs,
        "targets": ["glad and calm", *["sad"] * (len(inputs) - 1)],
    }


def texts(split):
    seed, count = {"train": (0, 50), "validation": (1, 20)}[split]
    return {"targets": list(pocket.documents(seed, count))}


def _add_task(name, rows, keys, **more):
    def dataset(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices(rows(split))

    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=["train", "validation"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=dict.fromkeys(keys, _FEATURE),
        **more,
    )


_add_task(
    "small_kind",
    examples,
    ("inputs", "targets"),
    postprocess_fn=functools.partial(tasks.label_index, label_classes=LABELS),
    metric_fns=[tasks.accuracy],
)
_add_task(
    "small_mood",
    mood_examples,
    ("inputs", "targets"),
    postprocess_fn=functools.partial(
        tasks.label_index, label_classes=("glad and calm", "sad")
    ),
    metric_fns=[tasks.accuracy],
)
_add_task("small_free", examples, ("inputs", "targets"), metric_fns=[tasks.accuracy])
_add_task("small_text", texts, ("targets",))
seqio.MixtureRegistry.add("small_both", ["small_kind", "small_mood"], default_rate=1)
seqio.MixtureRegistry.add("small_mixed", ["small_kind", "small_free"], default_rate=1)

PLANTED = iter(())  # values of the metric below


def errors(targets, predictions, lower_is_better=True):
    return {"errors": next(PLANTED)}


_add_task("small_errors", examples, ("inputs", "targets"), metric_fns=[errors])


for _name, _rate in (
    ("small_counted", seqio.mixing_rate_num_examples),  # which no source here tells
    ("small_never", 0),
    ("small_negative", lambda task: len(task.name) - 11),
):
    seqio.MixtureRegistry.add(_name, ["small_kind", "small_errors"], default_rate=_rate)


def no_labels(split):
    return {"inputs": examples(split)["inputs"], "targets": ["<unk>"] * 24}


_add_task(
    "small_unlabelled",
    lambda split: no_labels(split) if split == "train" else examples(split),
    ("inputs", "targets"),
    postprocess_fn=functools.partial(tasks.label_index, label_classes=LABELS),
    metric_fns=[tasks.accuracy],
)


def save_frozen(path, model=MODEL, seed=0):
    """Writes random parameters, and returns their path."""
    vocabulary = weights.POCKET / weights.VOCABULARY
    weights.save_frozen(path, tiny.params(model, seed), model.config, vocabulary)
    return path


RUN = {
    "MIXTURE_OR_TASK_MODULE": "small",
    "MIXTURE_OR_TASK_NAME": "small_kind",
    "PROMPT_LENGTH": 4,
    "TRAIN_STEPS": 8,
    "EVAL_PERIOD": 4,
    "BATCH_SIZE": 8,
}


def flags(**settings):
    """The flags of a short run; None removes a setting."""
    settings = RUN | settings
    return [f"--gin.{k}={v}" for k, v in settings.items() if v is not None]


# For a model to be pre-trained; a frozen model's file says its size.
SIZE = {f"T5Config.{k}": v for k, v in dataclasses.asdict(CONFIG).items()}


def main(command, *arguments, **settings):
    """Runs `prompt-tuning COMMAND` with the flags; returns its exit code."""
    settings = (SIZE if command == "pretrain" else {}) | settings
    return cli.main([command, *map(str, arguments), *flags(**settings)])


def settings(**changes):
    """The Settings that the flags make."""
    return config.load([], [flag.removeprefix("--gin.") for flag in flags(**changes)])


def trained(folder, frozen, *arguments, **settings):
    """Trains in `folder`, and returns it."""
    settings = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": folder} | settings
    assert main("train", *arguments, **settings) == 0
    return folder


lines = tiny.lines


def command(name, *arguments):
    """The exit code of a command that is given the tasks' module and nothing else."""
    module = "--gin.MIXTURE_OR_TASK_MODULE=small"
    return cli.main([name, module, *map(str, arguments)])


def check_refused(folder, capsys, arguments, problem):
    """A command refuses a run's folder: its argument RUN, or else its MODEL_DIR."""
    arguments = [str(folder) if text == "RUN" else text for text in arguments]
    if str(folder) not in arguments:
        arguments.append(f"--gin.MODEL_DIR={folder}")
    assert command(*arguments) == 2
    assert re.search(problem, capsys.readouterr().err)


def check_found_again(folder, tmp_path, capsys):
    """With nothing but its folder a run evaluates and predicts as at its end."""
    capsys.readouterr()
    assert command("evaluate", f"--prompt={folder}") == 0
    expected = json.loads((folder / "metrics.json").read_text())["trained"]
    assert json.loads(capsys.readouterr().out)["metrics"] == expected["metrics"]
    rows = lines(folder / "predictions.jsonl")
    source = tmp_path / "in.txt"
    source.write_text("".join(row["inputs"] + "\n" for row in rows))
    assert command("predict", f"--gin.MODEL_DIR={folder}", f"--input={source}") == 0
    said = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["prediction"] for one in said] == [row["prediction"] for row in rows]


def outcome(folder):
    """What must be the same, however a run came to its end."""
    names = "prompt.npy", "predictions.jsonl", "metrics.json"
    return [
        *((folder / name).read_bytes() for name in names),
        *(lines(folder / f"{name}.jsonl") for name in ("train", "eval")),
    ]


def environment():
    """For a process of the program as it is here, with the tests' own tasks."""
    root = Path(__file__).resolve().parents[1]
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}


def steps(path):
    return [line["step"] for line in lines(path)]


def prompt(folder):
    return np.load(folder / "prompt.npy")


@contextlib.contextmanager
def interrupted(monkeypatch, module, name, call):
    """Ctrl-C at call number `call` of a module's function."""
    function, count = getattr(module, name), itertools.count(1)

    def counted(*args):
        if next(count) == call:
            raise KeyboardInterrupt
        return function(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, counted)
        yield
