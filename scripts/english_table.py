"""Measures what frozen models of English text give on official files.

    PYTHONPATH=. python scripts/english_table.py pocket_english pocket_english_lm0 \
        --data_dir=D --work=runs/table

For each task and model: the majority, prompts and model tuning, of three seeds each, at
the best evaluation. What is tuned on SQuAD is then asked of SQuADShifts' reviews. What
is in the work folder is not run again.
"""

import argparse
import contextlib
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import cli, outputs
from prompt_tuning.reproduce import scales
from prompt_tuning.runs import compare, report, results
from prompt_tuning.training.task import development_score

SQUAD, SHIFTED = "mrqa_squad_dev", "squadshifts_amazon"
TASKS = ("sst2", "mrpc", "qqp_dev", "rte", "cb", "boolq_dev", SQUAD)
# What differs from gin/runs/english_tasks.gin. Model tuning has T5's own settings.
METHODS = {
    "prompt": {},
    "whole": scales.POCKET.whole,
}


def call(*words: str) -> None:
    """Runs a command of ours, and ends where it fails."""
    if code := cli.main(list(words)):
        raise SystemExit(code)


def tuned(folder: Path, data: str, seeds: Sequence[int], **settings: Any) -> list[Path]:
    """The folders of one run a seed; those that are not finished are run."""
    if settings["MIXTURE_OR_TASK_NAME"] == SQUAD:  # it has no label words
        settings["PROMPT_INIT"] = "sampled_vocab"
    call(
        *("train", "--gin_file=gin/runs/english_tasks.gin", f"--data_dir={data}"),
        f"--gin.MODEL_DIR={folder}",
        *(f"--gin.{name}={value}" for name, value in settings.items()),
        f"--sweep=SEED={','.join(map(str, seeds))}",
    )
    return [*results.below(folder)]


def shifted(run: Path, data: str) -> float:
    """The score elsewhere of a run that is tuned on SQuAD; kept beside it."""
    kept = run / f"{SHIFTED}.json"
    if not kept.exists():
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            call(
                *("evaluate", f"--prompt={run}", "--split=test", f"--data_dir={data}"),
                f"--gin.MIXTURE_OR_TASK_NAME={SHIFTED}",
            )
        text = said.getvalue()
        outputs.write_json(kept, json.loads(text[text.index("{") :]))
    return development_score(json.loads(kept.read_text())["metrics"])


def told(scores: Sequence[float]) -> str:
    """Their mean and sample deviation."""
    found = compare.spread(scores)
    return found.told() if found else "-"


def main() -> None:
    """Runs what is missing, then prints a table of all.

    A score is the mean of a task's metrics, in percent.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or files of frozen models")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--work", type=Path, default=Path("runs/english_table"))
    args = parser.parse_args()
    table = [("task", "model", "method", "majority class", "score")]
    for task, model, method in itertools.product(args.tasks, args.models, args.methods):
        settings = {
            **METHODS[method],
            "INITIAL_CHECKPOINT_PATH": model,
            "MIXTURE_OR_TASK_NAME": task,
            "TRAIN_STEPS": args.steps,
            "EVAL_PERIOD": max(1, args.steps // 4),
        }
        folder = args.work / Path(model).stem / task / f"{method}_{args.steps}"
        runs = tuned(folder, args.data_dir, args.seeds, **settings)
        found = [results.read(run) for run in runs]
        majority = found[0].majority
        most = "-" if majority is None else f"{majority:.1f}"
        scores = [one.score for one in found if one.score is not None]
        table.append((task, Path(model).stem, method, most, told(scores)))
        if task == SQUAD:
            there = [shifted(run, args.data_dir) for run in runs]
            table.append((SHIFTED, Path(model).stem, method, "-", told(there)))
    print(report.lay_out(table, words=3))


if __name__ == "__main__":
    main()
