"""`prompt-tuning COMMAND`: reads the flags, runs the command, turns errors into exits.

Everything heavy is imported inside the commands, so that `--help` is quick.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_tuning.frozen.vocabulary import Vocabulary
    from prompt_tuning.run import Run

PROG = "prompt-tuning"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command: 0, or 2 for a mistake of the user, 130 when interrupted."""
    # TensorFlow and the XLA libraries log to stderr before anybody asked them anything.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        args.command(args)
        sys.stdout.flush()  # here, where a reader that has gone is no traceback
        return 0
    except KeyboardInterrupt:
        print(f"\n{PROG}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, `| head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not getattr(error, "user_message", False):
            raise
        # Gin adds lines about the function that it was calling.
        message, _, _ = str(error).partition("\n  In call to configurable")
        print(f"{PROG}: error: {message}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Prompt tuning of a frozen T5 (Lester et al., 2021).",
        epilog="Settings are gin's: --gin_file=gin/runs/prompt_tune.gin reads a file, "
        "--gin.NAME=VALUE overrides a setting (--gin.MODEL_DIR=runs/mine).",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument(
            "--gin_file",
            action="append",
            default=[],
            metavar="FILE",
            help="settings, named by path from the repository root; may be repeated",
        )
        sub.add_argument(
            "--gin_search_paths",
            default="",
            metavar="DIRS",
            help="more folders to find gin files in, separated by commas",
        )
        sub.add_argument(
            "--tfds_data_dir", metavar="DIR", help="where TFDS keeps its datasets"
        )
        sub.add_argument(
            "--data_dir", metavar="DIR", help="official files instead of TFDS"
        )
        return sub

    sub = add("train", _train, "tune a prompt (or the model) and evaluate it")
    _host_flags(sub)
    sub.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="tune a prompt for each value, all in one step (SEED=0,1,2); of several "
        "--sweep for each combination",
    )
    sub = add("evaluate", _evaluate, "evaluate a trained prompt on a split")
    _host_flags(sub)
    _prompt_flag(sub)
    sub = add("predict", _predict, "answer text lines or JSONL with JSONL")
    _host_flags(sub)
    _prompt_flag(sub)
    sub.add_argument("--input", default="-", metavar="FILE", help="default: stdin")
    sub.add_argument("--output", default="-", metavar="FILE", help="default: stdout")
    sub = add("tasks", _tasks, "list the tasks; show or check their data")
    _task_flags(sub)
    sub = add("pretrain", _pretrain, "make a frozen model: span corruption, prefix LM")
    _host_flags(sub)
    sub = add("plan", _plan, "memory a run needs on each device; fewest devices")
    _plan_flags(sub)
    sub = add("params", _params, "parameters of every size (the paper's Table 4)")
    sub = add("convert", _convert, "write a T5 checkpoint of any format in ours")
    sub.add_argument("--output", required=True, metavar="FILE")
    sub = add("export", _export, "write a prompt as .npy or .safetensors")
    sub.add_argument("--output", required=True, metavar="FILE")
    sub.add_argument(
        "--step",
        default="best",
        choices=("best", "last"),
        help="which state (default best)",
    )

    args, rest = parser.parse_known_args(arguments)
    args.bindings = []
    for text in rest:
        if not text.startswith("--gin.") or "=" not in text:
            parser.error(
                f"unknown argument {text!r}; settings are given as --gin.NAME=VALUE"
            )
        args.bindings.append(text.removeprefix("--gin."))
    return args


def _prompt_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt", metavar="FILE", help="default: prompt.npy in MODEL_DIR"
    )


def _host_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(hosts=True)
    text = "of a run on several hosts, where neither Slurm nor a TPU pod tells"
    parser.add_argument("--coordinator_address", metavar="HOST:PORT", help=text)
    parser.add_argument("--num_processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I", help="from 0 to N - 1")


def _task_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="sizes, lengths, labels, bad rows of all"
    )
    parser.add_argument(
        "--render", metavar="TASK", help="print its texts, inputs<TAB>targets"
    )
    parser.add_argument(
        "--split", default="train", help="what to print (default train)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="print the first N alone"
    )


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="SIZE", help="reads gin/models/SIZE.gin")
    parser.add_argument(
        "--mesh", default="1x1", metavar="DATAxMODEL", help="devices (default 1x1)"
    )
    parser.add_argument("--batch", metavar="N", help="examples in a step, BATCH_SIZE")


def _configured(args: argparse.Namespace, trained: bool = False) -> "Run":
    """The Run that the flags describe, its data folders set.

    Args:
      trained: the run was made before: where no gin file is named, its own settings
        are read, MODEL_DIR/config.gin.
    """
    import logging
    from pathlib import Path

    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)

    from prompt_tuning import config, outputs, partitioning, run

    _keep_compiled()
    if "hosts" in args:
        partitioning.start_hosts(
            args.coordinator_address, args.num_processes, args.process_id
        )
        if not outputs.is_writer():  # one host tells
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # As with `python -m`: a module of tasks may lie in the folder one is in.
    sys.path.append(os.getcwd())
    search_paths = [path for path in args.gin_search_paths.split(",") if path]
    folders = {"data_dir": args.data_dir, "tfds_data_dir": args.tfds_data_dir}
    bindings = [f"Run.{name}={value!r}" for name, value in folders.items() if value]
    bindings += args.bindings
    config.parse(args.gin_file, bindings, search_paths)
    settings = run.Run()
    kept = Path(settings.model_dir, "config.gin").resolve()
    if trained and settings.model_dir and not args.gin_file and kept.is_file():
        config.parse([str(kept)], bindings, search_paths)
        settings = run.Run()
    return settings


def _keep_compiled() -> None:
    """Keeps what XLA compiles, in the user's cache or JAX_COMPILATION_CACHE_DIR."""
    from pathlib import Path

    import jax

    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path(caches, "prompt_tuning", "xla"))
        jax.config.update("jax_compilation_cache_dir", folder)
    # The many small programs too: of a small model they are most of what is compiled.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _train(args: argparse.Namespace) -> None:
    settings = _configured(args)
    from prompt_tuning.training import tuning

    tuning.train_and_report(settings, args.sweep)


def _evaluate(args: argparse.Namespace) -> None:
    settings = _configured(args, trained=True)
    from prompt_tuning import commands

    commands.evaluate_prompt(settings, args.prompt)


def _predict(args: argparse.Namespace) -> None:
    settings = _configured(args, trained=True)
    from prompt_tuning import commands

    commands.predict(settings, args.prompt, args.input, args.output)


def _tasks(args: argparse.Namespace) -> None:
    settings = _configured(args)
    from prompt_tuning.tasks_io import listing

    module = settings.mixture_or_task_module
    sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale
    if args.render:
        shown = args.render, args.split, settings.data_dir, settings.tfds_data_dir
        lines = listing.render(module, _vocabulary(settings), *shown, args.limit)
    elif args.check:
        folders = settings.data_dir, settings.tfds_data_dir
        lines = listing.check(module, _vocabulary(settings), *folders)
    else:
        lines = [listing.describe(module)]
    for line in lines:
        print(line)


def _vocabulary(settings: "Run") -> "Vocabulary":
    from prompt_tuning import run
    from prompt_tuning.frozen import vocabulary

    return vocabulary.load_vocabulary(run.vocabulary_name(settings))


def _pretrain(args: argparse.Namespace) -> None:
    settings = _configured(args)
    from prompt_tuning.training import pretrain

    pretrain.pretrain(settings)


def _convert(args: argparse.Namespace) -> None:
    settings = _configured(args)
    from pathlib import Path

    from prompt_tuning.frozen import weights
    from prompt_tuning.t5 import network

    model = network.Transformer(network.T5Config())
    weights.convert(settings.initial_checkpoint_path, model, Path(args.output))
    print(f"frozen model: {args.output}")


def _plan(args: argparse.Namespace) -> None:
    if args.model:
        args.gin_file.insert(0, f"gin/models/{args.model}.gin")
    if args.batch:
        args.bindings.append(f"BATCH_SIZE={args.batch}")
    settings = _configured(args)
    from prompt_tuning.training import plan

    plan.use_virtual_devices(math.prod(plan.parse_mesh(args.mesh)))
    for line in plan.describe(settings, args.mesh):
        print(line, flush=True)


def _params(args: argparse.Namespace) -> None:
    from prompt_tuning.training import plan

    for line in plan.parameter_table():
        print(line)


def _export(args: argparse.Namespace) -> None:
    settings = _configured(args, trained=True)
    from prompt_tuning import commands

    commands.export(settings, args.output, args.step)
