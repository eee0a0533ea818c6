"""Shows where a step's time goes, by kind of operation, from XLA's own profile.

    python scripts/bench/kinds.py [--attention=plain] [--dtype=bfloat16]

It runs the step of step.py ten times. Operations run concurrently, and the profile does
not show the threads that help one of them, so shares are of the sum of their own times.
"""

import argparse
import collections
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import random_step
import step

from prompt_tuning.runs import parameters

# An operation's kind is the first whose pattern it matches.
KINDS = {
    "MLP, products": r"product .*encoder.*/mlp/.*(wi_|wo)",
    "attention's projections": r"product .*encoder.*/(query|key|value|out)/",
    "attention's scores and sums": r"product .*encoder",
    "decoder and logits, products": r"product ",
    "MLP, gated GELU": r"other .*encoder.*/mlp/",
    "attention, softmax and layout": r"other .*encoder.*attention",
    "encoder, norms and residuals": r"other .*encoder",
    "the rest": r"",
}


def operations(hlo: str) -> dict[str, str]:
    """{name: "product ..." or "other ...", followed by its place in the model}."""
    bodies, body = collections.defaultdict(list), ""
    for line in hlo.splitlines():
        if line.endswith("{") and (head := re.match(r"(ENTRY )?%?([\w.-]+) \(", line)):
            body = head[2]
        bodies[body].append(line)
    found = {}
    for line in hlo.splitlines():
        head = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = \S+ ([\w-]+)\(", line)
        if not head:
            continue
        called = re.search(r"calls=%?([\w.-]+)", line)
        inside = bodies[called[1]] if called else [line]
        product = any(" dot(" in one for one in inside)
        where = re.search(r'op_name="([^"]*)"', line)
        kind = "product" if product else "other"
        found[head[1]] = f"{kind} {head[2]} {where[1] if where else ''}"
    return found


def events(folder: str) -> Iterator[tuple[str, float]]:
    """Yields (name, seconds) of what ran under the profiler."""
    for file in Path(folder).rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                if line.name != "python":
                    yield from ((e.name, e.duration_ns / 1e9) for e in line.events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attention", default="auto", choices=("auto", "plain"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    kept = {"attention": args.attention, "dtype": args.dtype, "param_dtype": args.dtype}
    config = dataclasses.replace(parameters.size("small"), **kept)
    size = {"batch_size": step.BATCH, "inputs": step.INPUTS, "targets": step.TARGETS}
    parts = random_step.build(config, prompt=step.PROMPT, **size)
    compiled = parts.compiled()
    run = parts.runner(compiled)
    run()
    times: dict[str, float] = collections.defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(10):
                run()
        known = operations(compiled.as_text())
        for name, seconds in events(folder):
            if name in known and not known[name].startswith("other while"):
                kind = next(k for k, of in KINDS.items() if re.search(of, known[name]))
                times[kind] += seconds
    total = sum(times.values())
    for kind in (kind for kind in KINDS if times[kind]):
        print(f"{kind:<32}{times[kind] / total:>7.1%}")


if __name__ == "__main__":
    main()
