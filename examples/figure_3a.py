"""The paper's Figure 3(a) at pocket size: how long must a prompt be?

    python examples/figure_3a.py

Few steps, one seed, one model: the quick form, forty seconds on two cores, of
`prompt-tuning reproduce fig3a`, which has all models, seeds and a report.
"""

import argparse

import matplotlib

matplotlib.use("Agg")  # draws into files
from matplotlib import pyplot as plt

import prompt_tuning

LENGTHS = [1, 5, 20]  # the paper has 100 and 150 too


def main(steps: int, seeds: int, task: str, folder: str) -> None:
    runs = prompt_tuning.sweep(
        {"PROMPT_LENGTH": LENGTHS, "SEED": range(seeds)},
        MODEL_DIR=folder,
        INITIAL_CHECKPOINT_PATH="pocket_nano",
        MIXTURE_OR_TASK_NAME=task,
        TRAIN_STEPS=steps,
        EVAL_PERIOD=max(steps // 4, 1),
    )

    # Left: the best score of each length, a point a seed. Right: on the way there.
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.5), sharey=True, layout="constrained"
    )
    for run in runs:
        length = run.settings.run.prompt_length
        color = f"C{LENGTHS.index(length)}"
        left.plot(length, run.score, "o", color=color)
        label = f"length {length}" if run.settings.run.seed == 0 else None
        right.plot(*zip(*run.scores.items(), strict=True), color=color, label=label)
    left.set(xlabel="prompt length", xscale="log", ylim=(-4, 104))
    left.set_ylabel(f"{task}, validation, percent")
    left.set_xticks(LENGTHS, map(str, LENGTHS))
    right.set(xlabel="step")
    right.legend()
    path = runs[0].folder.parent / "figure_3a.png"
    figure.savefig(path, dpi=150)
    print(f"\nfigure  {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--task", default="pocket_kind")
    parser.add_argument("--folder", default="runs/figure_3a")
    main(**vars(parser.parse_args()))
