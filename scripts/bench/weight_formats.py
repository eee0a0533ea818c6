"""Measures what storing the frozen model in fewer bits costs: logits and score.

    python scripts/bench/weight_formats.py --prompt=runs/cb_prompt/prompt.npy

For logits: the largest and the mean difference from float32, with random weights in T5
1.1 Base's shape (seed 0), in standard deviations of the logits. For the score: that of
the prompt that `make run` trained, with the frozen model in each format.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util

from prompt_tuning import config, partitioning
from prompt_tuning.frozen import formats, weights
from prompt_tuning.runs import parameters, parts, trained
from prompt_tuning.t5 import network, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training.task import development_score

EXAMPLES, INPUTS, TARGETS, PROMPT = 2, 128, 16, 100
# (param_dtype, dtype); the others are compared with the first.
KEPT = [
    ("float32", "float32"),
    ("bfloat16", "float32"),
    ("int8", "float32"),
    ("float32", "bfloat16"),
    ("bfloat16", "bfloat16"),
    ("int8", "bfloat16"),
]


def logits() -> Iterator[np.ndarray]:
    """Yields the logits [B, S, V] of one random Base in each format."""
    base = parameters.size("base")
    mesh = partitioning.mesh()
    params = partitioning.init_params(
        network.Transformer(base), jax.random.key(0), mesh
    )
    tensors = {
        name: formats.Tensor(x.shape, np.asarray(x).__getitem__)
        for name, x in traverse_util.flatten_dict(params, sep="/").items()
    }
    rng = np.random.default_rng(0)
    batch = {
        "encoder_input_tokens": rng.integers(2, 32_000, (EXAMPLES, INPUTS)),
        "decoder_input_tokens": rng.integers(2, 32_000, (EXAMPLES, TARGETS)),
    }
    prompt = rng.normal(size=(PROMPT, base.emb_dim)).astype(np.float32)
    extra = Extra(placing.prefix(prompt))
    for param_dtype, dtype in KEPT:
        kept = dataclasses.replace(base, param_dtype=param_dtype, dtype=dtype)
        model = network.Transformer(kept)
        placed = weights.place(tensors, model, mesh, "random weights")
        yield np.asarray(jax.jit(model.apply)({"params": placed}, batch, extra))


def scores(prompt: Path) -> Iterator[float]:
    """Yields the prompt's score on its task's validation split, by format."""
    for param_dtype, dtype in KEPT:
        kept = [f"T5Config.param_dtype={param_dtype}", f"T5Config.dtype={dtype}"]
        source = trained.find("", str(prompt))
        settings = config.changed(trained.base_settings("", source), kept)
        run = settings.run
        model, params, extra = trained.load(settings, source)
        task = parts.open_task(run, model.vocabulary)
        measure = parts.make_measure(run, model, task.load(run.eval_split))
        (metrics, _), _ = measure(params, extra)
        yield development_score(metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", type=Path, required=True, metavar="FILE")
    prompt = parser.parse_args().prompt
    print(
        f"T5 1.1 Base, random weights: {EXAMPLES} examples, inputs {INPUTS}, targets "
        f"{TARGETS}, prompt {PROMPT}; scores of {prompt}; jax {jax.__version__} "
        f"on {jax.devices()[0].device_kind}\n"
    )
    header = "weights   activations  largest error  mean error  score, %"
    print(f"{header}\n{'-' * len(header)}")
    exact = None
    for (param_dtype, dtype), values, score in zip(
        KEPT, logits(), scores(prompt), strict=True
    ):
        exact = values if exact is None else exact
        error = np.abs(values - exact) / exact.std()
        print(
            f"{param_dtype:<10}{dtype:<11}{error.max():>15.4f}{error.mean():>12.5f}"
            f"{score:>10.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
