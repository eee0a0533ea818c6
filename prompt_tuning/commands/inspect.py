"""`inspect`: read prompts: what they lie next to, where they live, how they differ."""

import argparse
from typing import Any

from prompt_tuning.commands import flags


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
    parser.add_argument("--json", action="store_true", help="print JSON, not text")
    parser.add_argument(
        "--output", type=flags.path, metavar="DIR", help="the folder for pictures"
    )


def run(args: argparse.Namespace) -> None:
    """Prints what is found in each prompt; with --output, draws it."""
    import json
    import sys
    from pathlib import Path

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.errors import UserError
    from prompt_tuning.reading import pictures, report

    if args.neighbours < 1:
        raise UserError(f"--neighbours is {args.neighbours}; it must be at least 1")
    common.start(args)
    folder = outputs.make_folder(Path(args.output), "--output") if args.output else None
    subjects = [_read(args, path) for path in args.prompts]
    found = [report.of_prompt(one, args.neighbours) for one in subjects]
    drawn = pictures.draw(folder, subjects, found) if folder else []
    if args.json:
        outputs.in_utf8(sys.stdout)
        told = {"worth": report.WORTH, "prompts": found}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    told = [report.text(one) for one in found]
    print("\n\n\n".join([*told, report.WORTH]))
    if drawn:
        print("\npictures  " + "\n          ".join(map(str, drawn)))


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
