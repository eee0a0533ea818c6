"""Times evaluation on RTE's validation set, ours and PEFT's generate.

    python scripts/bench/evaluate.py [--rte=RTE/val.jsonl] [--vocabulary=spiece.model]
        [--peft_python=PYTHON] [--turns=10]

T5 1.1 Small, random weights, float32, a prompt of 100, batches of 32. Without RTE's
file 277 examples of similar lengths are drawn; without T5's vocabulary the embedded
model's is used, whose rows are longer. PYTHON is the one of an environment with torch,
transformers and peft. The programs take turns, on the whole set each time; tokenising
and compiling do not count. The figures are medians.

  greedy       ours: sorted by length, each batch cut to its bucket
  labels       ours: the same batches, the score of both labels
  peft         PEFT's generate on batches in the file's order, padded to their longest
  peft_sorted  the same on batches sorted by length
  peft_512     the same padded to 512, as in the released setup; one batch a turn

With random weights no prediction ends by itself: all programs greedily (num_beams=1)
decode as many tokens as the longest label has with its EOS (PEFT by min_new_tokens).
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import step

BATCH, PROMPT = 32, step.PROMPT
LABELS = ("entailment", "not_entailment")
OURS = ("greedy", "labels")
PEFT = ("peft", "peft_sorted", "peft_512")
GENERATED = 4.4, 0.55  # mean and deviation of RTE's log lengths in T5's tokens


def ours(name: str, rows: list, labels_CxS: np.ndarray) -> Callable[[], int]:
    """Makes a function that evaluates once, and returns the number of examples."""
    import jax

    from prompt_tuning import partitioning
    from prompt_tuning.runs import parameters
    from prompt_tuning.t5 import decoding, network, placing
    from prompt_tuning.t5.extra import Extra
    from prompt_tuning.training import batching, predictor

    model = network.Transformer(parameters.size("small"))
    mesh = partitioning.mesh()
    params = partitioning.init_params(model, jax.random.key(0), mesh)
    rng = np.random.default_rng(0)
    prompt = rng.normal(size=(PROMPT, step.SIZE["width"])).astype(np.float32)
    extra = Extra(placing.prefix(prompt))
    inputs_NxT = batching.pad(rows, max(map(len, rows)))
    length = labels_CxS.shape[1]
    greedy = jax.jit(functools.partial(decoding.greedy, model), static_argnums=3)
    score = jax.jit(functools.partial(decoding.label_scores, model))

    def predict_greedy(batch_BxT: np.ndarray) -> np.ndarray:
        return np.asarray(greedy(params, batch_BxT, extra, length))

    def predict_labels(batch_BxT: np.ndarray) -> np.ndarray:
        scores_BxC = np.asarray(score(params, batch_BxT, extra, labels_CxS))
        return labels_CxS[scores_BxC.argmax(1)]

    predict = {"greedy": predict_greedy, "labels": predict_labels}[name]

    def run() -> int:
        tokens_NxS = predictor.predict_in_batches(predict, inputs_NxT, BATCH)
        assert tokens_NxS.shape == (len(rows), length)
        assert name == "labels" or not (tokens_NxS == 1).any(), "it stopped early"
        return len(rows)

    return run


def peft(name: str, rows: list, labels_CxS: np.ndarray) -> Callable[[], int]:
    """Makes the same function, with PEFT's generate."""
    import torch

    model = step.peft_model().eval()
    length = labels_CxS.shape[1]
    if name == "peft_sorted":
        rows = sorted(rows, key=len)
    if name == "peft_512":
        rows = rows[:BATCH]

    def run() -> int:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            longest = 512 if name == "peft_512" else max(map(len, batch))
            tokens = np.zeros((len(batch), longest), np.int64)
            for index, row in enumerate(batch):
                tokens[index, : len(row)] = row
            tokens = torch.from_numpy(tokens)
            out = model.generate(
                input_ids=tokens,
                attention_mask=(tokens != 0).long(),
                do_sample=False,
                num_beams=1,
                min_new_tokens=length,
                max_new_tokens=length,
            )
            assert out.shape == (len(batch), 1 + length)
        return len(rows)

    return run


def serve(name: str, examples: str) -> None:
    """Times an evaluation for each line of standard input; prints examples/s."""
    arrays = np.load(examples)
    rows = [row[row != 0] for row in arrays["inputs"]]
    run = (ours if name in OURS else peft)(name, rows, arrays["labels"])
    run()  # compiles
    for _ in sys.stdin:
        start = time.perf_counter()
        count = run()
        print(count / (time.perf_counter() - start), flush=True)


def tokenised(rte: str | None, vocabulary: str | None) -> dict[str, np.ndarray]:
    """The inputs [N, T] and labels [C, S] as token ids, 0 where padded."""
    from prompt_tuning.frozen import weights
    from prompt_tuning.frozen.vocabulary import load_vocabulary
    from prompt_tuning.training import batching, task

    path = vocabulary or str(weights.POCKET / "spiece.model")
    loaded = load_vocabulary(path)
    labels_CxS = task.label_ids(LABELS, loaded)
    if rte:
        lines = map(json.loads, Path(rte).read_text("utf-8").splitlines())
        texts = [
            f"hypothesis: {x['hypothesis']} premise: {x['premise']}" for x in lines
        ]
        inputs_NxT, _ = task.encode_rows(texts, loaded)
    else:
        rng = np.random.default_rng(0)
        sizes = np.exp(rng.normal(*GENERATED, 277)).clip(20, 300)
        rows = [rng.integers(3, 32_000, int(size)) for size in sizes]
        inputs_NxT = batching.pad(rows, max(map(len, rows)))
    return {"inputs": inputs_NxT, "labels": labels_CxS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rte", metavar="FILE")
    parser.add_argument("--vocabulary", metavar="FILE")
    parser.add_argument("--peft_python", metavar="PYTHON")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve)
        return
    arrays = tokenised(args.rte, args.vocabulary)
    pythons = dict.fromkeys(OURS, sys.executable)
    if args.peft_python:
        pythons |= dict.fromkeys(PEFT, args.peft_python)
    rates: dict[str, list[float]] = {name: [] for name in pythons}
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **arrays)
        file.flush()
        programs = {
            name: subprocess.Popen(
                [python, __file__, "--serve", name, file.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, python in pythons.items()
        }
        for _ in range(args.turns):
            for name, program in programs.items():
                program.stdin.write("\n")
                program.stdin.flush()
                rates[name].append(float(program.stdout.readline()))
        for program in programs.values():
            program.stdin.close()
            program.wait()
    sizes = np.count_nonzero(arrays["inputs"], axis=1)
    print(
        f"T5 1.1 Small, float32, {len(sizes)} examples of "
        f"{np.median(sizes):.0f} tokens (median; mean {sizes.mean():.0f}, longest "
        f"{sizes.max()}), prompt {PROMPT}, batch {BATCH}, "
        f"{arrays['labels'].shape[1]} tokens decoded, medians of {args.turns} turns\n"
    )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(
            f"{name:<12}{rate:7.1f} examples/s, the set in {len(sizes) / rate:5.1f} s, "
            f"{medians['greedy'] / rate:5.2f} times greedy's time"
        )


if __name__ == "__main__":
    main()
