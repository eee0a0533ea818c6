"""`evaluate`: evaluate a trained prompt, or all of a sweep, on a split."""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError

SETTINGS = ("MODEL_DIR", "MIXTURE_OR_TASK_NAME", "DECODING", "BATCH_SIZE")
EXAMPLES = r"""
# the prompt of a run
prompt-tuning evaluate --gin.MODEL_DIR=runs/mine

# a prompt's file, on another split
prompt-tuning evaluate --prompt=runs/mine/prompt.npy --split=test

# every run of a sweep, the likeliest of the label words as the answer
prompt-tuning evaluate --gin.MODEL_DIR=runs/sweep --gin.DECODING=labels
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts and the prompts, and --split."""
    flags.add_hosts(parser)
    flags.add_prompt(parser)
    parser.add_argument(
        "--prompts",
        nargs="+",
        type=flags.path,
        metavar="PATH",
        help="several prompts of one task, evaluated together: see `ensemble`",
    )
    flags.add_split(parser)


def run(args: argparse.Namespace) -> None:
    """Prints the metrics as a JSON object.

    With a MODEL_DIR, the predictions go to MODEL_DIR/predictions_SPLIT.jsonl. Of the
    folder of a sweep, each run is evaluated. Of several prompts, the predictions are
    those of `ensemble`.
    """
    from prompt_tuning.commands import common, ensemble
    from prompt_tuning.runs import evaluation

    if args.prompts:
        if args.prompt:
            raise UserError("--prompt and --prompts are both given; leave one out")
        found, files = ensemble.evaluate(args, args.prompts)
        print(json.dumps(found | files, indent=2))
        return
    flags.bind(args, "--split", "EVAL_SPLIT", args.split)
    model_dir = common.settings(args).run.model_dir
    folders = evaluation.runs_in(args.prompt or model_dir)
    if not folders:
        settings, source = common.settings_of_trained(args, args.prompt)
        common.start(args)
        print(json.dumps(evaluation.evaluate([(settings, source)])[0], indent=2))
        return
    if args.prompt and model_dir:
        raise UserError(
            f"--prompt {args.prompt!r} has {len(folders)} runs, whose predictions "
            f"cannot all go to MODEL_DIR {model_dir!r}: leave --prompt or MODEL_DIR out"
        )
    common.start(args)

    def load(path: Path) -> Any:
        return common.settings_of_trained(*_of_run(args, path))

    found = evaluation.of_sweep(folders, load)
    print(json.dumps(found, indent=2))
    wrong = [path for path, one in found["runs"].items() if "error" in one]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(folders)} runs cannot be evaluated, for the reasons "
            f"above: {', '.join(wrong)}"
        )


def _of_run(args: argparse.Namespace, path: Path) -> tuple[argparse.Namespace, Any]:
    """The flags, and --prompt, for one run of a sweep."""
    if args.prompt:
        return args, str(path)
    args = copy.copy(args)
    args.bindings = [*args.bindings, f"MODEL_DIR={str(path)!r}"]
    return args, None
