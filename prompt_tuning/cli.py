"""`prompt-tuning COMMAND`: reads flags, runs the command, returns an exit code.

Everything heavy is imported inside the commands, so that `--help` is quick.
"""

import io
import os
import sys
from collections.abc import Sequence
from os import _exit as end_at_once
from typing import Any

from prompt_tuning import interrupts, last_word, memory
from prompt_tuning.commands import parsing
from prompt_tuning.commands.parsing import PROG
from prompt_tuning.errors import UserError, plain


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
    args = parsing.parse(sys.argv[1:] if arguments is None else arguments)
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
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        from prompt_tuning.commands import completion

        completion.complete(*parsing.parsers(completion.words()))
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
