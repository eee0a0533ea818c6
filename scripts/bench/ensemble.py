"""Times an ensemble of N prompts in one pass against N evaluations.

    python scripts/bench/ensemble.py [--sizes=pocket_nano,small] [--prompts=5]
        [--examples=64] [--turns=5]

Random prompts of 100 on a frozen model (pocket_nano, or random weights of T5 1.1 Small,
which needs no download), examples of similar lengths drawn as in evaluate.py, greedy
answers of 8 tokens, float32. Both ways take turns, on all examples each time; loading
and compiling do not count. The figures are medians. The one pass has N x B rows in a
batch (on a CPU B, of like lengths), each evaluation B. Evaluations in processes of
their own would start, read the model and compile N times as well.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from prompt_tuning import partitioning
from prompt_tuning.frozen import description, weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parameters, parts
from prompt_tuning.serving import bank, members, prompts
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching, task

BATCH, LENGTH, ANSWER = 32, 100, 8
LOG_LENGTH = 4.4, 0.55  # mean and deviation of RTE's log lengths in T5's tokens


def model(size: str) -> parts.Model:
    """The frozen model: one in the package, or random weights of a size."""
    mesh = partitioning.mesh()
    vocabulary = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    if size.startswith("pocket"):
        network = Transformer(description.config(size, {}))
        params = weights.load_frozen(size, network, mesh)
    else:
        network = Transformer(parameters.size(size))
        params = partitioning.init_params(network, jax.random.key(0), mesh)
    return parts.Model(mesh, network, params, vocabulary)


def split(count: int, vocab_size: int) -> task.Split:
    """Random examples, each closed by EOS."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(*LOG_LENGTH, count)).clip(20, 300).astype(int)
    rows = [np.append(rng.integers(3, vocab_size, n), 1).astype("i4") for n in sizes]
    targets = [np.ones(ANSWER, np.int32)] * count
    examples = batching.Examples(
        split="random",
        inputs=rows,
        targets=targets,
        lengths={"inputs": int(sizes.max()) + 1, "targets": ANSWER},
        cut=dict.fromkeys(task.KEYS, 0),
        sizes={"random": count},
        rates={"random": 1.0},
    )
    return task.Split(examples, lambda texts: (task.Evaluation({}, {}), []))


def ensembles(size: str, count: int) -> list[members.Members]:
    """The ensemble of all prompts, and each prompt alone, over one frozen model."""
    frozen = model(size)
    width = frozen.network.config.emb_dim
    rng = np.random.default_rng(1)
    held, facts = bank.Bank(width, frozen.mesh), {}
    for number in range(count):
        name = str(number)
        about = LENGTH, "prefix", None, ANSWER, None, Path(name), {}
        facts[name] = prompts.Facts(*about)
        held.add(name, rng.normal(size=(LENGTH, width)).astype("f4"), at_end=False)
    alone = [members.Members(frozen, held, {name: facts[name]}) for name in facts]
    return [members.Members(frozen, held, facts), *alone]


def said(ensembles: Sequence[members.Members], data: task.Split) -> list[list[str]]:
    """Each prompt's answers, an ensemble after the other."""
    found = [members.answer(one, data, BATCH).texts_NxM for one in ensembles]
    return [texts for each in found for texts in each]


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="pocket_nano,small")
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    for size in args.sizes.split(","):
        together, *alone = ensembles(size, args.prompts)
        data = split(args.examples, together.model.network.config.vocab_size)

        one_pass = functools.partial(said, [together], data)
        apart = functools.partial(said, alone, data)
        same = np.mean(np.array(one_pass()) == np.array(apart()))  # compiles, too
        times = [(timed(one_pass), timed(apart)) for _ in range(args.turns)]
        first, second = (statistics.median(each) for each in zip(*times, strict=True))
        rows = args.prompts * args.examples
        print(
            f"{size}: {args.examples} examples, {args.prompts} prompts of {LENGTH}; "
            f"one pass {first:.2f} s ({rows / first:.1f} answers/s), {args.prompts} "
            f"evaluations {second:.2f} s ({rows / second:.1f}): {second / first:.2f} "
            f"times as fast; {same:.1%} of the answers the same",
            flush=True,
        )


if __name__ == "__main__":
    main()
