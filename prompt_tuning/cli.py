"""`prompt-tuning COMMAND`: reads flags, runs the command, returns an exit code.

Everything heavy is imported inside the commands, so that `--help` is quick.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from os import _exit as end_at_once
from typing import Any

from prompt_tuning import interrupts, last_word, memory
from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError, plain

PROG = "prompt-tuning"
COMMANDS = {  # one file in commands/ for each
    "train": "tune a prompt (or the model) and evaluate it",
    "evaluate": "evaluate a trained prompt on a split",
    "compare": "set runs side by side: scores by setting, deviation over seeds, curves",
    "reproduce": "run the paper's experiments; set them in its tables and figures",
    "ensemble": "let several prompts of one task answer a split together",
    "inspect": "read prompts: neighbours, norms, clusters, similarities; pictures",
    "predict": "answer lines of text or JSONL; write JSONL",
    "serve": "answer over HTTP, as OpenAI's API; a page to compare prompts",
    "tasks": "list the tasks; show or check their data",
    "pretrain": "make a frozen model: span corruption, prefix LM",
    "plan": "memory a run needs on each device; fewest devices it fits",
    "params": "parameter counts of every size (the paper's Table 4)",
    "convert": "write a T5 checkpoint in our format or transformers'",
    "export": "write a prompt as .npy, .safetensors or PEFT's folder",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, and returns its exit code.

    0; 2 for a user's mistake or a full disk; 130 if interrupted by Ctrl-C; 143 if
    stopped by SIGTERM.
    """
    # Keep the start-up messages of TensorFlow and XLA off stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise Orbax and JAX's cache import TensorFlow to write to folders.
    os.environ.setdefault("EPATH_USE_TF", "false")
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with interrupts.handled():
            args.run(args)
        sys.stdout.flush()  # here, where a closed pipe is caught below
        return 0
    except KeyboardInterrupt:
        print(f"\n{PROG}: interrupted; run the same command to resume", file=sys.stderr)
        return 130
    except interrupts.Terminated:
        print(
            f"\n{PROG}: stopped by SIGTERM; run the same command to resume",
            file=sys.stderr,
        )
        return 143
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # a full disk, a folder gone
            name = error.filename2 or error.filename
            where = f" {name!r}" if name else ""
            error = UserError(
                f"cannot read or write{where}: {error.strerror}; mend that, and the "
                "same command goes on"
            )
        if "jax" in sys.modules and _is_lost_process(error):
            error = UserError(last_word.LOST)
        if not getattr(error, "user_message", False):
            raise
        print(f"{PROG}: error: {plain(str(error))}", file=sys.stderr)
        return 2


def _is_lost_process(error: Exception) -> bool:
    from prompt_tuning import partitioning

    return partitioning.is_lost_process(error)


def console() -> None:
    """`prompt-tuning`: a command that failed ends at once.

    The interpreter would first wait for what runs in the background: a save that cannot
    be written, a compilation, other processes of the run.
    """
    memory.use_huge_pages()
    _forget_late_news()
    code = main()
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        end_at_once(code)


def _forget_late_news() -> None:
    """Drops what a failed save's threads tell Orbax, which no longer listens.

    It would be a traceback for each array, beside our line on what went wrong.
    """

    def is_late(error: BaseException | None) -> bool:
        return isinstance(error, RuntimeError) and "loop is closed" in str(error)

    except_hook, unraisable_hook = sys.excepthook, sys.unraisablehook

    def excepted(kind: Any, error: BaseException, trace: Any) -> None:
        if not is_late(error):
            except_hook(kind, error, trace)

    def unraisable(told: Any) -> None:
        if not is_late(told.exc_value):
            unraisable_hook(told)

    sys.excepthook, sys.unraisablehook = excepted, unraisable


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Prompt tuning of a frozen T5 (Lester et al., 2021).",
        epilog="Settings are gin's: --gin_file=gin/runs/prompt_tune.gin reads a file, "
        "--gin.NAME=VALUE overrides a setting (--gin.MODEL_DIR=runs/mine).",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = importlib.import_module(f"prompt_tuning.commands.{name}")
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=command.run)
        flags.add_settings(sub)
        command.add_flags(sub)
    args, rest = parser.parse_known_args(arguments)
    args.bindings = []
    for text in rest:
        if not text.startswith("--gin.") or "=" not in text:
            parser.error(
                f"unknown argument {text!r}; settings are given as --gin.NAME=VALUE"
            )
        args.bindings.append(text.removeprefix("--gin."))
    return args
