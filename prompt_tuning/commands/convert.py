"""`convert`: convert a T5 checkpoint to this package's format."""

import argparse
from pathlib import Path

from prompt_tuning.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --output."""
    parser.add_argument("--output", type=flags.path, required=True, metavar="FILE")


def run(args: argparse.Namespace) -> None:
    """Writes the model at INITIAL_CHECKPOINT_PATH as one file."""
    from prompt_tuning.commands import common
    from prompt_tuning.frozen import description, weights
    from prompt_tuning.t5.network import Transformer

    settings = common.settings(args)
    common.start(args)
    name = settings.run.initial_checkpoint_path
    model = Transformer(description.config(name, settings.model))
    weights.convert(name, model, Path(args.output))
    print(f"frozen model: {args.output}")
