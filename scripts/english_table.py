"""Measures what frozen models of English text give on official files.

    PYTHONPATH=. python scripts/english_table.py pocket_english pocket_english_lm0 \
        --data_dir=D --work=runs/table

For each task and model: the majority, prompts and model tuning, of three seeds each, at
the best evaluation. Prompts are scored by label words too, and what is tuned on SQuAD
is asked of SQuADShifts' reviews. What is in the work folder is not run again.
"""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import cli, outputs
from prompt_tuning.reproduce import scales
from prompt_tuning.runs import compare, evaluation, report, results, trained
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
    return [folder / f"seed_{seed}" for seed in seeds]  # others may lie there too


def asked(runs: Sequence[Path], name: str, **changes: Any) -> list[float]:
    """The scores of finished runs with changed settings; kept beside them as `name`."""
    kept = [run / f"asked_{name}.json" for run in runs]
    if not all(path.exists() for path in kept):
        group = [_changed(run, model_dir="", **changes) for run in runs]
        for path, said in zip(kept, evaluation.evaluate(group), strict=True):
            outputs.write_json(path, said)
    return [development_score(json.loads(p.read_text())["metrics"]) for p in kept]


def _changed(path: Path, **changes: Any) -> evaluation.Trained:
    """What a run has trained, and its settings with other values in Run."""
    source = trained.find("", str(path))
    settings = trained.base_settings(str(path), source)
    run = dataclasses.replace(settings.run, **changes)
    changed = dataclasses.replace(settings, run=run)
    return changed, source._replace(mesh=settings.mesh)


def further(task: str, method: str) -> list[tuple[str, str, dict[str, str]]]:
    """What finished runs are asked besides: (task, method's name, settings)."""
    if task == SQUAD:
        return [(SHIFTED, method, {"eval_split": "test"})]
    if method == "prompt":  # it may tell labels apart that it cannot spell
        return [(task, "prompt, labels scored", {"decoding": "labels"})]
    return []


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
    parser.add_argument("--steps", type=int, default=200)
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
        name = Path(model).stem
        folder = args.work / name / task / f"{method}_{args.steps}"
        runs = tuned(folder, args.data_dir, args.seeds, **settings)
        found = [results.read(run) for run in runs]
        majority = found[0].majority
        most = "-" if majority is None else f"{majority:.1f}"
        scores = [one.score for one in found if one.score is not None]
        table.append((task, name, method, most, told(scores)))
        for asked_of, called, changes in further(task, method):
            where = {"mixture_or_task_name": asked_of, "data_dir": args.data_dir}
            scores = asked(runs, asked_of, **where, **changes)
            most = most if asked_of == task else "-"
            table.append((asked_of, name, called, most, told(scores)))
    print(report.lay_out(table, words=3))


if __name__ == "__main__":
    main()
