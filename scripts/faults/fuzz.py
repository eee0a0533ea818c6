"""Damages files of each kind that we read, and counts what becomes of it.

    python scripts/faults/fuzz.py --count=1000 --seconds=10

Each reader runs in a process of its own, under a limit of memory. An input is read
(accepted), refused with one plain message that names the file (clean), or it is a
traceback, a hang (more than --seconds), too much memory, or the end of the process.
Prints a table, and an input of each fault; ends with 1 if there were any.
"""

import argparse
import collections
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

OUTCOMES = ("clean", "accepted", "traceback", "hang", "memory", "died")
MEMORY = 3 * 2**30  # bytes that a reader may have more than at its start


def work(kind, first, count, pipe):
    """Reads damaged inputs one after another, and tells what became of each."""
    from faults import inputs

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    reader = inputs.READERS[kind]
    with tempfile.TemporaryDirectory() as folder:
        made = reader.make(Path(folder, "whole"))
        inputs.outcome(reader, made, str(made))  # imports what it needs
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for number in range(first, first + count):
            pipe.send((number, "starts", ""))
            copy = Path(folder, "copy") / made.relative_to(Path(folder, "whole"))
            shutil.rmtree(Path(folder, "copy"), ignore_errors=True)
            shutil.copytree(Path(folder, "whole"), Path(folder, "copy"))
            what = inputs.damage(copy, number)
            pipe.send((number, *inputs.outcome(reader, copy, what)))
    pipe.send((-1, "ends", ""))


def fuzz(kind, count, seconds, until):
    """Counts of the outcomes, and an example of each fault."""
    counts, examples, first = collections.Counter(), {}, 0
    while first < count and time.monotonic() < until:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(kind, first, count - first, there)
        )
        process.start()
        there.close()
        started, number, limit = False, first, 120
        fault = ""
        while not fault and time.monotonic() < until:
            try:
                if not here.poll(limit):
                    fault = "hang"
                    break
                number, outcome, text = here.recv()
            except (EOFError, ConnectionResetError):
                fault = "died"
                break
            if outcome == "ends":
                break
            limit, started = seconds, True
            if outcome != "starts":
                counts[outcome] += 1
                first = number + 1
                if outcome in OUTCOMES[2:]:
                    examples.setdefault(text.split("\n")[-2][:60], (number, text))
        process.kill()
        process.join()
        if fault:
            counts[fault] += 1
            examples[f"{fault} {number}"] = number, fault
            first = number + 1
            if not started:
                break
        elif number == -1:
            break
    return counts, examples


def main():
    from faults import inputs

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000, help="inputs of each kind")
    parser.add_argument("--seconds", type=float, default=10, help="for an input")
    parser.add_argument("--minutes", type=float, default=60, help="for all kinds")
    parser.add_argument("--kinds", nargs="*", default=list(inputs.READERS))
    args = parser.parse_args()
    print(f"{'kind':16}" + "".join(f"{name:>11}" for name in OUTCOMES), flush=True)
    total, shown = collections.Counter(), []
    end = time.monotonic() + 60 * args.minutes
    for left, kind in zip(range(len(args.kinds), 0, -1), args.kinds, strict=True):
        until = time.monotonic() + (end - time.monotonic()) / left
        counts, examples = fuzz(kind, args.count, args.seconds, until)
        total += counts
        shown += [(kind, *example) for example in examples.values()]
        print(f"{kind:16}" + "".join(f"{counts[o]:>11}" for o in OUTCOMES), flush=True)
    print(f"{'all':16}" + "".join(f"{total[o]:>11}" for o in OUTCOMES))
    for kind, number, text in shown:
        print(f"\n{kind} {number}: {text[-900:]}")
    return int(bool(shown))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        traceback.print_exc()
