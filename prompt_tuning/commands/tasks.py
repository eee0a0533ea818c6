"""`tasks`: list the tasks; show or check their data."""

import argparse
import sys

from prompt_tuning.errors import UserError

SETTINGS = ("MIXTURE_OR_TASK_MODULE", "TASK_FEATURE_LENGTHS", "VOCABULARY")
EXAMPLES = r"""
# all tasks
prompt-tuning tasks

# what the model reads and should write
prompt-tuning tasks --render=pocket_kind --split=validation --limit=5

# the official files of SuperGLUE and others, checked row by row
prompt-tuning tasks --check --data_dir=official_files
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what to show."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="report each task's sizes, lengths, labels, bad rows",
    )
    parser.add_argument(
        "--render", metavar="TASK", help="print the task's texts, inputs<TAB>targets"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="the split to print (default train)"
    )
    parser.add_argument(
        "--limit", type=_count, metavar="N", help="print only the first N"
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Prints the list, the texts or the report."""
    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.frozen.vocabulary import load_vocabulary
    from prompt_tuning.runs import parts
    from prompt_tuning.tasks_io import listing

    if args.render and args.check:
        raise UserError("--render and --check are both given; give one")
    for flag, given in (("--split", args.split), ("--limit", args.limit)):
        if given is not None and not args.render:
            raise UserError(f"{flag} is for --render=TASK: give that too, or leave it")
    run = common.settings(args).run
    common.start(args)
    outputs.in_utf8(sys.stdout)
    module, folders = run.mixture_or_task_module, (run.data_dir, run.tfds_data_dir)
    if not (args.render or args.check):
        print(listing.describe(module))
        return
    vocabulary = load_vocabulary(parts.vocabulary_name(run))
    if args.render:
        what, lengths = (args.render, args.split or "train"), run.task_feature_lengths
        lines = listing.render(module, vocabulary, *what, *folders, args.limit, lengths)
    else:
        lines = listing.check(module, vocabulary, *folders)
    for line in lines:
        print(line)
