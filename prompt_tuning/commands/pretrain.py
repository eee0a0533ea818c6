"""`pretrain`: make a frozen model, span corruption and then prefix LM."""

import argparse

from prompt_tuning.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Hosts."""
    flags.add_hosts(parser)


def run(args: argparse.Namespace) -> None:
    """Pre-trains, or goes on."""
    from prompt_tuning.commands import common
    from prompt_tuning.runs import pretrain

    settings = common.settings(args)
    common.start(args)
    pretrain.pretrain(settings)
