"""The examples of every command's help run, one after another, in one folder."""

import importlib
import io
import shutil
import subprocess
import sys

import pages
import pytest
import small

from prompt_tuning import cli
from prompt_tuning.commands import parsing

SHORT = ["--gin.TRAIN_STEPS=2", "--gin.EVAL_PERIOD=2", "--gin.BATCH_SIZE=8"]
SHORT_PRETRAINING = [
    *("--gin.pretrain.span_corruption_steps=1", "--gin.pretrain.prefix_lm_steps=1"),
    *("--gin.pretrain.kept=()", "--gin.pretrain.skill_task=''", "--gin.EVAL_PERIOD=1"),
    *("--gin.BATCH_SIZE=8", "--gin.inverse_square_root.cooldown_steps=0"),
]
# What runs, in an order in which each finds what it reads; with what makes it short.
ORDER = {
    "train": SHORT,
    "convert": [],
    "evaluate": [],
    "compare": [],
    "ensemble": [],
    "predict": [],
    "export": [],
    "inspect": [],
    "pretrain": SHORT_PRETRAINING,
    "params": [],
    "tasks": [],
    "plan": [],
    "reproduce": ["--dry_run"],
}
NOT_RUN = {
    "serve": "does not end; serve_test.py starts it",
    "tasks --check --data_dir=superglue": "official files",
    "pretrain --gin_file=gin/models/pocket_english.gin": "text of your own",
    "plan --model=xxl": "minutes; tests/training/plan_test.py",
}
OWN_DEVICES = {"plan", "reproduce"}  # they make virtual ones, before JAX starts
FIRST = ["convert --format=hf --output=nano_hf"]  # for a T5 of Hugging Face's


def examples(name):
    """The words of a command's examples, without the command's own name."""
    module = importlib.import_module(f"prompt_tuning.commands.{name}")
    block = pages.Block(name, "sh", module.EXAMPLES, "")
    found = [words for words in pages.commands(block) if words[0] == "prompt-tuning"]
    return [words[1:] for words in found]


def begins(words, texts):
    return any(" ".join(words).startswith(text) for text in texts)


def plant():
    """What the examples call the user's own."""
    for name in ("t5-small-lm-adapt", "FOLDER"):
        shutil.copytree("nano_hf", name)
    rows = ["I liked it,good", "I left,bad"] * 10
    with open("reviews.csv", "w") as file:
        file.write("\n".join(["text,sentiment", *rows, ""]))
    with open("texts.csv", "w") as file:
        file.write("inputs\npassage: a robin sang. topic:\n")
    with open("mixed.jsonl", "w") as file:
        for name in ("cb", "short"):
            file.write(f'{{"task": "{name}", "inputs": "a robin sang"}}\n')


@pytest.mark.slow
def test_examples_run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert {*ORDER, "serve"} == parsing.COMMANDS.keys()
    ran = [
        (words, more)
        for name, more in ORDER.items()
        for words in examples(name)
        if not begins(words, NOT_RUN)
    ]
    ran.sort(key=lambda one: not begins(one[0], FIRST))
    for words, more in ran:
        if words[0] == "train" and not (tmp_path / "FOLDER").exists():
            plant()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a robin\n")))
        assert code([*words, *more]) == 0, (words, capfd.readouterr().err[-2000:])


def code(words):
    """The exit code of a command."""
    if words[0] not in OWN_DEVICES:
        return cli.main(words)
    command = [sys.executable, "-m", "prompt_tuning", *words]
    environment = {
        name: value
        for name, value in small.environment().items()
        if name != "XLA_FLAGS"
    }
    return subprocess.run(command, env=environment, check=False).returncode
