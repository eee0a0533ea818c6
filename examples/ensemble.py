"""Lets several prompts answer together, and asks how far to trust their confidence.

    python examples/ensemble.py

Section 6 of the paper: prompts of one task that differ in their seed share one frozen
model, and vote. Forty seconds on two cores.
"""

import argparse

import numpy as np

import prompt_tuning
from prompt_tuning.serving.ensemble import calibration_error, vote
from prompt_tuning.tasks.pocket import TASKS


def tell(
    name: str, predicted_M: np.ndarray, sure_M: np.ndarray, true_M: np.ndarray
) -> None:
    """Prints accuracy, mean confidence and the expected calibration error."""
    right_M = predicted_M == true_M
    error = calibration_error(sure_M, right_M)
    means = [100 * x for x in (right_M.mean(), sure_M.mean(), error)]
    print(f"{name:<18}" + "".join(f"{x:>12.1f}" for x in means))


def main(steps: int, members: int, folder: str) -> None:
    # They are tuned together, in one compiled step.
    runs = prompt_tuning.sweep(
        {"SEED": range(members)},
        MODEL_DIR=folder,
        INITIAL_CHECKPOINT_PATH="pocket_nano",
        MIXTURE_OR_TASK_NAME="pocket_cb",
        PROMPT_LENGTH=10,
        TRAIN_STEPS=steps,
        EVAL_PERIOD=max(steps // 2, 1),
    )

    # Of each of M texts, the probability of each of L labels under each of N prompts.
    model = prompt_tuning.load("pocket_nano")
    for run in runs:
        model.add(run.folder.name, run.folder)
    examples = list(TASKS["pocket_cb"].examples("test"))
    texts = [one["inputs"] for one in examples]
    found = [model.classify(texts, name) for name in model.names]
    labels = np.array(list(found[0][0]))
    p_NxMxL = np.array([[[*row.values()] for row in rows] for rows in found])
    true_M = np.array([one["targets"] for one in examples])

    print(f"\n{'test, percent':<18}{'accuracy':>12}{'confidence':>12}{'ECE':>12}")
    answers_NxM = labels[p_NxMxL.argmax(-1)]
    for name, answers_M, p_MxL in zip(model.names, answers_NxM, p_NxMxL, strict=True):
        tell(name, answers_M, p_MxL.max(-1), true_M)
    # A tie goes to the answer whose voters are surer of it, by their log-probabilities.
    votes = vote(answers_NxM, np.log(p_NxMxL.max(-1)))
    chosen_M = answers_NxM[votes.member_M, np.arange(len(texts))]
    tell("majority vote", chosen_M, votes.share_M, true_M)
    mean_MxL = p_NxMxL.mean(0)
    tell("mean probability", labels[mean_MxL.argmax(-1)], mean_MxL.max(-1), true_M)
    print("\nECE: how far confidence is from accuracy, in 15 bins (Guo et al., 2017).")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--folder", default="runs/ensemble")
    main(**vars(parser.parse_args()))
