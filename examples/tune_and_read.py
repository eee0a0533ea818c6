"""Tunes a prompt, asks it something, and reads what it lies next to.

    python examples/tune_and_read.py

Half a minute on two cores. The frozen model and the task come with the package; the
task is to name the kind of thing that a passage mentions.
"""

import argparse

import numpy as np

import prompt_tuning
from prompt_tuning.exchange.prompts import load_prompt
from prompt_tuning.reading import neighbours

TEXTS = [
    "passage: mara lost a vulug at the lake. topic:",
    "passage: the robin sang in the garden. topic:",
]


def main(steps: int, folder: str) -> None:
    run = prompt_tuning.train(
        MODEL_DIR=folder,
        INITIAL_CHECKPOINT_PATH="pocket_nano",
        MIXTURE_OR_TASK_NAME="pocket_kind",
        PROMPT_LENGTH=20,
        TRAIN_STEPS=steps,
        EVAL_PERIOD=max(steps // 4, 1),
    )
    print(f"\nbest at step {run.step}: {run.score:.1f}; by step: {run.scores}")

    # The prompt answers. The frozen model is as it was, and could serve others too.
    model = prompt_tuning.load("pocket_nano")
    model.add("kind", run.folder)
    for text, answer in zip(TEXTS, model.predict(TEXTS, "kind"), strict=True):
        print(f"{text} -> {answer}")

    # What is trained is an array [P, D]; the vocabulary's embeddings are [V, D].
    prompt_PxD = load_prompt(run.folder)
    table_VxD = np.asarray(model.params["token_embedder"]["embedding"])
    found = neighbours.nearest(prompt_PxD, table_VxD, k=5)
    for position, (ids_K, cosines_K) in enumerate(zip(*found, strict=True)):
        pieces = [model.vocabulary.piece(int(i)) for i in ids_K]
        near = [f"{p} {c:.2f}" for p, c in zip(pieces, cosines_K, strict=True)]
        print(position, *near)
    print("\n`prompt-tuning inspect` tells, and draws, much more of it.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", default="runs/tune_and_read")
    main(**vars(parser.parse_args()))
