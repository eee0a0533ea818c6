"""What a running loop tells: a line of train.jsonl for each step, and a bar.

Where stderr is not a terminal, a plain line every ten seconds stands for the bar.
"""

import contextlib
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np
from tqdm import tqdm

from prompt_tuning import outputs
from prompt_tuning.errors import UserError
from prompt_tuning.training.step import diverged

PERIOD = 10  # seconds between plain lines

# Dense bfloat16 FLOP/s of one JAX device, by its device_kind, from the makers' data
# sheets. A device of TPU v2 and v3 is one of a chip's two cores.
RATES = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


class Work(NamedTuple):
    """What the steps of a run do, besides lowering the loss.

    learning_rates: step (from 0) -> the rate, for each state that is trained.
    flops: a batch, or a part of one -> FLOPs of the model's products in a step on it,
      all states'.
    rate: FLOP/s of all devices together; None if unknown.
    """

    learning_rates: Sequence[Callable[[int], Any]]
    flops: Callable[[Mapping[str, Any]], float]
    rate: float | None = None


# Writes a step's values, None where one is not finite, for TensorBoard.
Events = Callable[[int, Mapping[str, float | None]], None]


def device_rate(dtype: str) -> float | None:
    """FLOP/s of all devices together at `dtype`; None where it is not known."""
    rates = [RATES.get(device.device_kind) for device in jax.devices()]
    if dtype != "bfloat16" or None in rates:
        return None
    return sum(rate for rate in rates if rate)


def peak_memory() -> int:
    """The most bytes so far: on an accelerator its own, else the process's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    # Linux counts in units of 1,024 bytes.
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return stats.get("peak_bytes_in_use", process)


class Progress:
    """Tells what each step of some states gave, and how far training is."""

    def __init__(
        self,
        bar: "tqdm | _Lines",
        logs: Mapping[Path, TextIO],
        work: Work,
        events: Sequence[Events],
    ) -> None:
        self.logs, self._bar, self._work, self._events = logs, bar, work, events
        self._shown: dict[str, str] = {}
        self._since = time.monotonic()

    def step(
        self, number: int, metrics: Sequence[dict[str, jax.Array]], batch: Any
    ) -> None:
        """Waits for a step's metrics, one dictionary for each state, and logs them.

        Args:
          batch: what the step was on, or a list of its parts.

        Raises:
          UserError: a state diverged.
        """
        each = jax.device_get(metrics)  # the step ends here
        _check_finite(number, each, list(self.logs))
        speed = self._speed(batch)
        self._restart()
        for one, lines, rate, events in zip(
            each,
            self.logs.values(),
            self._work.learning_rates,
            self._events or [None] * len(each),
            strict=True,
        ):
            values = {k: _finite(one[k].item()) for k in one if k != "ok"}
            values |= {"learning_rate": float(rate(number - 1))} | speed
            lines.write(json.dumps({"step": number} | values) + "\n")
            if events:
                events(number, values)
        self._shown["loss"] = f"{np.mean([one['loss'] for one in each]):.3f}"
        self._bar.update()
        self._bar.set_postfix(self._shown, refresh=False)

    def show(self, **found: str) -> None:
        """Shows what an evaluation found, whose time no step is charged with."""
        self._shown |= found
        self._bar.set_postfix(self._shown)
        self._restart()

    def _speed(self, batch: Any) -> dict[str, float]:
        seconds = max(time.monotonic() - self._since, 1e-9)
        parts = batch if isinstance(batch, list) else [batch]
        shapes = [part["encoder_input_tokens"].shape for part in parts]
        flops = sum(map(self._work.flops, parts)) / seconds
        found = {
            "seconds": seconds,
            "examples_per_second": sum(b * n for b, n, _ in shapes) / seconds,
            "flops_per_second": flops,
            "peak_memory": peak_memory(),
        }
        if self._work.rate:
            found["device_share"] = flops / self._work.rate
        return found

    def _restart(self) -> None:
        self._since = time.monotonic()


def _finite(value: float) -> float | None:
    """None for what JSON has no number for, such as a gradient's infinite norm."""
    return value if math.isfinite(value) else None


# What differs between two runs of the same settings.
SPEED = "seconds", "examples_per_second", "flops_per_second", "peak_memory"
SPEED += ("device_share",)


@contextlib.contextmanager
def told(
    logs: Sequence[Path],
    first: int,
    steps: int,
    description: str,
    work: Work,
    events: Sequence[Events] = (),
) -> Iterator[Progress]:
    """Progress from step `first` to `steps`, which appends to `logs`."""
    with contextlib.ExitStack() as stack:
        opened = {
            path: stack.enter_context(outputs.log(path).open("a", buffering=1))
            for path in logs
        }
        bar = stack.enter_context(_bar(first, steps, description))
        yield Progress(bar, opened, work, events)


def _bar(first: int, steps: int, description: str) -> "tqdm | _Lines":
    if not sys.stderr.isatty():
        return _Lines(first, steps, description)
    return tqdm(
        total=steps,
        initial=first,
        desc=description,
        unit="step",
        smoothing=0.05,
        disable=not outputs.is_writer(),
    )


class _Lines(contextlib.AbstractContextManager):
    """Stands for the bar in a file: a line every PERIOD seconds, and the last."""

    def __init__(self, first: int, steps: int, description: str) -> None:
        self._first, self._number, self._steps = first, first, steps
        self._description, self._postfix = description, ""
        self._started = self._last = time.monotonic()

    def update(self) -> None:
        self._number += 1

    def set_postfix(self, shown: Mapping[str, str], refresh: bool = True) -> None:
        self._postfix = "".join(f", {name} {text}" for name, text in shown.items())
        now = time.monotonic()
        if refresh or now - self._last >= PERIOD:
            self._last = now
            self._tell(now - self._started)

    def _tell(self, seconds: float) -> None:
        done = self._number - self._first
        left = seconds * (self._steps - self._number) / max(done, 1)
        text = f"{self._description}: step {self._number:,} of {self._steps:,}"
        text += self._postfix + (f", {left:.0f} s left" if done and left else "")
        if outputs.is_writer():
            print(text, file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        pass


def _check_finite(
    number: int, each: Sequence[Mapping[str, Any]], logs: Sequence[Path]
) -> None:
    for path, one in zip(logs, each, strict=True):
        if not one["ok"]:
            where = f" in {path.parent}" if len(logs) > 1 else ""
            raise UserError(
                f"training diverged at step {number}{where}: {diverged(number, one)}. "
                "The last good checkpoint is kept; start again in a new MODEL_DIR"
                + (", or continue without this prompt" if where else "")
            )
