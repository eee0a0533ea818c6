"""The commands, and how their flags are read.

Only the module of the command that is asked for is imported, and nothing heavy with it,
so that `--help` and the shell's completion are quick.
"""

import argparse
import difflib
import functools
import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import prompt_tuning
from prompt_tuning.commands import flags

PROG = "prompt-tuning"
GROUPS = {  # one file in commands/ for each
    "tune prompts, and measure them": {
        "train": "tune a prompt (or the model) and evaluate it",
        "evaluate": "evaluate a trained prompt on a split",
        "compare": "set runs side by side: scores by setting, deviation over seeds, "
        "curves",
        "ensemble": "let several prompts of one task answer a split together",
    },
    "use them, and read them": {
        "predict": "answer lines of text or JSONL; write JSONL",
        "serve": "answer over HTTP, as OpenAI's API; a page to compare prompts",
        "export": "write a prompt as .npy, .safetensors or PEFT's folder",
        "inspect": "read prompts: neighbours, norms, clusters, similarities; pictures",
    },
    "the paper": {
        "reproduce": "run the paper's experiments; set them in its tables and figures",
        "params": "parameter counts of every size (the paper's Table 4)",
    },
    "data, frozen models, devices": {
        "tasks": "list the tasks; show or check their data",
        "pretrain": "make a frozen model: span corruption, prefix LM",
        "convert": "write a T5 checkpoint in our format or transformers'",
        "plan": "memory a run needs on each device; fewest devices it fits",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
HEAD = """\
Prompt tuning of a frozen T5 (Lester et al., 2021). The model stays as it is; what is
trained is a short sequence of vectors in front of its input.
"""
FOOT = """\
begin with:
  prompt-tuning train --gin_file=gin/runs/prompt_tune.gin --gin.MODEL_DIR=runs/mine
  prompt-tuning evaluate --gin.MODEL_DIR=runs/mine
  prompt-tuning train --help      flags, settings with their defaults, examples

Settings are gin's: --gin_file=FILE reads some, --gin.NAME=VALUE sets one.
"""


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line; below its help stands what `more` gives."""

    more: Callable[[], str] = staticmethod(str)

    def format_help(self) -> str:
        """The help, made when it is asked for."""
        return super().format_help() + self.more()

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit code 2, without argparse's many lines of usage."""
        self.exit(2, f"{PROG}: error: {message}; {self.prog} --help tells more\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags of a command; `bindings` are its `NAME=VALUE`.

    Raises:
      SystemExit: help or the version was asked for (code 0), or the arguments are
        none (2).
    """
    parser, command = parsers(arguments)
    first = arguments[0] if arguments else "-"
    if not first.startswith("-") and first not in COMMANDS:
        near = difflib.get_close_matches(first, COMMANDS, 1)
        told = f"did you mean {near[0]}?" if near else f"there are {_listed()}"
        parser.error(f"there is no command {first!r}; {told}")
    args, rest = parser.parse_known_args(arguments)
    args.bindings = []
    for text in rest:
        if not text.startswith("--gin.") or "=" not in text:
            (command or parser).error(_unknown(text, command or parser))
        args.bindings.append(text.removeprefix("--gin."))
    return args


def parsers(
    words: Sequence[str],
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The parser, and that of the command in `words`; only this one has its flags."""
    usage = f"{PROG} COMMAND [FLAGS] [--gin.NAME=VALUE ...]"
    parser = _Parser(PROG, usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.description, parser.epilog = f"{HEAD}\n{_list()}", FOOT
    version = f"{PROG} {prompt_tuning.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(
        metavar="COMMAND", required=True, help=argparse.SUPPRESS, prog=PROG
    )
    asked = next((word for word in words if word in COMMANDS), None)
    subs = {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in COMMANDS.items()
    }
    if asked is None:
        return parser, None
    sub, module = subs[asked], importlib.import_module(f"{_ROOM}.{asked}")
    sub.set_defaults(run=module.run)
    flags.add_settings(sub)
    module.add_flags(sub)
    sub.more = functools.partial(_more, module)
    return parser, sub


_ROOM = "prompt_tuning.commands"


def _more(module: Any) -> str:
    from prompt_tuning.commands import manual  # reads all settings

    return manual.text(module)


def _list() -> str:
    """The commands by group."""
    return "\n".join(
        f"{title}:\n"
        + "".join(f"  {name:<10} {text}\n" for name, text in group.items())
        for title, group in GROUPS.items()
    )


def _listed() -> str:
    return ", ".join(COMMANDS)


def _unknown(text: str, parser: argparse.ArgumentParser) -> str:
    """What is wrong with an argument that is neither a flag nor a setting."""
    from prompt_tuning import near_names  # reads all settings

    flag, _, value = text.partition("=")
    name = flag.lstrip("-").removeprefix("gin.")
    told = f"unknown argument {text!r}; settings are given as --gin.NAME=VALUE"
    if not flag.startswith("-"):
        return told
    own = re.findall(r"--\w+", parser.format_usage())
    near = difflib.get_close_matches(flag, own, 1)
    settings = near_names.settings_near(name)
    exact = [one for one in settings if near_names.field_of(one) == name.lower()]
    names = exact or ([] if near else settings)
    found = [f"--gin.{one}={value or 'VALUE'}" for one in names] or near
    return told + (f"; did you mean {' or '.join(found)}?" if found else "")
