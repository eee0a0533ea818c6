"""`compare`: set runs and sweeps side by side."""

import argparse

from prompt_tuning.commands import flags

SETTINGS = ()
EXAMPLES = r"""
# the runs of a sweep; tables and pictures go into its folder
prompt-tuning compare runs/sweep

# a sweep and a run
prompt-tuning compare runs/sweep runs/mine --output=runs/comparison

# all runs there are
prompt-tuning compare runs --output=runs/all
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the runs, and --output."""
    parser.add_argument(
        "runs",
        type=flags.path,
        nargs="+",
        metavar="RUN",
        help="the MODEL_DIR of a run or of a --sweep, or a folder of such",
    )
    parser.add_argument(
        "--output",
        type=flags.path,
        metavar="DIR",
        help="the folder for summary.json and the pictures, summary and scores, as PNG "
        "and PDF (default: RUN where that is one folder of several runs, else the "
        "working directory)",
    )


def run(args: argparse.Namespace) -> None:
    """Prints the table; writes and draws it."""
    from pathlib import Path

    from prompt_tuning import outputs
    from prompt_tuning.runs import compare, results, summary

    flags.refuse_settings(
        args, "`compare` reads the settings of its runs from their folders"
    )
    rows = compare.rows(results.find(args.runs))
    alone = len(args.runs) == 1 and not results.is_run(Path(args.runs[0]))
    where = args.output or (args.runs[0] if alone else ".")
    path = outputs.make_folder(Path(where), "the folder of the summary")
    with outputs.without_reader():
        summary.tell(rows, path)
