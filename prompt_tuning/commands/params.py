"""`params`: parameter counts of every size (the paper's Table 4)."""

import argparse

SETTINGS = ()
EXAMPLES = r"""
# the table
prompt-tuning params

# the rows of one size
prompt-tuning params | grep xxl

# as a file
prompt-tuning params > table4.txt
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds none."""


def run(args: argparse.Namespace) -> None:
    """Prints the table."""
    from prompt_tuning.runs import parameters

    for line in parameters.table():
        print(line)
