"""Times a training step of each method against prompt tuning's, in turns.

    python scripts/bench/methods.py [--size=small] [--methods=lora,ia3] [--turns=10]
        [--batch=8] [--inputs=256] [--targets=16] [--prompt=100] [--dtype=float32]

T5 1.1 with random weights, methods with their options as by default. All steps are in
one process, which goes round them --turns times, each time from another one on. A
figure is the median over turns, and a ratio the median of a turn's ratios to the step
of prompt tuning in the same turn, so that what slows the machine for a while slows
both. FLOPs are XLA's count, as a ratio too. The weights are shared by the methods that
leave them as they are. SIZE is a file of gin/models or an embedded model.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import random_step

from prompt_tuning import config, methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description
from prompt_tuning.runs import parameters
from prompt_tuning.settings import T5Config

PROMPT = "prompt"


class Method(NamedTuple):
    """A method's step; values: how many it trains."""

    run: Callable[[], Any]
    values: int
    flops: float


def shape(name: str, dtype: str) -> T5Config:
    """The model of a size, or of an embedded name."""
    if name.startswith("pocket"):
        found = description.config(name, {})
    else:
        found = parameters.size(name)
    return dataclasses.replace(found, dtype=dtype, param_dtype=dtype)


def build(args: argparse.Namespace, name: str, params: Any) -> Method:
    """A method's step, compiled."""
    parts = random_step.build(
        shape(args.size, args.dtype),
        batch_size=args.batch,
        inputs=args.inputs,
        targets=args.targets,
        prompt=args.prompt,
        method=name,
        params=params,
    )
    compiled = parts.compiled()
    values = sum(x.size for x in jax.tree.leaves(parts.states[0].trained))
    return Method(parts.runner(compiled), values, compiled.cost_analysis()["flops"])


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measured(steps: dict[str, Method], turns: int) -> dict[str, list[float]]:
    """Seconds of a step in each turn, after two that do not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(2 + turns):
        first = turn % len(steps)
        for name in [*steps][first:] + [*steps][:first]:
            times[name].append(seconds(steps[name].run))
    return {name: found[2:] for name, found in times.items()}


def table(steps: dict[str, Method], times: dict[str, list[float]]) -> None:
    print(
        f"{'method':<16}{'trained':>14}{'ms':>10}{'least':>10}{'ratio':>8}{'FLOPs':>8}"
    )
    for name, (_, values, flops) in steps.items():
        own = times[name]
        ratio = statistics.median(
            x / y for x, y in zip(own, times[PROMPT], strict=True)
        )
        print(
            f"{name:<16}{values:>14,}{1e3 * statistics.median(own):>10.1f}"
            f"{1e3 * min(own):>10.1f}{ratio:>8.2f}{flops / steps[PROMPT].flops:>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small")
    parser.add_argument("--methods", default=",".join(methods.NAMES))
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=256)
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    weights, steps = random_step.weights(shape(args.size, args.dtype)), {}
    for name in dict.fromkeys([PROMPT, *args.methods.split(",")]):
        try:
            of = methods.of(config.load([], [f"METHOD={name}"]))
            if of.trains:
                params = weights if of.shares else None
                steps[name] = build(args, name, params)
        except UserError as error:
            print(f"{name} is left out: {error}")
    print(
        f"{args.size}, {args.dtype}: {args.batch} examples, inputs of {args.inputs}, "
        f"targets of {args.targets}, a prompt of {args.prompt}; medians of "
        f"{args.turns} turns on {jax.devices()[0].device_kind}\n"
    )
    table(steps, measured(steps, args.turns))


if __name__ == "__main__":
    main()
