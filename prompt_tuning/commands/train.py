"""`train`: tune a prompt (or the model) and evaluate it."""

import argparse
import functools
import os
from collections.abc import Sequence
from typing import Any

from prompt_tuning.commands import flags

SETTINGS = (
    *("MODEL_DIR", "INITIAL_CHECKPOINT_PATH", "MIXTURE_OR_TASK_NAME", "INPUTS"),
    *("TARGETS", "TASK_FEATURE_LENGTHS", "METHOD", "PROMPT_LENGTH", "PROMPT_INIT"),
    *("PROMPT_PLACE", "TRAIN_STEPS", "BATCH_SIZE", "EVAL_PERIOD", "DECODING", "SEED"),
    *("schedule", "T5Config.dtype", "T5Config.param_dtype", "mesh"),
)
EXAMPLES = r"""
# tune a prompt for the embedded model; a minute on two cores
prompt-tuning train --gin_file=gin/runs/prompt_tune.gin --gin.MODEL_DIR=runs/mine

# a T5 of Hugging Face's in a folder, and your own table
prompt-tuning train --gin.INITIAL_CHECKPOINT_PATH=t5-small-lm-adapt \
    --gin.MIXTURE_OR_TASK_NAME=reviews.csv --gin.INPUTS="'review: {text}'" \
    --gin.TARGETS={sentiment} --gin.TRAIN_STEPS=2000 --gin.EVAL_PERIOD=200 \
    --gin.MODEL_DIR=runs/reviews

# a run for each length and seed, compared at the end
prompt-tuning train --gin_file=gin/runs/prompt_tune.gin --gin.MODEL_DIR=runs/sweep \
    --sweep=PROMPT_LENGTH=1,5,10 --sweep=SEED=0,1,2
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts, and --sweep."""
    flags.add_hosts(parser)
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="a run for each value of a setting (SEED=0,1,2), or with several --sweep "
        "for each combination; prompts that differ only in data order, initialisation "
        "and optimizer are tuned together in one step, others one after another",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="groups of a --sweep to train at a time, each in a process of its own",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="read settings, data and the shapes of the weights; say what would be "
        "trained and what it needs; train nothing",
    )


def run(args: argparse.Namespace) -> None:
    """Trains, or resumes."""
    flags.greet("train", args)

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import dry_run, runner, sweep, tune

    def load(more: Sequence[str] = ()) -> Any:
        return common.settings(args, more=more)

    found = sweep.sweep(load, args.sweep) if args.sweep else [load()]
    sweep.check_read(found)
    _check_jobs(args)
    with outputs.without_reader():
        if args.dry_run:
            dry_run.use_devices(found)
        common.start(args)
        if args.dry_run:
            for group in sweep.together(found):
                dry_run.show(group)
        elif args.sweep:
            runner.train(found, args.jobs, functools.partial(common.start, args))
            runner.conclude(found)
        else:
            tune.train(found)


def _check_jobs(args: argparse.Namespace) -> None:
    """Raises UserError unless --jobs fits; leaves the devices to the processes."""
    import jax

    from prompt_tuning.errors import UserError

    if args.jobs < 1:
        raise UserError(f"--jobs is {args.jobs}; it must be a number of at least 1")
    if args.jobs > 1 and not args.sweep:
        raise UserError(
            "--jobs is for the runs of a --sweep: give one, or leave it out"
        )
    if args.jobs > 1 and args.num_processes not in (None, 1):
        raise UserError(
            "--jobs starts processes on this machine, and --num_processes joins those "
            "of several: give one of them"
        )
    if args.jobs > 1:
        jax.config.update("jax_platforms", "cpu")  # of this process, which trains none
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
