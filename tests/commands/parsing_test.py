"""The page of commands, one command's flags, the version."""

import re

import pytest
from source import ROOT

import prompt_tuning
from prompt_tuning.commands import parsing


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        parsing.parse(arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_page_names_every_command_and_fits_a_terminal(capsys):
    page = shown(capsys, "--help")
    for name, text in parsing.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", page, re.M)
    assert page.count("\n") < 40 and max(map(len, page.splitlines())) <= 88
    files = (ROOT / "prompt_tuning" / "commands").glob("*.py")
    parts = {"__init__", "common", "flags", "completion", "manual", "parsing"}
    assert {path.stem for path in files} - parts == parsing.COMMANDS.keys()


def test_the_version_is_told(capsys):
    assert shown(capsys, "--version") == f"prompt-tuning {prompt_tuning.__version__}\n"


def test_settings_go_to_bindings_in_their_order():
    typed = ["--gin.SEED=1", "--jobs=2", "--gin.Run.seed=2"]
    args = parsing.parse(["train", *typed])
    assert (args.bindings, args.jobs) == (["SEED=1", "Run.seed=2"], 2)


def test_only_the_command_that_is_asked_for_has_flags():
    _, command = parsing.parsers(["plan", "train"])
    assert command and command.prog == "prompt-tuning plan"
    assert parsing.parsers(["--help"])[1] is None
