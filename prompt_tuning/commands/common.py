"""What commands share: reading flags into settings, and starting JAX."""

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import absl.logging
import jax

from prompt_tuning import config, outputs, partitioning
from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError
from prompt_tuning.runs import trained
from prompt_tuning.serving import prompts
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training import own_data


def settings(
    args: argparse.Namespace, base: Settings | None = None, more: Sequence[str] = ()
) -> Settings:
    """The settings that the flags and the files they name describe.

    Args:
      base: what holds where they say nothing; by default the defaults.
      more: `NAME=VALUE` on top of the flags.
    """
    search_paths = [flags.path(p) for p in args.gin_search_paths.split(",") if p]
    bindings = [*args.bindings, *more]
    found = config.load(args.gin_file, bindings, search_paths, base)
    folders = {"data_dir": args.data_dir, "tfds_data_dir": args.tfds_data_dir}
    given = {name: value for name, value in folders.items() if value}
    for name in given:
        flags.check_once(args, f"--{name}", name.upper())
    return dataclasses.replace(found, run=dataclasses.replace(found.run, **given))


def settings_of_trained(
    args: argparse.Namespace, prompt: str | None = None
) -> tuple[Settings, trained.Source]:
    """The settings of a trained prompt or model, changed by the flags; its Source.

    Args:
      prompt: the prompt's file or folder. The settings are those of the run that it is
        in; only where it is in none, those of MODEL_DIR's.
    """
    model_dir = settings(args).run.model_dir
    source = trained.find(model_dir, prompt)
    run_dir = prompts.folder(source.path) if prompt else ""
    base = trained.base_settings(run_dir or model_dir, source)
    base = dataclasses.replace(
        base, run=dataclasses.replace(base.run, model_dir=model_dir)
    )
    found = settings(args, base)
    name = found.run.mixture_or_task_name
    if name != base.run.mixture_or_task_name and not own_data.is_own(name):
        # The templates of the file that it was trained on are not the user's wish.
        run = dataclasses.replace(base.run, inputs=None, targets=None)
        found = settings(args, dataclasses.replace(base, run=run))
    return found, source._replace(mesh=base.mesh)


def settings_of_prompts(args: argparse.Namespace) -> tuple[dict[str, str], Settings]:
    """The paths of --prompts by name, and the settings of their frozen model.

    Raises:
      UserError: there is none at a path; other flags name a prompt too.
    """
    paths = prompts.named(args.prompts)
    if getattr(args, "prompt", None) or settings(args).run.model_dir:
        raise UserError(
            "--prompts names all the prompts: leave out --prompt and MODEL_DIR"
        )
    return paths, settings(args, prompts.frozen_settings(list(paths.values())))


def given(args: argparse.Namespace, field: str, *values: str) -> str | None:
    """What the flags set a field of Run to; None if they do not say.

    Args:
      values: two that it may have.
    """
    found = {
        getattr(settings(args, Settings(run=run)).run, field)
        for run in (dataclasses.replace(Run(), **{field: value}) for value in values)
    }
    return found.pop() if len(found) == 1 else None


def start(args: argparse.Namespace) -> None:
    """Prepares JAX: quiet logs, a compilation cache, and the hosts connected."""
    absl.logging.set_verbosity(absl.logging.FATAL)  # errors are raised too
    logging.getLogger("jax").setLevel(logging.ERROR)
    _keep_compiled()
    if "hosts" in args:
        partitioning.start_hosts(
            args.coordinator_address, args.num_processes, args.process_id
        )
        if args.num_processes not in (None, jax.process_count()):
            raise UserError(
                f"--num_processes is {args.num_processes}, but process 0 was started "
                f"with {jax.process_count()}: give each the same number"
            )
        if not outputs.is_writer():  # only one host prints
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # As `python -m` does: a module of tasks may lie in the working directory.
    sys.path.append(os.getcwd())


def _keep_compiled() -> None:
    """Keeps compiled programs in the user's cache or JAX_COMPILATION_CACHE_DIR."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # A user without a home, such as a container's, has a ~ that stays one.
    if jax.config.values["jax_compilation_cache_dir"] is None and caches[0] != "~":
        folder = str(Path(caches, "prompt_tuning", "xla"))
        jax.config.update("jax_compilation_cache_dir", folder)
    # Keep the many small programs too: for a small model they are most of the work.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
