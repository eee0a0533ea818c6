"""Measures what frozen models of English text give on official files.

    PYTHONPATH=. python scripts/english_table.py runs/english/frozen.safetensors \
        runs/english/span_corruption.safetensors --data_dir=D --work=runs/table

For each task and model: the majority, prompts and model tuning, of three seeds each, at
the best evaluation. What is tuned on SQuAD is then asked of SQuADShifts' reviews. Every
number is a line of JSON; what is in the work folder is not run again.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import cli, outputs
from prompt_tuning.reproduce import scales

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
    return [path.parent for path in sorted(folder.rglob("metrics.json"))]


def shifted(run: Path, data: str) -> dict[str, Any]:
    """What a run that is tuned on SQuAD answers elsewhere; kept beside it."""
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
    return json.loads(kept.read_text())


def main() -> None:
    """Runs what is missing, and prints a line for each run as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="files of frozen models")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--work", type=Path, default=Path("runs/english_table"))
    args = parser.parse_args()
    for task in args.tasks:
        for model in args.models:
            for method in args.methods:
                settings = {
                    **METHODS[method],
                    "INITIAL_CHECKPOINT_PATH": model,
                    "MIXTURE_OR_TASK_NAME": task,
                    "TRAIN_STEPS": args.steps,
                    "EVAL_PERIOD": max(1, args.steps // 4),
                }
                folder = args.work / Path(model).stem / task / method
                for run in tuned(folder, args.data_dir, args.seeds, **settings):
                    found = {"task": task, "model": model, "method": method}
                    found |= {"run": run.name}
                    found |= json.loads((run / "metrics.json").read_text())
                    if task == SQUAD:
                        found[SHIFTED] = shifted(run, args.data_dir)["metrics"]
                    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
