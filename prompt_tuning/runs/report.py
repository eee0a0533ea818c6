"""What a run prints: introduction, table of scores."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from prompt_tuning.methods import Method
from prompt_tuning.settings import Run
from prompt_tuning.training.batching import Examples
from prompt_tuning.training.task import Lower


def introduction(
    runs: Sequence[Run],
    method: Method,
    trained: Any,
    frozen: Any,
    name: str,
    splits: Sequence[Examples],
    computed: str,
) -> str:
    """Says what is about to be trained, and on what.

    Args:
      runs: those that are trained together.
      trained: what one of them trains.
      frozen: the weights that are not trained.
      name: the task's name.
      computed: the type that products are computed in.
    """
    run = runs[0]
    params, extra = jax.eval_shape(method.fold, trained, frozen)
    count, model = method.count(trained), _size(frozen if params is None else params)
    path = run.initial_checkpoint_path
    lines = [f"frozen model  {path}: {model:,} parameters"]
    if params is not None:
        lines = [f"model         {path}: {model:,} parameters, all trained"]
    if extra.prompt and extra.encodings == 1:
        length, width = extra.prompt.vectors.shape
        inits = dict.fromkeys(run.prompt_init for run in runs)
        told = f"{length} tokens of text; nothing is trained"
        told = _prompt(length, width, model, inits) if method.trains else told
        lines.append(f"prompt        {told}")
    if several := extra.bank or (extra.encodings > 1 and extra.prompt):
        number, length, width = several.vectors.shape
        inits = ", ".join(dict.fromkeys(run.prompt_init for run in runs))
        told = "one for each task" if extra.bank else "mixed"
        told = f"{number} of {length} x {width}, {told}; init {inits}"
        lines.append(f"prompts       {told}")
    made_of_more = extra.prompt and count != math.prod(extra.prompt.vectors.shape)
    made_of_more = params is None and (made_of_more or not extra.is_prompt)
    if made_of_more and method.trains:
        lines.append(f"{run.method:<13} {count:,} parameters, {count / model:.3%}")
    if len(runs) > 1 and method.trains:
        lines.append(f"together      {len(runs)} prompts, in one step")
    lines.append(f"computed in   {computed}")
    for examples in splits:
        lengths = examples.lengths
        lines.append(
            f"{examples.split:<13} {len(examples):,} examples of {name}; "
            f"inputs of {lengths['inputs']} tokens ({examples.cut['inputs']} cut), "
            f"targets of {lengths['targets']} ({examples.cut['targets']} cut)"
        )
    return "\n".join(lines)


def _prompt(length: int, width: int, model: int, inits: Iterable[str]) -> str:
    vectors = length * width
    share = vectors / (model + vectors)
    return (
        f"{length} x {width} = {vectors:,} parameters, {share:.3%} of all; init "
        + ", ".join(inits)
    )


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _rows(results: dict[str, Any]) -> Iterator[tuple]:
    """The rows of the final table."""
    columns = results["majority"], results["untrained"], results["trained"]
    majority, untrained, trained = columns
    for task, metrics in trained["metrics"].items():
        for metric, value in metrics.items():
            before = untrained["metrics"][task][metric]
            called = metric + " (less is better)" * isinstance(value, Lower)
            yield task, called, majority.get(task, {}).get(metric), before, value
        if task in trained["illegal"]:
            shares = [100 * part["illegal"][task] for part in (untrained, trained)]
            yield task, "illegal labels", None, *shares


# Headers of the two columns of scores, by the last file that the run wrote.
_COLUMNS = {
    "prompt": ("untrained prompt", "trained prompt"),
    "model": ("pretrained model", "tuned model"),
    "extra": ("untrained", "trained"),
}


def conclusion(
    run: Run,
    folder: Path,
    files: Sequence[Path],
    results: dict[str, Any],
    text: str | None = None,
    trains: bool = True,
) -> str:
    """The scores before and after training, and the paths of all that was written.

    Args:
      files: the files with what was trained.
      text: of a prompt that is one.
      trains: otherwise there is one score.
    """
    rows, columns = list(_rows(results)), _COLUMNS[files[-1].stem]
    best = f"; best of the evaluations at step {results['best_step']}"
    if not trains:
        rows, columns, best = [(*row[:3], row[4]) for row in rows], ("prompt",), ""
    names = {"learning curve": "learning_curve.png"} if trains else {}
    names |= {"metrics": "metrics.json", "predictions": "predictions.jsonl"}
    told: dict[str, Path | str] = {path.stem: path for path in files}
    told |= {name: folder / file for name, file in names.items()}
    if text is not None:
        told["text"] = repr(text)
    return "\n".join(
        [
            "",
            f"{run.eval_split}, in percent{best}",
            "",
            table(rows, columns),
            "",
            *(f"{name:<15} {value}" for name, value in told.items()),
        ]
    )


def table(
    rows: Sequence[Sequence[str | float | None]],
    columns: Sequence[str] = ("untrained prompt", "trained prompt"),
) -> str:
    """Lays out strings and numbers in columns of text; None is "-".

    Args:
      rows: task, metric, the majority class's score, then a score for each column.
    """
    header = ["task", "metric", "majority class", *columns]
    return lay_out([header, *([_cell(value) for value in row] for row in rows)], 2)


def lay_out(cells: Sequence[Sequence[str]], words: int) -> str:
    """Text in columns, the first row a header above a line.

    Args:
      words: how many columns are words, aligned to the left; the rest are numbers.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths, words) for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.1f}"


def _line(row: Sequence[str], widths: Sequence[int], words: int) -> str:
    """Aligns words to the left and numbers to the right."""
    aligned = [
        f"{cell:<{width}}" if i < words else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()
