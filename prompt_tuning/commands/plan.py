"""`plan`: memory a run needs on each device; fewest devices it fits."""

import argparse
import math


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
