"""Measures what each pocket task gives on frozen models, for docs/pocket.md.

    PYTHONPATH=. python scripts/pocket_table.py pocket_nano pocket_micro pocket_mini

For each model: its skills without a prompt. For each task: the majority, a trained
prompt, and model tuning, each at its best evaluation. Results are kept in the work
folder, and what is there is not run again.
"""

import argparse
import json
from pathlib import Path

from prompt_tuning import cli, config
from prompt_tuning.reproduce import scales
from prompt_tuning.runs import parts
from prompt_tuning.t5.extra import Extra

TASKS = (
    *("kind", "mood", "boolq", "cb", "rte", "copa", "wic", "multirc", "wsc"),
    *("record", "squad", "qqp", "mrpc"),
)
# What differs from the scale's settings. Model tuning has T5's own.
METHODS = {
    "prompt": {},
    "whole": scales.POCKET.whole,
}


def skills(model: str) -> dict[str, float]:
    """The percent of each skill's probes that the frozen model answers by itself."""
    settings = config.load([], [f"INITIAL_CHECKPOINT_PATH={model}"])
    built = parts.build(settings)
    split = parts.open_task(settings.run, built.vocabulary, "pocket_skill")
    measure = parts.make_measure(settings.run, built, split.load("validation"))
    (metrics, _), _ = measure(built.params, Extra())
    return metrics["pocket_skill"]


def run(folder: Path, model: str, task: str, method: str, steps: int) -> dict:
    """Trains in `folder`, if that has not been done; returns metrics.json."""
    settings = {
        **scales.POCKET.settings,
        "MODEL_DIR": folder,
        "INITIAL_CHECKPOINT_PATH": model,
        "MIXTURE_OR_TASK_NAME": f"pocket_{task}",
        **METHODS[method],
        "TRAIN_STEPS": steps,
        "EVAL_PERIOD": max(1, steps // 8),
        **scales.POCKET.tasks.own.get(f"pocket_{task}", {}),
    }
    if not (folder / "metrics.json").exists():
        code = cli.main(["train", *(f"--gin.{k}={v}" for k, v in settings.items())])
        if code:
            raise SystemExit(code)
    return json.loads((folder / "metrics.json").read_text())


def main() -> None:
    """Runs what is missing, and prints a line for each task as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or files of frozen models")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("runs/pocket_table"))
    args = parser.parse_args()
    for model in args.models:
        print(json.dumps({"model": model, "skills": skills(model)}))
    for task in args.tasks:
        for model in args.models:
            for method in args.methods:
                name = "_".join((Path(model).stem, task, method, str(args.steps)))
                found = run(args.work / name, model, task, method, args.steps)
                print(
                    json.dumps({"task": task, "model": model, "method": method} | found)
                )


if __name__ == "__main__":
    main()
