"""What `COMMAND --help` says: settings and defaults are ours, examples work."""

import importlib
import re

import pages
import pytest

from prompt_tuning import config
from prompt_tuning.commands import manual, parsing
from prompt_tuning.settings import FIELDS, Run

every_command = pytest.mark.parametrize("name", parsing.COMMANDS)


def module(name):
    return importlib.import_module(f"prompt_tuning.commands.{name}")


def examples(name):
    """The words of a command's examples."""
    block = pages.Block(name, "sh", module(name).EXAMPLES, "")
    commands = [words for words in pages.commands(block) if words[0] != "grep"]
    return [words[1:] for words in commands if words[0] == "prompt-tuning"]


def defaults_told(page):
    """{setting: what its help says is its default}."""
    settings = page.partition("--gin.NAME=VALUE:\n")[2].partition("\ndocs/")[0]
    entries = re.split(r"\n  (?=\S)", "\n" + settings)[1:]
    told = {}
    for entry in entries:
        name, _, text = " ".join(entry.split()).partition(" ")
        told[name] = "".join(re.findall(r"\(default: (.*)\)$", text))
    return told


@every_command
def test_settings_are_those_of_the_dataclasses_with_their_defaults(name, capsys):
    with pytest.raises(SystemExit):
        parsing.parse([name, "--help"])
    page = capsys.readouterr().out
    told = defaults_told(page)
    assert list(told) == list(manual.names(module(name).SETTINGS))
    assert len({*told}) == len(told) and told.keys() <= FIELDS.keys()
    for setting, shown in told.items():
        default = FIELDS[setting].default
        if shown:  # the flag that it is shown for sets just that
            found = config.named(config.load([], [f"{setting}={shown}"]))
            assert found[setting] == default
        else:
            assert default in (None, "", ())
    assert page.rstrip().endswith(module(name).EXAMPLES.strip()[-20:].strip())


def test_a_section_stands_for_its_settings_and_lines_are_no_wider_than_asked(
    monkeypatch,
):
    found = list(manual.names(["SEED", "mesh", "lora.rank"]))
    assert found == ["SEED", "mesh.data", "mesh.model", "lora.rank"]
    monkeypatch.setenv("COLUMNS", "70")
    settings = manual.text(module("pretrain")).partition("docs/")[0]
    assert max(map(len, settings.splitlines())) <= 70


def test_defaults_are_as_one_types_them():
    fields = Run.__dataclass_fields__
    names = "prompt_init", "seed", "tensorboard", "inputs", "model_dir", "keep_steps"
    shown = [manual.default(fields[name]) for name in names]
    assert shown == ["class_label", "0", "False", "", "", ""]


@every_command
def test_there_are_three_examples_and_each_parses(name):
    found = examples(name)
    assert len(found) == module(name).EXAMPLES.count("\n# ") == 3
    for words in found:
        args = parsing.parse(words)  # exits for a flag that is none
        assert words[0] == name
        sweeps = [one.partition("=")[0] for one in getattr(args, "sweep", ())]
        assert {*sweeps} <= FIELDS.keys()
        config.load(args.gin_file, args.bindings)  # raises for a setting that is none
    long = [line for line in module(name).EXAMPLES.splitlines() if len(line) > 86]
    assert not long
