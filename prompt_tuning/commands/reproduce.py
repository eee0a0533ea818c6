"""`reproduce`: run the paper's experiments, and set them in tables and figures."""

import argparse
import functools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError

SETTINGS = ()
EXAMPLES = r"""
# see that Figure 3(a) runs: one seed, few steps
prompt-tuning reproduce fig3a --quick

# what all of the paper would take on T5 1.1, and how to launch it
prompt-tuning reproduce all --scale=paper --dry_run

# Tables 3 and 5 on the embedded models; goes on where it was killed
prompt-tuning reproduce table3 table5 --jobs=2
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the experiments, their scale, and which cells to run how."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="all, or experiments: fig1, fig3a ... fig3d, fig4, table1 ... table7-16, "
        "spot; methods, which is not among all",
    )
    parser.add_argument(
        "--scale",
        default="pocket",
        help="the models and tasks: pocket (embedded; the default), paper (T5 1.1 from "
        "Small to XXL), english (our own model on the official files of --data_dir)",
    )
    parser.add_argument(
        "--out",
        type=flags.path,
        metavar="DIR",
        help="the folder of the runs and the report (default: runs/reproduce_SCALE)",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="list the cells, what has become of them, FLOPs and hours; run none. Of "
        "--scale=paper, with memory and a command to launch each",
    )
    parser.add_argument(
        "--only",
        metavar="REGEX",
        help="only cells in whose names this is found, as --dry_run lists them",
    )
    parser.add_argument(
        "--seeds", metavar="0,1,2", help="other seeds than the scale's, with commas"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="joint sweeps at a time"
    )
    parser.add_argument(
        "--retry_failed", action="store_true", help="try failed cells again"
    )
    parser.add_argument(
        "--collect",
        nargs="+",
        default=[],
        type=flags.path,
        metavar="DIR",
        help="copy finished cells from these folders of other machines first",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed, few steps, the smallest model, two tasks: to see that all runs",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="FLOPS",
        help="for --dry_run: FLOP/s that one host was measured at",
    )


def run(args: argparse.Namespace) -> None:
    """Runs what is missing and writes the report; goes on where it was killed."""
    from prompt_tuning import outputs
    from prompt_tuning.reproduce import experiments

    flags.refuse_settings(
        args,
        "an experiment's settings are its own",
        " (--scale, --seeds, --only and --quick choose)",
    )
    found, scale = experiments.named(args.names), _scale(args)
    out = Path(args.out or f"runs/reproduce_{scale.name}").absolute()
    _check_jobs(args)
    with outputs.without_reader():
        if args.dry_run:
            _list(args, found, scale, out)
        else:
            _work(args, found, scale, out)


def _scale(args: argparse.Namespace) -> Any:
    """The scale that the flags ask for."""
    from prompt_tuning.reproduce import grid, scales

    if args.scale not in scales.SCALES:
        raise UserError(
            f"there is no scale {args.scale!r}; there are {', '.join(scales.SCALES)}"
        )
    scale = scales.SCALES[args.scale]
    if args.quick:
        scale = grid.quick(scale)
    if args.seeds:
        scale = scale._replace(seeds=_seeds(args.seeds))
    given = {"DATA_DIR": args.data_dir, "TFDS_DATA_DIR": args.tfds_data_dir}
    given = {name: value for name, value in given.items() if value}
    return scale._replace(settings={**scale.settings, **given})


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len({*parts}) < len(parts):
        raise UserError(
            f"--seeds is {text!r}; it must be different whole numbers with commas "
            "between, such as 0,1,2"
        )
    return tuple(map(int, parts))


def _check_jobs(args: argparse.Namespace) -> None:
    if args.jobs < 1:
        raise UserError(f"--jobs is {args.jobs}; it must be a number of at least 1")
    if args.jobs > 1:  # this process evaluates on the device that the others train on
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _list(
    args: argparse.Namespace, found: Sequence[Any], scale: Any, out: Path
) -> None:
    """Prints what --dry_run does."""
    from prompt_tuning.commands import common
    from prompt_tuning.reproduce import cells, dry_run
    from prompt_tuning.training import plan

    plan.use_virtual_devices(scale.devices)
    common.start(args)
    planned: list[Any] = []
    for one in found:
        planned += cells.plan(one.name, one.cells(scale), scale, out, planned)
    planned = cells.select(planned, args.only)
    for line in dry_run.text(dry_run.rows(planned, scale, args.rate), scale):
        print(line, flush=True)
    if scale.name == "paper":
        print()
        for line in dry_run.launches(planned, scale):
            print(line, flush=True)


def _work(
    args: argparse.Namespace, found: Sequence[Any], scale: Any, out: Path
) -> None:
    """Runs the experiments, one after another, and reports, even if it is stopped.

    Raises:
      UserError: cells failed; it is raised at the end.
    """
    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.reproduce import page, working

    common.start(args)
    outputs.make_folder(out, "--out")
    if args.collect:
        count = working.collect(args.collect, out)
        print(f"{count} finished cells copied into {out}", flush=True)
    sections: list[Any] = []
    try:
        for experiment in found:
            sections.append(_section(args, experiment, scale, out))
    finally:
        if sections:
            for path in page.write(out, scale.name, sections, _command(args)):
                if path.parent == out:
                    print(f"report  {path}", flush=True)
    runs = {one.folder: one.state for section in sections for one in section.outcomes}
    if failed := sum(state == "failed" for state in runs.values()):
        raise UserError(
            f"{failed} of {len(runs)} cells failed, for the reasons in the report; "
            "--retry_failed tries them again"
        )


def _section(args: argparse.Namespace, experiment: Any, scale: Any, out: Path) -> Any:
    """Runs what an experiment lacks, and sets it in its table."""
    from prompt_tuning.commands import common
    from prompt_tuning.reproduce import cells, derived, outcomes, report, working

    planned = cells.plan(experiment.name, experiment.cells(scale), scale, out)
    wanted = cells.select(planned, args.only)
    print(f"\n== {experiment.name}: {len(wanted)} cells", flush=True)
    prepare = functools.partial(common.start, args)
    working.work(wanted, scale.splits, args.jobs, args.retry_failed, prepare)
    made = outcomes.read_all(planned, scale.splits)
    made = derived.derive(experiment, scale, made, out)
    table = experiment.table(scale, made)
    about = experiment.name, experiment.title, experiment.section
    return report.Section(*about, table, made)


def _command(args: argparse.Namespace) -> str:
    """The command, for the foot of the report."""
    told = ["prompt-tuning", "reproduce", *args.names, f"--scale={args.scale}"]
    told += [f"--only={args.only}"] * bool(args.only)
    told += [f"--seeds={args.seeds}"] * bool(args.seeds)
    told += ["--quick"] * args.quick
    told += [f"--data_dir={args.data_dir}"] * bool(args.data_dir)
    return shlex.join(told)
