"""Do many prompts in one batch cost more than one? Examples a second.

    python scripts/bench/many_prompts.py [MODEL] [--examples=N] [--length=P]

MODEL is a frozen model as `prompt_tuning.load` takes it, by default pocket_nano. The
prompts are random; each text is answered greedily with exactly 16 tokens. The first
line is the program that `evaluate` runs with one prompt; the others are mixes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import prompt_tuning
from prompt_tuning import memory
from prompt_tuning.serving.model import Model
from prompt_tuning.serving.prompts import Facts

ANSWER = 16  # tokens
COUNTS = 1, 64, 1_024  # prompts


def main() -> None:
    """Prints a line for each number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="pocket_nano")
    parser.add_argument("--examples", type=int, default=1_024)
    parser.add_argument("--length", type=int, default=100)
    args = parser.parse_args()
    memory.use_huge_pages()
    model = prompt_tuning.load(args.model)
    width = model.network.config.emb_dim
    rng = np.random.default_rng(0)
    for number in range(max(COUNTS)):
        prompt_PxD = rng.normal(size=(args.length, width)).astype(np.float32)
        facts = Facts(args.length, "prefix", None, ANSWER, None, Path(), {})
        model.put(str(number), prompt_PxD, facts)
    texts = [f"is a robin number {i} a bird?" for i in range(args.examples)]
    report("evaluate's program, one prompt", one_alone(model, texts, args.length))
    for count in COUNTS:
        names = [str(number) for number in rng.integers(count, size=len(texts))]
        report(f"{count:,} prompts", mixed(model, texts, names))


def one_alone(model: Model, texts: list[str], length: int) -> Callable[[], Any]:
    """Answers with one prompt, as `evaluate` does."""
    from prompt_tuning.t5 import placing
    from prompt_tuning.t5.extra import Extra
    from prompt_tuning.training import predictor
    from prompt_tuning.training.task import encode_rows

    inputs_NxT, _ = encode_rows(texts, model.vocabulary)
    vectors = np.random.default_rng(0).normal(
        size=(length, model.network.config.emb_dim)
    )
    make = predictor.make_predict_fn(model.network, model.mesh, ANSWER)
    fn = make(model.params, Extra(placing.prefix(vectors.astype(np.float32))))
    batch_size = model.settings.run.batch_size
    return lambda: predictor.predict_in_batches(fn, inputs_NxT, batch_size)


def mixed(model: Model, texts: list[str], names: list[str]) -> Callable[[], Any]:
    """Answers with each text's own prompt."""
    return lambda: model.generate(texts, names)


def report(name: str, run: Callable[[], Any], repeats: int = 5) -> None:
    """The median of several runs after the one that compiles."""
    count = len(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    rates = sorted(count / seconds for seconds in times)
    print(
        f"{name:32} {statistics.median(rates):8.1f} examples/s "
        f"({rates[0]:.1f} to {rates[-1]:.1f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
