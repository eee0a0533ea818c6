"""`export`: write a prompt as .npy, .safetensors, PEFT's folder or text; LoRA, IA3."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError

SETTINGS = ("MODEL_DIR",)
EXAMPLES = r"""
# the best state's prompt, as a file
prompt-tuning export --gin.MODEL_DIR=runs/mine --output=mine.safetensors

# a folder that Hugging Face's PEFT loads
prompt-tuning export --format=peft --gin.MODEL_DIR=runs/mine --output=mine_peft

# the newest state of a run that still goes on
prompt-tuning export --step=last --gin.MODEL_DIR=runs/mine --output=newest.npy
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --output, --format, --step and --task."""
    parser.add_argument("--output", type=flags.path, required=True, metavar="PATH")
    parser.add_argument(
        "--format",
        choices=("peft", "text"),
        help="peft: a folder that Hugging Face's PEFT loads; text: what a prompt reads "
        "that is made of the vocabulary's pieces; by default a file, .npy or "
        ".safetensors as --output ends",
    )
    parser.add_argument(
        "--step",
        default="best",
        choices=("best", "last"),
        help="which saved state to take (default best)",
    )
    parser.add_argument(
        "--task",
        metavar="NAME",
        help="of a run that has a prompt for each task of a mixture: whose to write; "
        "mean: that of all, for another task to start from",
    )


def run(args: argparse.Namespace) -> None:
    """Writes a prompt from MODEL_DIR's checkpoints; reads no frozen model."""
    from prompt_tuning import exchange, outputs
    from prompt_tuning.commands import common
    from prompt_tuning.training import checkpoints

    model_dir = common.settings(args).run.model_dir
    if args.format != "peft":
        outputs.check_output(args.output)
    if not args.format:
        exchange.check_prompt_output(Path(args.output))
    directory = Path(model_dir) / "checkpoints"
    if not model_dir or not directory.is_dir():
        raise UserError(
            f"there are no checkpoints in {model_dir!r}; give the MODEL_DIR of a run "
            "that was started, --gin.MODEL_DIR=runs/mine"
        )
    settings, source = common.settings_of_trained(args)
    common.start(args)
    scores = checkpoints.scores(directory)
    best = checkpoints.best_step(directory)
    number = best if args.step == "best" else max(scores, default=None)
    if number is None:
        raise UserError(
            f"{directory} holds no whole checkpoint yet; a run saves its first once it "
            "has evaluated the untrained prompt"
        )
    exchange.check_settings(directory, source.said, settings)
    said = {k: v for k, v in source.said.items() if k != "metrics"}
    said |= {"step": number, "score": scores[number]}
    step, output = directory / str(number), Path(args.output)
    more = said.get("ships_extra") and not said.get("ships_model")
    if args.format == "peft" and more and not args.task:
        exchange.save_peft_extra(output, exchange.load_step(step), said)
        print(f"{settings.run.method} of step {number}: {args.output}")
        return
    if args.task:
        prompt_PxD, said = exchange.load_task(step, said, args.task)
    else:
        _check_ships_prompt(model_dir, source.said)
        prompt_PxD = exchange.load_prompt(step)
        said |= _in_words(step, settings, source)
    if args.format == "text":
        exchange.save_text(output, said)
    else:
        save = exchange.save_peft if args.format else exchange.save_prompt
        save(output, prompt_PxD, said)
    print(f"prompt of step {number}: {args.output}")


def _in_words(state: Path, settings: Any, source: Any) -> dict[str, Any]:
    """What the description of a state's prompt says that is made of pieces."""
    from prompt_tuning import exchange
    from prompt_tuning.frozen.vocabulary import load_vocabulary
    from prompt_tuning.runs import parts

    tokens = exchange.load_tokens(state)
    if tokens is None:
        return {}
    vocabulary = load_vocabulary(parts.vocabulary_name(settings.run))
    exchange.check(
        source.path,
        source.said,
        frozen_model=source.said.get("frozen_fingerprint", ""),
        name=settings.run.initial_checkpoint_path,
        vocabulary=vocabulary,
    )
    return exchange.in_words(tokens, vocabulary)


def _check_ships_prompt(model_dir: str, said: Mapping[str, Any]) -> None:
    """Raises UserError for a run that trained the weights, or more than a prompt."""
    from prompt_tuning import exchange

    exchange.check_one_prompt(Path(model_dir), said)
    if said.get("ships_extra"):
        raise UserError(
            f"METHOD of the run in {model_dir} is {said.get('method')}, which trains "
            f"more than a prompt: take {exchange.EXTRA} and its JSON of the finished "
            "run as they are, or give --format=peft, which has LoRA and IA3"
        )
    if said.get("ships_model"):
        raise UserError(
            f"METHOD of the run in {model_dir} is {said.get('method')}, which "
            f"trains the weights: there is no prompt that is of use without them; take "
            f"{exchange.MODEL} of a finished run, and {exchange.PROMPT} if it has one"
        )
