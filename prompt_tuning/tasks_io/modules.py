"""Modules of tasks, and what they have registered with seqio."""

from collections.abc import Sequence

from prompt_tuning.tasks_io.quiet import seqio
from prompt_tuning.training import modules


def import_tasks(module: str | Sequence[str]) -> None:
    """Imports the modules of tasks, and registers what they have as texts with seqio.

    Of two tasks with one name the first counts, as in modules.find_text.

    Args:
      module: their names, as a sequence or in one text with spaces between.

    Raises:
      UserError: there is no such module.
    """
    for name in modules.names(module):
        imported = modules.imported(name)
        for key, task in modules.texts(imported).items():
            if key not in seqio.TaskRegistry.names():
                task.register()
        for key, parts in getattr(imported, "MIXTURES", {}).items():
            if key not in seqio.MixtureRegistry.names():
                seqio.MixtureRegistry.add(key, list(parts), default_rate=1.0)
