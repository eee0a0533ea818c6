"""`plan`: memory a run needs on each device; fewest devices it fits."""

import argparse
import math

from prompt_tuning.commands import flags

SETTINGS = (
    *("INITIAL_CHECKPOINT_PATH", "PROMPT_LENGTH", "BATCH_SIZE", "NUM_MICROBATCHES"),
    *("TASK_FEATURE_LENGTHS", "METHOD", "T5Config.dtype", "T5Config.param_dtype"),
    *("T5Config.remat", "T5Config.scan_layers", "param_shardings"),
)
EXAMPLES = r"""
# the embedded model on one device
prompt-tuning plan

# T5 1.1 XXL in bfloat16, its weights over eight devices
prompt-tuning plan --model=xxl --mesh=1x8 --gin.T5Config.param_dtype=bfloat16

# model tuning of T5 1.1 Small, the batch over two devices
prompt-tuning plan --model=small --mesh=2x1 --batch=32 --gin.METHOD=whole
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --mesh and --batch."""
    parser.add_argument("--model", metavar="SIZE", help="read gin/models/SIZE.gin")
    parser.add_argument(
        "--mesh",
        default="1x1",
        metavar="DATAxMODEL",
        help="devices for the batch and for the weights (default 1x1)",
    )
    parser.add_argument("--batch", metavar="N", help="examples in a step: BATCH_SIZE")


def run(args: argparse.Namespace) -> None:
    """Prints what each device holds."""
    if args.model:
        args.gin_file.insert(0, f"gin/models/{args.model}.gin")
    if args.batch:
        flags.check_once(args, "--batch", "BATCH_SIZE")
        args.bindings.append(f"BATCH_SIZE={args.batch}")

    from prompt_tuning.commands import common
    from prompt_tuning.frozen import description
    from prompt_tuning.runs import dry_run
    from prompt_tuning.t5.network import Transformer
    from prompt_tuning.training import plan

    settings = common.settings(args)
    mesh = plan.parse_mesh(args.mesh)
    plan.use_virtual_devices(math.prod(mesh))
    common.start(args)
    name = settings.run.initial_checkpoint_path
    config = description.config(name, settings.model)
    lengths = plan.LENGTHS | (settings.run.task_feature_lengths or {})
    own = dry_run.trained(settings, Transformer(config))
    for line in plan.describe(config, settings.run, mesh, lengths, own):
        print(line, flush=True)
