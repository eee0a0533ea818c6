"""Flags that several commands have."""

import argparse
import contextlib
import os

import prompt_tuning
from prompt_tuning.errors import UserError

path = os.path.expanduser  # no shell replaces the ~ of --flag=~/folder


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for gin files and data folders; cli.py reads --gin.NAME=VALUE."""
    parser.add_argument(
        "--gin_file",
        type=path,
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file, by its path from the repository root; may be repeated",
    )
    parser.add_argument(
        "--gin_search_paths",
        default="",
        metavar="DIRS",
        help="more folders to look for gin files in, separated by commas",
    )
    parser.add_argument(
        "--tfds_data_dir",
        type=path,
        metavar="DIR",
        help="where TFDS keeps its datasets",
    )
    parser.add_argument(
        "--data_dir",
        type=path,
        metavar="DIR",
        help="official data files, to use instead of TFDS",
    )


def bind(args: argparse.Namespace, flag: str, name: str, value: object) -> None:
    """Sets what a flag of its own gives, unless it is None."""
    if value is not None:
        check_once(args, flag, name)
        args.bindings.append(f"{name}={value!r}")


def check_once(args: argparse.Namespace, flag: str, name: str) -> None:
    """Raises UserError if --gin gives a setting that a flag of its own gives too."""
    given = {one.partition("=")[0].strip().lower() for one in args.bindings}
    if given & {name.lower(), f"run.{name.lower()}"}:
        raise UserError(f"{flag} and --gin.{name} are both given; give one")


def refuse_settings(args: argparse.Namespace, why: str, instead: str = "") -> None:
    """Raises UserError if there are settings of a command that takes none."""
    if args.bindings or args.gin_file:
        raise UserError(f"{why}: leave --gin and --gin_file out{instead}")


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that connect the processes of a run."""
    parser.set_defaults(hosts=True)
    text = "for a run on several hosts, except under Slurm and on a TPU pod"
    parser.add_argument("--coordinator_address", metavar="HOST:PORT", help=text)
    parser.add_argument("--num_processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I", help="from 0 to N - 1")


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """Adds --prompt."""
    parser.add_argument(
        "--prompt",
        type=path,
        metavar="PATH",
        help="a prompt file, a run or one step of it (default: MODEL_DIR's prompt)",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds --split."""
    parser.add_argument(
        "--split", metavar="NAME", help="the split to evaluate on: EVAL_SPLIT"
    )


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Adds --prompts."""
    parser.add_argument(
        "--prompts",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="prompts of one frozen model by name, each as --prompt takes it; or a "
        "folder of runs and prompt files",
    )


def greet(command: str, args: argparse.Namespace) -> None:
    """Says at once that the program is there: importing JAX takes a second.

    Of several processes the first says it.
    """
    if args.process_id or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    with contextlib.suppress(BrokenPipeError):  # training goes on without a reader
        print(f"prompt-tuning {prompt_tuning.__version__}: {command}", flush=True)
