"""Times the training step on this machine's device, meant to be one GPU.

    python scripts/bench/accelerator.py [--peft_python=PYTHON] [--sizes=small,base]
        [--tables=sizes,attention,prompts,peft] [--batch=32] [--inputs=512]
        [--dtype=bfloat16] [--steps=10]

Prompt tuning of T5 1.1 with random weights, made on the device; targets of 8 tokens, a
prompt of 100. TensorFlow and seqio are not needed. PYTHON is the one of an environment
with torch for this device, transformers and peft. The tables are:

  sizes       weights in --dtype and in int8
  attention   the platform's attention or the plain one, layers recomputed or not,
              scanned or not
  prompts     1 to 16 prompts in one step, each with its own --batch examples
  peft        the same step in transformers and PEFT

A figure is the median of --steps steps, after two that do not count. Each case runs in
its own process, to have its own peak of memory: the device's or, on a CPU, the
process's, libraries included. The rate is measured on matrix products in --dtype; model
FLOPs are 4 per weight and token. A case that does not fit or run says so.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from step import peft_model, resident

TARGETS, PROMPT = 8, 100
SIZES = "small,base,large,xl,xxl"


def ours(case: dict[str, Any]) -> dict[str, Any]:
    """Times our step: {"ms", "gb", "flops": model FLOPs, "device"}."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    import random_step

    from prompt_tuning import partitioning
    from prompt_tuning.runs import parameters
    from prompt_tuning.t5.network import Transformer

    size = dataclasses.replace(parameters.size(case["size"]), **case["config"])
    number, batch_size = case["prompts"], case["batch"]
    run = random_step.build(
        size,
        batch_size=batch_size,
        inputs=case["inputs"],
        targets=TARGETS,
        prompt=PROMPT,
        prompts=number,
    ).runner()

    def step() -> None:
        assert jnp.isfinite(run()[0]["loss"])

    ms = 1e3 * timed(step, case["steps"])
    stats = jax.devices()[0].memory_stats()
    shapes = partitioning.param_shapes(Transformer(size))
    weights = {  # the weights that a token of each stack meets
        stack: sum(x.size for x in jax.tree.leaves(shapes[stack]))
        for stack in ("encoder", "decoder")
    }
    met = weights["encoder"] * (PROMPT + case["inputs"]) + weights["decoder"] * TARGETS
    return {
        "ms": ms,
        "gb": (stats["peak_bytes_in_use"] if stats else resident()) / 1e9,
        "flops": 4 * met * batch_size * number,
        "device": jax.devices()[0].device_kind,
    }


def peft(case: dict[str, Any]) -> dict[str, Any]:
    """Times the same step in transformers and PEFT, without dropout."""
    import torch
    from transformers import Adafactor

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    dtype = getattr(torch, case["config"]["dtype"])
    model = peft_model(case["dimensions"], dtype)
    tuned = [p for p in model.parameters() if p.requires_grad]
    adafactor = Adafactor(tuned, lr=0.3, scale_parameter=False, relative_step=False)
    shape = case["batch"], case["inputs"]
    batch = {
        "input_ids": torch.randint(2, 32_000, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "labels": torch.randint(2, 32_000, (case["batch"], TARGETS)),
    }

    def one_step() -> None:
        adafactor.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        adafactor.step()
        assert loss.isfinite().item()  # waits for the device

    ms = 1e3 * timed(one_step, case["steps"])
    gpu = device == "cuda"
    return {
        "ms": ms,
        "gb": (torch.cuda.max_memory_allocated() if gpu else resident()) / 1e9,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
    }


def rate(case: dict[str, Any]) -> dict[str, Any]:
    """Measures the FLOP/s of large matrix products."""
    import jax
    import jax.numpy as jnp

    n = 8_192 if jax.default_backend() != "cpu" else 2_048
    x = jnp.ones((n, n), case["config"]["dtype"]) / n
    product = jax.jit(lambda x: x @ x)
    seconds = timed(lambda: product(x).block_until_ready(), 20)
    return {"flops": 2 * n**3 / seconds, "device": jax.devices()[0].device_kind}


def timed(step: Callable[[], None], steps: int) -> float:
    """The median time of a call, in seconds."""
    times = []
    for _ in range(2 + steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def measured(python: str, case: dict[str, Any]) -> dict[str, Any]:
    """What a new process measures, or {"error": the last line it wrote}."""
    command = [python, __file__, f"--case={json.dumps(case)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    text = done.stderr.strip()
    memory = re.search(r".*(RESOURCE_EXHAUSTED|out of memory).*", text, re.IGNORECASE)
    last = text.splitlines()[-1] if text else f"exit {done.returncode}"
    return {"error": "does not fit" if memory else last[:100]}


def cases(args: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields (table, name, case) for every line."""
    shape = {name: getattr(args, name) for name in ("batch", "inputs", "steps")}
    best = {"dtype": args.dtype, "scan_layers": True, "remat": False}
    for size in args.sizes.split(","):
        base = shape | {"run": "ours", "size": size, "prompts": 1}
        for kept in (args.dtype, "int8"):
            config = best | {"param_dtype": kept}
            yield "sizes", f"{size:<6}{kept}", base | {"config": config}
        best_kept = best | {"param_dtype": args.dtype}
        for attention in ("auto", "plain"):
            for remat in (False, True):
                for scan in (True, False):
                    config = {"attention": attention, "remat": remat}
                    config = best_kept | config | {"scan_layers": scan}
                    name = f"{size:<6}{attention} remat={remat} scan={scan}"
                    yield "attention", name, base | {"config": config}
        for number in (1, 2, 4, 8, 16):
            case = base | {"prompts": number, "config": best_kept}
            yield "prompts", f"{size:<6}{number:>2} prompts", case
        if args.peft_python:
            yield "peft", f"{size:<6}peft", peft_case(base, args.dtype)


def peft_case(base: dict[str, Any], dtype: str) -> dict[str, Any]:
    from prompt_tuning.runs import parameters

    size = parameters.size(base["size"])
    dimensions = {
        "vocab": size.vocab_size,
        "width": size.emb_dim,
        "heads": size.num_heads,
        "mlp": size.mlp_dim,
        "layers": size.num_encoder_layers,
    }
    return base | {"run": "peft", "dimensions": dimensions, "config": {"dtype": dtype}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peft_python", metavar="PYTHON")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--tables", default="sizes,attention,prompts,peft")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=512)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        case = json.loads(args.case)
        print(json.dumps({"ours": ours, "peft": peft, "rate": rate}[case["run"]](case)))
        return
    config = {"dtype": args.dtype}
    peak = measured(sys.executable, {"run": "rate", "config": config})
    print(
        f"{peak['device']}, {peak['flops'] / 1e12:.2f} TFLOP/s in {args.dtype}; batch "
        f"{args.batch}, inputs {args.inputs}, targets {TARGETS}, prompt {PROMPT}, "
        f"medians of {args.steps} steps"
    )
    table = None
    for name_of_table, name, case in sorted(cases(args), key=lambda x: x[0]):
        if name_of_table not in args.tables.split(","):
            continue
        if name_of_table != table:
            table = name_of_table
            print(f"\n{table:<34}{'ms':>9}{'ms a prompt':>13}{'MFU':>8}{'GB':>8}")
        python = args.peft_python if case["run"] == "peft" else sys.executable
        found = measured(python, case)
        if "error" in found:
            print(f"{name:<34}{found['error']}", flush=True)
            continue
        share = "-"
        if "flops" in found:
            share = f"{1e3 * found['flops'] / found['ms'] / peak['flops']:.1%}"
        print(
            f"{name:<34}{found['ms']:>9.1f}{found['ms'] / case['prompts']:>13.1f}"
            f"{share:>8}{found['gb']:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
