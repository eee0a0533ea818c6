"""`inspect`: read prompts: what they lie next to, where they live, how they differ."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags

SETTINGS = (
    "INITIAL_CHECKPOINT_PATH",
    "VOCABULARY",
    "MIXTURE_OR_TASK_NAME",
    "EVAL_SPLIT",
)
EXAMPLES = r"""
# the nearest pieces of each position, norms, clusters
prompt-tuning inspect runs/mine

# what each position does in its task; pictures of it all
prompt-tuning inspect runs/mine --positions --output=pictures

# how alike two prompts are; what training added to a start
prompt-tuning inspect runs/mine runs/mine/checkpoints/0 \
    --combine=added.npy --weights=1,-1
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the prompts, --neighbours, --json and --output."""
    parser.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        type=flags.path,
        help="runs, steps of them or prompt files",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=5,
        metavar="K",
        help="pieces to tell of each position (default: 5)",
    )
    parser.add_argument(
        "--positions",
        action="store_true",
        help="evaluate without each position, shuffled, cut, rounded to pieces",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, not text")
    parser.add_argument(
        "--combine",
        type=flags.path,
        metavar="FILE",
        help="write the prompts' sum as a prompt, .npy or .safetensors",
    )
    parser.add_argument(
        "--weights",
        metavar="W,W,...",
        help="of the prompts in the sum: 1,-1 is the difference of two (default: 1 "
        "each)",
    )
    parser.add_argument(
        "--output", type=flags.path, metavar="DIR", help="the folder for pictures"
    )


def run(args: argparse.Namespace) -> None:
    """Prints what is found in each prompt; with --output, draws it."""
    import json
    import sys

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.errors import UserError
    from prompt_tuning.reading import pictures, report

    if args.neighbours < 1:
        raise UserError(f"--neighbours is {args.neighbours}; it must be at least 1")
    common.start(args)
    folder = outputs.make_folder(Path(args.output), "--output") if args.output else None
    weights = _weights(args)
    subjects = [_read(args, path) for path in args.prompts]
    found = [report.of_prompt(one, args.neighbours) for one in subjects]
    for one, values in zip(subjects, found, strict=True):
        if args.positions:
            values["positions"] = _positions(args, one)
    names = pictures.titles(subjects)
    alike = report.of_several(subjects) if len(subjects) > 1 else None
    drawn = pictures.draw(folder, subjects, found) if folder else []
    if folder and alike and "missing" not in alike:
        drawn += pictures.similarities(folder / "similarities", names, alike)
    if args.combine:
        _combine(args.combine, weights, subjects)
    if args.json:
        outputs.in_utf8(sys.stdout)
        told = {"worth": report.WORTH, "prompts": found, "similarities": alike}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    told = [report.text(one) for one in found]
    told += [report.text_of_several(alike, names)] if alike else []
    print("\n\n\n".join([*told, report.WORTH]))
    if drawn:
        print("\npictures  " + "\n          ".join(map(str, drawn)))


def _weights(args: argparse.Namespace) -> list[float]:
    """--weights, a number for each prompt."""
    import math

    from prompt_tuning import exchange, outputs
    from prompt_tuning.errors import UserError

    if args.combine:
        outputs.check_output(args.combine)
        exchange.check_prompt_output(Path(args.combine))
    texts = ["1"] * len(args.prompts)
    if args.weights is not None:
        texts = args.weights.split(",")
    try:
        weights = [float(text) for text in texts]
    except ValueError:
        weights = []
    wrong = len(weights) != len(args.prompts) or not all(map(math.isfinite, weights))
    if wrong or (args.weights and not args.combine):
        raise UserError(
            f"--weights is {args.weights!r}; it must be a number for each of the "
            f"{len(args.prompts)} prompts, separated by commas, beside --combine=FILE"
        )
    return weights


def _positions(args: argparse.Namespace, one: Any) -> dict[str, Any]:
    """What the positions of a prompt do in its task, which must be known."""
    from prompt_tuning.commands import common
    from prompt_tuning.errors import UserError
    from prompt_tuning.reading import positions
    from prompt_tuning.runs import trained

    task = one.said.get("task") or common.given(args, "mixture_or_task_name", "a", "b")
    if one.frozen is None or not task:
        raise UserError(
            f"--positions evaluates {one.path} in its task, and "
            + (one.missing or "it does not say which that is")
            + ": give INITIAL_CHECKPOINT_PATH and MIXTURE_OR_TASK_NAME"
        )
    source = trained.Source(one.path, one.said)
    return positions.read(one.settings, source, one.frozen.table_VxD)._asdict()


def _combine(output: str, weights: Sequence[float], subjects: Sequence[Any]) -> None:
    from prompt_tuning.reading import arithmetic

    terms = [
        arithmetic.Term(weight, one.path, one.prompt_PxD, one.said)
        for weight, one in zip(weights, subjects, strict=True)
    ]
    arithmetic.write(Path(output), terms)


def _read(args: argparse.Namespace, path: str) -> Any:
    """A prompt with the settings that it, its run and the flags say."""
    from prompt_tuning.commands import common
    from prompt_tuning.reading import subject
    from prompt_tuning.runs import trained
    from prompt_tuning.serving import prompts

    source = trained.find("", path)
    run_dir = prompts.folder(source.path)
    settings = common.settings(args, trained.base_settings(run_dir, source))
    wished = bool(common.given(args, "initial_checkpoint_path", "a", "b"))
    named = wished or bool(run_dir or source.said.get("frozen_model"))
    return subject.read(source, settings, named, wished)
