"""Tunes a prompt on a CSV, and tells which rows it gets wrong.

    python examples/own_table.py
    python examples/own_table.py --table=reviews.csv --text=review --label=sentiment \
        --model=t5-small-lm-adapt

Without a table it writes one, in the English of the embedded model: what somebody says,
and how they feel. Half a minute on two cores. Nothing here imports TensorFlow.
"""

import argparse
import csv
import json
from pathlib import Path

import prompt_tuning
from prompt_tuning.tasks.pocket import TASKS


def write_table(path: Path) -> None:
    """600 rows, with the columns `text` and `label`."""
    examples = list(TASKS["pocket_mood"].examples("train"))[:600]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([one["inputs"], one["targets"]] for one in examples)


def main(
    steps: int, folder: str, table: str | None, text: str, label: str, model: str
) -> None:
    if table is None:
        table = f"{folder}.csv"
        Path(table).parent.mkdir(parents=True, exist_ok=True)
        write_table(Path(table))

    # INPUTS and TARGETS are templates of columns: "review: {text}" would do as well.
    run = prompt_tuning.train(
        MODEL_DIR=folder,
        INITIAL_CHECKPOINT_PATH=model,
        MIXTURE_OR_TASK_NAME=table,
        INPUTS=f"{{{text}}}",
        TARGETS=f"{{{label}}}",
        PROMPT_LENGTH=20,
        TRAIN_STEPS=steps,
        EVAL_PERIOD=max(steps // 4, 1),
    )
    print(f"\non the tenth of the rows that was held out: {run.metrics}")

    rows = (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    wrong = [row for row in map(json.loads, rows) if not row["correct"]]
    print(f"{len(wrong)} of {len(rows)} are wrong")
    for row in wrong[:5]:
        print(f"  {row['inputs']} -> {row['prediction']}, not {row['target']}")

    frozen = prompt_tuning.load(model)
    frozen.add("mine", run.folder)
    first = json.loads(rows[0])["inputs"]
    (probabilities,) = frozen.classify([first], "mine")
    print(first, {word: round(p, 3) for word, p in probabilities.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", default="runs/own_table")
    parser.add_argument("--table", help="a CSV with a header")
    parser.add_argument("--text", default="text", help="the column to read")
    parser.add_argument("--label", default="label", help="the column to answer")
    parser.add_argument("--model", default="pocket_nano", help="a T5's folder")
    main(**vars(parser.parse_args()))
