"""What JAX says of a lost process becomes one plain line; all else is passed on."""

import subprocess
import sys

import pytest

from prompt_tuning import last_word

ACCOUNT = (
    b"F1125 08:16:26.77 25007 client.h:80] " + last_word.ACCOUNT + b" fatal errors.\n"
    b"*** Check failure stack trace: ***\n    @  0x7ff2dc640634  absl::Flush()\n"
)
LINE = f"prompt-tuning: error: {last_word.LOST}\n".encode()


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        (b"", b""),
        (b"50%|#### \r60%|##### ", b"50%|#### \r60%|##### "),
        (b"\xff\xfe a traceback\n", b"\xff\xfe a traceback\n"),
        (ACCOUNT, b"\n" + LINE),
        (b"60%\n" + ACCOUNT, b"60%\n\n" + LINE),
    ],
)
def test_only_the_account_of_a_lost_process_is_replaced(said, passed_on):
    program = [sys.executable, last_word.__file__]
    ended = subprocess.run(program, input=said, capture_output=True)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, passed_on, b"")


def test_it_outlives_the_process():
    """The last line is told although the process that started it has ended."""
    code = f"""
import os
from prompt_tuning import last_word
last_word.start()
os.write(2, b"first\\n")
os.write(2, {ACCOUNT!r})
os.abort()
"""
    program = [sys.executable, "-c", code]
    ended = subprocess.run(program, capture_output=True)
    assert ended.stderr == b"first\n\n" + LINE
