"""Measures what padding batches only to a bucket saves, on real files.

    python scripts/bench/padding.py --data_dir=D --vocabulary=spiece.model

T5 1.1 Small, random weights, float32, targets of 8, prompts of 20 and 100. A step of 4
examples is timed at each bucket; the time is the median of ten turns. Batches of 32 are
drawn as in `train`, with LENGTH_WINDOW 1 and 16 and in parts by length, and their
buckets are counted, which gives examples per second, compared with padding all to 512;
between timed lengths the time is interpolated. A part has as many examples as a timed
step, whose update is counted with it. The mix of a batch is the
standard deviation, over batches, of the share of the most frequent target; a window
raises it if targets correlate with length.
"""

import argparse
import collections
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import random_step

from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parameters
from prompt_tuning.tasks_io import tasks
from prompt_tuning.training import batching

TASKS = ("rte", "cb", "wic", "boolq")
BATCH, TIMED, STEPS, TURNS, WINDOW = 32, batching.PART, 320, 10, 16
LENGTH, TARGETS = 512, 8


def step_times(prompt_length: int) -> dict[int, float]:
    """Seconds of a step at each input length, taking turns."""

    def run(length: int) -> Callable[[], object]:
        size = {"batch_size": TIMED, "inputs": length, "targets": TARGETS}
        config = parameters.size("small")
        return random_step.build(config, prompt=prompt_length, **size).runner()

    runs = {length: run(length) for length in (*batching.BUCKETS, LENGTH)}
    times: dict[int, list[float]] = collections.defaultdict(list)
    for turn in range(TURNS + 1):  # the first compiles
        for length, go in runs.items():
            start = time.perf_counter()
            go()
            if turn:
                times[length].append(time.perf_counter() - start)
    return {length: statistics.median(values) for length, values in times.items()}


def counted(examples: batching.Examples, window: int) -> tuple[dict[int, int], float]:
    """How many of STEPS batches fall in each bucket; the mix of a batch in percent."""
    batches = batching.batches(examples, BATCH, [0], window=window)
    made = list(itertools.islice(batches, STEPS))
    counts = collections.Counter(b["encoder_input_tokens"].shape[2] for b in made)
    targets = np.array([b["decoder_target_tokens"][:, 0] for b in made])
    rows, number = np.unique(
        targets.reshape(-1, targets.shape[2]), axis=0, return_counts=True
    )
    shares = (targets == rows[number.argmax()][None, None]).all(2).mean(1)
    return counts, 100 * shares.std()


def parted(examples: batching.Examples) -> dict[int, int]:
    """How many parts of STEPS batches fall in each bucket; whole batches if none do."""
    split = examples, BATCH, [0]
    buckets = batching.part_buckets(*split)
    if not buckets:
        scale = BATCH // batching.PART
        return {n: scale * count for n, count in counted(examples, 1)[0].items()}
    batches = batching.in_parts(*split, 0, buckets, batching.PART)
    parts = itertools.chain.from_iterable(itertools.islice(batches, STEPS))
    return collections.Counter(p["encoder_input_tokens"].shape[2] for p in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    vocabulary = load_vocabulary(args.vocabulary)
    times = {prompt: step_times(prompt) for prompt in (20, 100)}
    for prompt, seconds in times.items():
        text = ", ".join(f"{n}: {1e3 * s / TIMED:.0f}" for n, s in seconds.items())
        print(f"prompt {prompt}, ms an example at each length: {text}")
    print(
        "\ntask    split      prompt  at 512, ex/s  cut  ratio  window of 16  ratio"
        "  in parts  ratio  mix of a batch"
    )
    for name in TASKS:
        task = tasks.open_task(
            name, "prompt_tuning.tasks.paper", vocabulary, args.data_dir
        )
        for split in (args.split, "validation"):
            try:
                examples = task.load(split, {"inputs": LENGTH}).examples
            except ValueError:  # the folder lacks this file
                continue
            break
        random, windows = (counted(examples, window) for window in (1, WINDOW))
        scale = BATCH // TIMED  # a batch takes as long as so many timed steps
        counts = {LENGTH: STEPS}, random[0], windows[0]
        every = [{b: scale * n for b, n in one.items()} for one in counts]
        every.append(parted(examples))
        for prompt, seconds in times.items():
            known = list(seconds), list(seconds.values())
            fixed, cut, sorted_, parts = (
                STEPS * BATCH / sum(n * np.interp(b, *known) for b, n in one.items())
                for one in every
            )
            print(
                f"{name:<8}{split:<11}{prompt:>6}{fixed:>14.2f}{cut:>6.2f}"
                f"{cut / fixed:>6.2f}{sorted_:>14.2f}{sorted_ / fixed:>7.2f}"
                f"{parts:>10.2f}{parts / fixed:>7.2f}"
                f"     {random[1]:.1f} {windows[1]:.1f}"
            )


if __name__ == "__main__":
    main()
