"""Says in one plain line what JAX says with a C++ stack: another process has ended.

JAX then ends this process too, from a thread of C++ that Python cannot stop. So what a
process of several writes on stderr goes through a small process of its own, which is
this module: it passes everything on, but for that account.
"""

import os
import subprocess
import sys

ACCOUNT = b"Terminating process because the JAX distributed service detected"
LOST = (
    "another process of this run has ended, or cannot be reached; see what it said, "
    "and start them all again with the same command: they resume"
)


def start() -> None:
    """From now on, what this process writes on stderr goes through `main`."""
    watcher = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it: it ends when we have
    )
    assert watcher.stdin
    sys.stderr.flush()
    os.dup2(watcher.stdin.fileno(), 2)
    watcher.stdin.close()


def main() -> None:
    """Passes stdin on to stderr, until the account of a lost process."""
    lost = False
    while text := os.read(0, 2**16):
        if not lost and ACCOUNT in text:
            lost, text = True, text[: text.rfind(b"\n", 0, text.index(ACCOUNT)) + 1]
            text += f"\nprompt-tuning: error: {LOST}\n".encode()
        elif lost:
            continue
        try:
            os.write(2, text)
        except OSError:  # nobody reads; the work goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    main()
