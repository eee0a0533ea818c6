"""`pretrain`: make a frozen model, span corruption and then prefix LM."""

import argparse

from prompt_tuning.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts."""
    flags.add_hosts(parser)


def run(args: argparse.Namespace) -> None:
    """Pre-trains a model, or resumes."""
    flags.greet("pretrain", args)

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import pretrain

    settings = common.settings(args)
    with outputs.without_reader():
        common.start(args)
        pretrain.pretrain(settings)
