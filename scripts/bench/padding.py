"""What cutting batches to the bucket of their longest input saves, on real files.

    python scripts/bench/padding.py --data_dir=D --vocabulary=spiece.model

T5 1.1 Small, random weights, float32, targets of 8, prompts of 20 and 100. A step of 4
examples is timed at each bucket, the median of ten turns. Batches of 32 are drawn as
`train` draws them, and their buckets counted: examples a second against all at 512,
and if examples were sorted by length within windows of 16 batches, whose batches are
then less of a mixture.
"""

import argparse
import collections
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from prompt_tuning import batching, data, network, optimizer, partitioning, plan, train

TASKS = ("rte", "cb", "wic", "boolq")
BATCH, TIMED, STEPS, TURNS, WINDOW = 32, 4, 320, 10, 16
LENGTH, TARGETS = 512, 8


def step_times(prompt_length: int) -> dict[int, float]:
    """Seconds of a step at each input length, taking turns."""
    model = network.Transformer(plan.size("small"))
    mesh = partitioning.mesh()
    params = partitioning.init_params(model, jax.random.key(0), mesh)
    adafactor = optimizer.adafactor(0.3)
    step = jax.jit(train.make_step(model, adafactor))
    key = jax.random.key(0)
    prompt = np.zeros((prompt_length, model.config.emb_dim), np.float32)
    state = partitioning.placed(train.new_state(prompt, adafactor), mesh)
    targets = np.ones((TIMED, TARGETS), np.int32)

    def run(length: int) -> Callable[[], None]:
        batch = {
            "encoder_input_tokens": np.full((TIMED, length), 5, np.int32),
            "decoder_input_tokens": targets,
            "decoder_target_tokens": targets,
            "decoder_loss_weights": targets,
        }
        return lambda: jax.block_until_ready(step(state, params, batch, key))

    runs = {length: run(length) for length in (*batching.BUCKETS, LENGTH)}
    times: dict[int, list[float]] = collections.defaultdict(list)
    for turn in range(TURNS + 1):  # the first compiles
        for length, go in runs.items():
            start = time.perf_counter()
            go()
            if turn:
                times[length].append(time.perf_counter() - start)
    return {length: statistics.median(values) for length, values in times.items()}


def counted(sizes: np.ndarray, window: int) -> dict[int, int]:
    """How many of STEPS batches fall in each bucket, sorted in windows of batches."""
    rng = np.random.default_rng(0)
    epochs = -(-STEPS * BATCH // len(sizes))
    drawn = np.concatenate([rng.permutation(sizes) for _ in range(epochs)])
    drawn = drawn[: STEPS * BATCH].reshape(-1, window * BATCH)
    longest = np.sort(drawn, axis=1).reshape(-1, BATCH).max(1)
    if window == 1:
        longest = drawn.max(1)
    return collections.Counter(batching.bucket(size, LENGTH) for size in longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    vocabulary = data.load_vocabulary(args.vocabulary)
    times = {prompt: step_times(prompt) for prompt in (20, 100)}
    for prompt, seconds in times.items():
        text = ", ".join(f"{n}: {1e3 * s / TIMED:.0f}" for n, s in seconds.items())
        print(f"prompt {prompt}, ms an example at each length: {text}")
    print("\ntask    split       prompt  at 512, ex/s  buckets  ratio  sorted windows")
    for name in TASKS:
        task = data.get_task(name, "tasks.paper", vocabulary, args.data_dir)
        for split in (args.split, "validation"):
            try:
                examples = data.load_examples(task, split, {"inputs": LENGTH})
            except ValueError:  # this file is not in the folder
                continue
            break
        sizes = np.array([len(row) for row in examples.inputs])
        for prompt, seconds in times.items():
            rates = [
                STEPS * TIMED / sum(n * seconds[b] for b, n in counts.items())
                for counts in (
                    {LENGTH: STEPS},
                    counted(sizes, 1),
                    counted(sizes, WINDOW),
                )
            ]
            fixed, cut, windows = rates
            print(
                f"{name:<8}{split:<12}{prompt:>6}{fixed:>14.2f}{cut:>9.2f}"
                f"{cut / fixed:>7.2f}{windows / fixed:>16.2f}"
            )


if __name__ == "__main__":
    main()
