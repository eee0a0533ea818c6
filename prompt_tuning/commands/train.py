"""`train`: tune a prompt (or the model) and evaluate it."""

import argparse

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


def run(args: argparse.Namespace) -> None:
    """Trains, or resumes."""
    from prompt_tuning.commands import common
    from prompt_tuning.runs import sweep, tune

    settings = common.settings(args)
    common.start(args)
    tune.train(sweep.sweep(settings, args.sweep) if args.sweep else [settings])
