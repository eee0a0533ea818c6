"""Folders of runs that were never trained, with results by hand. No test in here."""

import json

from prompt_tuning import config
from prompt_tuning.runs import results

MAJORITY = 25.0


def run(
    path, value=None, *, curve=((0, 10.0), (4, 50.0)), reason=None, steps=8, **settings
):
    """Writes the folder of a run, and returns its path.

    Args:
      value: its accuracy, or {task: {metric: value}}; None if it is not done.
      curve: (step, score) of its evaluations; the last is the best.
      reason: why it failed.
      settings: NAME=VALUE.
    """
    path.mkdir(parents=True)
    made_of = settings.pop("made_of", {"data_fingerprint": "d" * 64})
    settings = {"TRAIN_STEPS": 8, "MIXTURE_OR_TASK_NAME": "kinds"} | settings
    settings["MODEL_DIR"] = path
    bindings = [f"{name}={value!s}" for name, value in settings.items()]
    (path / "config.gin").write_text(config.text(config.load([], bindings)))
    (path / "description.json").write_text(json.dumps(made_of))
    scores = [{"step": s, "score": x, "metrics": {}, "illegal": {}} for s, x in curve]
    losses = [{"step": s, "loss": 4 / s} for s in range(1, steps + 1)]
    for name, lines in (("eval", scores), ("train", losses)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / f"{name}.jsonl").write_text(text)
    if value is not None:
        metrics = value if isinstance(value, dict) else {"kinds": {"accuracy": value}}
        kept = {"trained": {"metrics": metrics}, "best_step": curve[-1][0]}
        kept["majority"] = {"kinds": {"accuracy": MAJORITY}}
        (path / results.METRICS).write_text(json.dumps(kept | {"steps": steps}))
    if reason:
        (path / results.FAILURE).write_text(json.dumps({"reason": reason}))
    return path


def sweep(path):
    """Two learning rates and three seeds, one of which failed; the table by hand:

    0.1: 60, 70, 80 -> 70 ± 10; 0.3: 90, 92 -> 91 ± 1.4142.
    """
    values = {0.3: {0: 90.0, 1: 92.0}, 0.1: {0: 60.0, 1: 80.0, 2: 70.0}}
    for rate, of_seed in values.items():
        for seed, value in of_seed.items():
            folder = path / f"seed_{seed}-learning_rate_{rate}"
            curve = (0, 0.0), (4, value / 2), (8, value)
            named = {"SEED": seed, "schedule.learning_rate": rate}
            run(folder, value, curve=curve, **named)
    named = {"SEED": 2, "schedule.learning_rate": 0.3}
    run(path / "seed_2-learning_rate_0.3", reason="it diverged", **named)
    return path
