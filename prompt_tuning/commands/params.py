"""`params`: parameter counts of every size (the paper's Table 4)."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds none."""


def run(args: argparse.Namespace) -> None:
    """Prints the table."""
    from prompt_tuning.runs import parameters

    for line in parameters.table():
        print(line)
