"""Times what surrounds the steps: the start, and the device waiting for the host.

    python scripts/bench/loop.py [--turns=10]

It times `prompt-tuning --help`, and `train` of pocket_cb on the embedded model from
the command to the log line of the first step, with an empty compilation cache and then
with the cache of the run before; the figures are medians. Then, in one such run of 400
steps, it compares each step's end with the time when the next step was given to the
device: in between, the device waits. A model this small is the hardest case.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMAND = [sys.executable, "-m", "prompt_tuning"]
TRAIN = ["train", "--gin_file=gin/runs/prompt_tune.gin"]
STEPS = 400
# Let Python keep the bytecode of what it imports.
ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}


def time_help() -> float:
    start = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def time_to_first_step(model_dir: Path, cache: Path) -> float:
    """Seconds from the command to the log's first line."""
    log = model_dir / "train.jsonl"
    start = time.perf_counter()
    with subprocess.Popen(
        [*COMMAND, *TRAIN, f"--gin.MODEL_DIR='{model_dir}'"],
        env=ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as program:
        while program.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        assert program.poll() is None, "the run ended before its first step"
        program.kill()
    return seconds


def waiting(model_dir: Path) -> tuple[float, float]:
    """Seconds that the device waited, and seconds between the first and last ends."""
    from prompt_tuning import cli
    from prompt_tuning.training import loop

    given, ended = [], []
    compile_step = loop.compile_step

    def watched(*arguments: object) -> object:
        compiled = compile_step(*arguments)

        def step(*arguments: object) -> object:
            given.append(time.perf_counter())
            result = compiled(*arguments)
            _, metrics = result
            ended.append(watcher.submit(lambda: _end(metrics[0]["loss"])))
            return result

        return step

    loop.compile_step = watched
    with ThreadPoolExecutor(1) as watcher:
        cli.main(
            [
                *TRAIN,
                f"--gin.MODEL_DIR='{model_dir}'",
                f"--gin.TRAIN_STEPS={STEPS}",
                f"--gin.EVAL_PERIOD={STEPS}",
            ]
        )
    ends = [end.result() for end in ended]
    waits = [max(0, begun - end) for end, begun in zip(ends, given[1:], strict=False)]
    return sum(waits), ends[-1] - ends[0]


def _end(array: object) -> float:
    array.block_until_ready()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    times: dict[str, list[float]] = {"help": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.turns):
            times["help"].append(time_help())
            for kind in ("cold", "warm"):
                model_dir = Path(folder, f"{kind}_{turn}")
                seconds = time_to_first_step(model_dir, Path(folder, f"cache_{turn}"))
                times[kind].append(seconds)
        waited, lasted = waiting(Path(folder, "waiting"))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"\nmedians of {args.turns} turns, seconds\n"
        f"prompt-tuning --help            {medians['help']:6.2f}\n"
        f"command to first step, cold     {medians['cold']:6.2f}\n"
        f"command to first step, warm     {medians['warm']:6.2f}\n"
        f"the device waited {waited:.3f} of {lasted:.1f} s: {waited / lasted:.2%}"
    )


if __name__ == "__main__":
    main()
