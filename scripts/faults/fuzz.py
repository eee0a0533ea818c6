"""Damages inputs of every kind that we read, and counts what becomes of them.

    python scripts/faults/fuzz.py --count=3000

Each kind is read in a process of its own. A damaged input is refused with one plain
message that names it, or accepted: then what was read must be what an independent
reading of it gives (tests/faults/kinds.py). All else is a fault: a traceback, a wrong
value, a hang (more than --seconds), more than a gigabyte of memory, or the end of the
process. Prints a table, and an input of each fault; ends with 1 if there were any.
"""

import argparse
import collections
import importlib.util
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

FAULTS = ("traceback", "wrong", "hang", "memory", "died")
OUTCOMES = ("refused", "accepted", *FAULTS)
MEMORY = 2**30  # bytes that reading one input may take
MOST = 6 * 2**30  # bytes that the process may reserve more than at its start


def work(names, first, start, count, place, pipe):
    """Reads damaged inputs one after another, and tells what became of each.

    Args:
      first: the number of the first input of the first kind; `start` of the others.
      place: an empty folder.
    """
    from faults import damage, kinds

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    most = _memory("VmSize") + MOST
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for name in names:
        kind = kinds.KINDS[name]
        with tempfile.TemporaryDirectory(dir=place) as folder:
            places = (Path(folder, place, "x") for place in ("whole", "copy"))
            whole, path = (kind.make(place) for place in places)
            found = kinds.outcome(kind, path, whole)  # imports what it needs
            assert found[0] == "accepted", found
            files = damage.snapshot(Path(folder, "copy"))
            for number in range(first, start + count):
                pipe.send((name, number, "starts", ""))
                damage.restore(Path(folder, "copy"), files)
                what = damage.damage(path, number, *kind.how)
                Path("/proc/self/clear_refs").write_text("5")  # the peak is now
                before = _memory("VmHWM")
                outcome, said = kinds.outcome(kind, path, whole)
                if _memory("VmHWM") - before > MEMORY:
                    outcome = "memory"
                pipe.send((name, number, outcome, f"{what}\n{said}"))
            first = start
    pipe.send(("", -1, "ends", ""))


def _memory(name):
    """Bytes of this process by one of the kernel's names."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def fuzz(names, start, count, seconds):
    """Yields what became of each input: (kind, number, outcome, what was said)."""
    names, first = list(names), start
    while names:
        here, there = multiprocessing.Pipe()
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(names, first, start, count, folder.name, there)
        )
        process.start()
        there.close()
        name, number, outcome, fault = names[0], first, "", ""
        while outcome != "ends" and not fault:
            try:
                # A kind's first input may import something.
                limit = seconds if outcome == "starts" and number > start else 300
                if not here.poll(limit):
                    fault = "hang"
                    break
                name, number, outcome, text = here.recv()
            except (EOFError, ConnectionResetError):
                fault = "died"
                break
            if outcome not in ("starts", "ends"):
                yield name, number, outcome, text
        process.kill()
        process.join()
        folder.cleanup()
        if not fault:
            return
        yield name, number, fault, fault
        names, first = names[names.index(name) :], number + 1


def _row(name, counts):
    return f"{name:28}" + "".join(f"{counts[outcome]:>10,}" for outcome in OUTCOMES)


def main():
    from faults import kinds

    there = dict(kinds.KINDS)
    if not importlib.util.find_spec("torch"):
        del there["torch"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=3_000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them")
    parser.add_argument("--seconds", type=float, default=20, help="for an input")
    parser.add_argument("--kinds", nargs="*", default=list(there))
    args = parser.parse_args()
    print(f"{'kind':28}" + "".join(f"{name:>10}" for name in OUTCOMES), flush=True)
    counts = collections.defaultdict(collections.Counter)
    shown, begin = {}, time.monotonic()
    for kind, *found in fuzz(args.kinds, args.seed, args.count, args.seconds):
        number, outcome, text = found
        counts[kind][outcome] += 1
        if counts[kind].total() == args.count:
            print(_row(kind, counts[kind]), flush=True)
        if outcome in FAULTS:
            last = text.strip().split("\n")[-1][:60]
            shown.setdefault((kind, last), (number, outcome, text))
    total = sum(counts.values(), collections.Counter())
    print(_row("all", total))
    seconds = time.monotonic() - begin
    print(f"{total.total():,} inputs in {seconds:,.0f} s, seed {args.seed}")
    for (kind, _), (number, outcome, text) in shown.items():
        print(f"\n{kind} {number}, {outcome}: {text[:200]} ... {text[-1_000:]}")
    return int(bool(shown))


if __name__ == "__main__":
    raise SystemExit(main())
