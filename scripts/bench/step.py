"""Compares the training step with the machine's matmul rate and with PEFT's step.

    python scripts/bench/step.py [--peft_python=PYTHON]

Prompt tuning of T5 1.1 Small, random weights, 8 examples of 256 tokens, targets of 16,
a prompt of 100. The programs take turns, and each figure is the median of its turns;
the least is beside it, for a machine with other work. PYTHON is the one of an
environment with torch, transformers and peft. `in_parts` is ours with
NUM_MICROBATCHES=2: the same update with smaller arrays. `rounded` is ours with
T5Config.dtype and param_dtype bfloat16, `rounded_parts` that with two parts, and
`peft_rounded` PEFT with a model in bfloat16; the rest is float32. Memory is each
program's peak, libraries included.
"""

import argparse
import dataclasses
import functools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

BATCH, INPUTS, TARGETS, PROMPT = 8, 256, 16, 100
SIZE = {"vocab": 32_128, "width": 512, "heads": 6, "mlp": 1_024, "layers": 8}
TEXTBOOK = 309e9  # FLOPs with textbook cross-attention; ours: plan.step_flops
TURNS, STEPS = 10, 2  # a turn times STEPS steps


def ours(num_microbatches: int = 1, dtype: str = "float32") -> Callable[[], object]:
    """Makes a function that runs one of our steps."""
    import random_step

    from prompt_tuning.runs import parameters

    config = parameters.size("small")
    return random_step.build(
        dataclasses.replace(config, dtype=dtype, param_dtype=dtype),
        batch_size=BATCH,
        inputs=INPUTS,
        targets=TARGETS,
        prompt=PROMPT,
        parts=num_microbatches,
    ).runner()


def matmul_rate() -> float:
    """GFLOP/s of large float32 matrix products in JAX: the median of five."""
    import jax
    import jax.numpy as jnp

    n = 2_048
    x = jnp.ones((n, n))
    product = jax.jit(lambda x: x @ x)
    return statistics.median(
        2 * n**3 / timed(lambda: product(x).block_until_ready()) / 1e9 for _ in range(5)
    )


def peft_model(
    size: dict[str, int] = SIZE, dtype: "torch.dtype | None" = None
) -> "PeftModel":
    """T5 1.1 with random weights and a prompt, in transformers and PEFT."""
    import torch
    from peft import PromptTuningConfig, TaskType, get_peft_model
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=size["vocab"],
        d_model=size["width"],
        d_ff=size["mlp"],
        d_kv=64,
        num_heads=size["heads"],
        num_layers=size["layers"],
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(size["vocab"], size["width"]))
    model = model.to(dtype or torch.float32)
    prompt = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=PROMPT,
        num_transformer_submodules=1,
    )
    return get_peft_model(model, prompt)


def peft(dtype: str = "float32") -> Callable[[], None]:
    """Makes a function that runs one step of transformers and PEFT without dropout."""
    import torch
    from transformers import Adafactor

    model = peft_model(dtype=getattr(torch, dtype))
    tuned = [p for p in model.parameters() if p.requires_grad]
    adafactor = Adafactor(tuned, lr=0.3, scale_parameter=False, relative_step=False)
    batch = {
        "input_ids": torch.randint(2, 32_000, (BATCH, INPUTS)),
        "attention_mask": torch.ones(BATCH, INPUTS, dtype=torch.long),
        "labels": torch.randint(2, 32_000, (BATCH, TARGETS)),
    }

    def step() -> None:
        adafactor.zero_grad()
        model(**batch).loss.backward()
        adafactor.step()

    return step


def timed(step: Callable[[], None]) -> float:
    """Seconds per call, the mean of STEPS calls after one that does not count."""
    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS


def serve(make_step: Callable[[], Callable[[], None]]) -> None:
    """Times a turn for each line of standard input."""
    step = make_step()
    step()
    for _ in sys.stdin:
        print(timed(step), flush=True)
    print(resident())


def resident() -> int:
    """The peak memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


PROGRAMS: dict[str, Callable[[], Callable[[], object]]] = {
    "ours": ours,
    "in_parts": functools.partial(ours, num_microbatches=2),
    "rounded": functools.partial(ours, dtype="bfloat16"),
    "rounded_parts": functools.partial(ours, num_microbatches=2, dtype="bfloat16"),
    "peft": peft,
    "peft_rounded": functools.partial(peft, dtype="bfloat16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peft_python", metavar="PYTHON")
    parser.add_argument("--serve", choices=PROGRAMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(PROGRAMS[args.serve])
        return
    from prompt_tuning.runs import parameters
    from prompt_tuning.training import plan

    pythons = {
        name: args.peft_python if name.startswith("peft") else sys.executable
        for name in PROGRAMS
        if args.peft_python or not name.startswith("peft")
    }
    programs = {
        name: subprocess.Popen(
            [python, __file__, f"--serve={name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, python in pythons.items()
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    rates = []
    for _ in range(TURNS):
        for name, program in programs.items():
            program.stdin.write("\n")
            program.stdin.flush()
            times[name].append(float(program.stdout.readline()))
        rates.append(matmul_rate())
    peaks = {}
    for name, program in programs.items():
        out, _ = program.communicate()
        peaks[name] = int(out) / 1e9
    work = plan.Workload(PROMPT, BATCH, INPUTS, TARGETS)
    flops = plan.step_flops(parameters.size("small"), work)
    rate = statistics.median(rates)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"T5 1.1 Small, {json.dumps(work._asdict())}\n"
        f"our step's products: {flops / 1e9:.0f} GFLOP, or {TEXTBOOK / 1e9:.0f} with "
        f"keys and values of every encoder position; the machine's rate: {rate:.0f} "
        f"GFLOP/s\n"
    )
    for name, seconds in medians.items():
        shares = [f"{each / seconds / 1e9 / rate:6.1%}" for each in (flops, TEXTBOOK)]
        print(
            f"{name:<13}{1e3 * seconds:8.0f} ms  (least {1e3 * min(times[name]):.0f})  "
            f"{' or'.join(shares)} of the float32 rate  "
            f"{seconds / medians['ours']:5.2f} times ours  {peaks[name]:.2f} GB"
        )


if __name__ == "__main__":
    main()
