"""`convert`: write a T5 in this package's format or in Hugging Face's."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags

SETTINGS = (
    "INITIAL_CHECKPOINT_PATH",
    "MODEL_DIR",
    "VOCABULARY",
    "T5Config.param_dtype",
)
EXAMPLES = r"""
# the embedded model as a folder that transformers loads
prompt-tuning convert --format=hf --output=nano_hf

# a checkpoint of any format as one file, here of half the size
prompt-tuning convert --output=base.safetensors \
    --gin.INITIAL_CHECKPOINT_PATH=FOLDER --gin.T5Config.param_dtype=bfloat16

# the frozen model of a run; with METHOD=whole the tuned one
prompt-tuning convert --format=hf --gin.MODEL_DIR=runs/mine --output=served
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --output and --format."""
    parser.add_argument("--output", type=flags.path, required=True, metavar="PATH")
    parser.add_argument(
        "--format",
        choices=("hf",),
        help="a folder that Hugging Face's transformers loads; by default a file, "
        ".safetensors, in this package's format",
    )


def run(args: argparse.Namespace) -> None:
    """Writes the model at INITIAL_CHECKPOINT_PATH, or the one of a run's MODEL_DIR."""
    from prompt_tuning.commands import common
    from prompt_tuning.frozen import conversion, description
    from prompt_tuning.frozen.vocabulary import load_vocabulary
    from prompt_tuning.runs import parts
    from prompt_tuning.t5.network import Transformer

    settings = _settings(args)
    common.start(args)
    name = settings.run.initial_checkpoint_path
    model = Transformer(description.config(name, settings.model))
    if args.format:
        vocabulary = load_vocabulary(parts.vocabulary_name(settings.run))
        dtype = common.settings(args).model.get("param_dtype")
        folder = Path(args.output)
        conversion.to_hugging_face(name, model, vocabulary, folder, dtype)
    else:
        conversion.convert(name, model, Path(args.output))
    print(f"frozen model: {args.output}")


def _settings(args: argparse.Namespace) -> Any:
    """The flags' settings; with a MODEL_DIR the model that its run made or tuned for.

    What METHOD=prepended trained beside the weights is told of.
    """
    from prompt_tuning import exchange, outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import trained

    found = common.settings(args)
    if not found.run.model_dir:
        return found
    found, source = common.settings_of_trained(args)
    tuned = trained.shipped_model(source)
    if not tuned:
        return found
    if (source.path / exchange.PROMPT).exists():
        outputs.warn(
            f"the run in {source.path} trained a prompt together with these weights; "
            f"they are of use with its {exchange.PROMPT} alone"
        )
    run = dataclasses.replace(found.run, initial_checkpoint_path=str(tuned))
    return dataclasses.replace(found, run=run)
