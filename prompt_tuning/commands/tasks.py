"""`tasks`: list the tasks; show or check their data."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What to show."""
    parser.add_argument(
        "--check", action="store_true", help="sizes, lengths, labels, bad rows of all"
    )
    parser.add_argument(
        "--render", metavar="TASK", help="print its texts, inputs<TAB>targets"
    )
    parser.add_argument(
        "--split", default="train", help="what to print (default train)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="print the first N alone"
    )


def run(args: argparse.Namespace) -> None:
    """Prints the list, the texts or the report."""
    TODO
