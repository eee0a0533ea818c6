"""What the shell is told may come next."""

import os
import subprocess
import sys

import pytest
from source import ROOT

from prompt_tuning.commands import completion, parsing
from prompt_tuning.settings import FIELDS

KINDS = {"pocket_kind", "pocket_kind_named", "pocket_kind_sentinel"}
SETTINGS = {f"--gin.MIXTURE_OR_TASK_{what}=" for what in ("MODULE", "NAME")}
MINE = """
from prompt_tuning.tasks import TextTask
TASKS = {"tone": TextTask("tone", {"train": 9}, iter)}
"""


def completed(line, folder, *python):
    """What argcomplete's shell function would be given for a line."""
    told = folder / "told"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(told),
    }
    command = [sys.executable, *(python or ("-m", "prompt_tuning"))]
    subprocess.run(command, env=environment, cwd=folder, check=True)
    return told.read_text().split("\n")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", {*parsing.COMMANDS, "--help", "--version", "-h"}),
        ("tr", {"train"}),
        ("train --sw", {"--sweep"}),
        ("train --gin.PROMPT_L", {"--gin.PROMPT_LENGTH="}),
        ("train --gin.lora.", {"--gin.lora.rank=", "--gin.lora.alpha="}),
        ("train --gin.PROMPT_PLACE=", {"prefix", "suffix"}),
        ("train --gin.METHOD=re", {"residual"}),
        ("train --gin.T5Config.remat=", {"True", "False"}),
        ("train --gin.MODEL_DIR=ru", {"runs/"}),
        ("train --gin.MIXTURE_OR_TASK_NAME=pocket_ki", KINDS),
        ("train --gin.MIXTURE_OR_TASK_NAME=ta", {"table.csv"}),
        ("train --gin.MIXTURE_OR_TASK_MODULE=('mine',) --gin.MIX", SETTINGS),
        (
            "train --gin.MIXTURE_OR_TASK_MODULE=mine --gin.MIXTURE_OR_TASK_NAME=t",
            {"tone", "table.csv"},
        ),
        ("tasks --render=pocket_ki", KINDS),
        ("tasks --render pocket_ki", KINDS),
        ("train --gin_file=gin/models/x", {"gin/models/xl.gin", "gin/models/xxl.gin"}),
        ("train --gin_file=ow", {"own.gin"}),
        ("export --format=", {"peft", "text"}),
        ("compare ru", {"runs/"}),
    ],
)
def test_what_may_come_next(typed, expected, tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("own.gin", "table.csv", "table.txt"):
        (tmp_path / name).touch()
    (tmp_path / "mine.py").write_text(MINE)
    found = completed(f"prompt-tuning {typed}", tmp_path)
    # bash takes what stands behind "=" for a word of its own.
    assert {one.rpartition("=")[2] or one for one in found} == expected


@pytest.mark.parametrize(
    "typed", ["gin.DECODING=", "gin.MIXTURE_OR_TASK_NAME=", "gin_file="]
)
def test_nothing_heavy_is_loaded_while_the_user_waits(typed, tmp_path):
    code = """
import os, sys
from prompt_tuning.commands import completion, parsing

def ended(code):
    heavy = {"jax", "tensorflow", "seqio", "numpy", "gin"} & {*sys.modules}
    os._exit(bool(heavy))

import argcomplete
autocomplete = argcomplete.autocomplete
argcomplete.autocomplete = lambda *a, **k: autocomplete(*a, exit_method=ended, **k)
completion.complete(*parsing.parsers(completion.words()))
"""
    line = f"prompt-tuning train --{typed}"
    assert len(completed(line, tmp_path, "-c", code)) >= 2


def test_values_are_those_that_settings_may_have():
    assert completion.values(FIELDS["DECODING"]) == ("greedy", "labels")
    assert "lora" in completion.values(FIELDS["METHOD"])
    assert completion.values(FIELDS["TENSORBOARD"]) == ("True", "False")
    assert not completion.values(FIELDS["SEED"])
