"""`train`: tune a prompt (or the model) and evaluate it."""

import argparse
from collections.abc import Sequence
from typing import Any

from prompt_tuning.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts, and --sweep."""
    flags.add_hosts(parser)
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="tune a prompt for each value, all in one step (SEED=0,1,2); with several "
        "--sweep, one for each combination",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="read settings, data and the shapes of the weights; say what would be "
        "trained and what it needs; train nothing",
    )


def run(args: argparse.Namespace) -> None:
    """Trains, or resumes."""
    flags.greet("train", args)

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import dry_run, sweep, tune

    def load(more: Sequence[str] = ()) -> Any:
        return common.settings(args, more=more)

    found = sweep.sweep(load, args.sweep) if args.sweep else [load()]
    with outputs.without_reader():
        if args.dry_run:
            dry_run.use_devices(found[0])
        common.start(args)
        (dry_run.show if args.dry_run else tune.train)(found)
