"""`params`: parameter counts of every size (the paper's Table 4)."""

import argparse

from prompt_tuning.commands import flags

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

    flags.refuse_settings(args, "the table has every size at the paper's lengths")
    for line in parameters.table():
        print(line)
