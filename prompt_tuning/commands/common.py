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

from prompt_tuning import config, memory, outputs, partitioning
from prompt_tuning.runs import trained
from prompt_tuning.settings import Settings


def settings(
    args: argparse.Namespace, base: Settings | None = None, more: Sequence[str] = ()
) -> Settings:
    """The settings that the flags and the files they name describe.

    Args:
      base: what holds where they say nothing; by default the defaults.
      more: `NAME=VALUE` on top of the flags.
    """
    search_paths = [path for path in args.gin_search_paths.split(",") if path]
    bindings = [*args.bindings, *more]
    found = config.load(args.gin_file, bindings, search_paths, base)
    folders = {"data_dir": args.data_dir, "tfds_data_dir": args.tfds_data_dir}
    given = {name: value for name, value in folders.items() if value}
    return dataclasses.replace(found, run=dataclasses.replace(found.run, **given))


def settings_of_trained(
    args: argparse.Namespace, prompt: str | None = None
) -> tuple[Settings, trained.Source]:
    """The settings of a trained prompt or model, changed by the flags; its Source.

    Args:
      prompt: the prompt's file or folder, instead of MODEL_DIR.
    """
    model_dir = settings(args).run.model_dir
    source = trained.find(model_dir, prompt)
    return settings(args, trained.base_settings(model_dir, source)), source


def start(args: argparse.Namespace) -> None:
    """Prepares JAX: memory, quiet logs, a compilation cache, the hosts connected."""
    memory.keep_freed()
    absl.logging.set_verbosity(absl.logging.FATAL)  # errors are raised too
    logging.getLogger("jax").setLevel(logging.ERROR)
    _keep_compiled()
    if "hosts" in args:
        partitioning.start_hosts(
            args.coordinator_address, args.num_processes, args.process_id
        )
        if not outputs.is_writer():  # only one host prints
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # As `python -m` does: a module of tasks may lie in the working directory.
    sys.path.append(os.getcwd())


def _keep_compiled() -> None:
    """Keeps compiled programs in the user's cache or JAX_COMPILATION_CACHE_DIR."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path(caches, "prompt_tuning", "xla"))
        jax.config.update("jax_compilation_cache_dir", folder)
    # Keep the many small programs too: for a small model they are most of the work.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
