"""The settings of several runs that are trained together in one step."""

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from prompt_tuning.errors import UserError
from prompt_tuning.settings import Settings

# The settings in which runs trained in one compiled step may differ.
_MAY_DIFFER = r"(Run\.)?(seed|prompt_init|prompt_file)|(schedule|adafactor)\.\w+"


def sweep(
    load: Callable[[Sequence[str]], Settings], sweeps: Sequence[str]
) -> list[Settings]:
    """The settings of each run: every combination, in its own folder.

    Args:
      load: some `NAME=VALUE` more -> the settings with them.
      sweeps: `NAME=VALUE,VALUE...` each.

    Returns:
      The settings with each combination of values, and its MODEL_DIR below what they
      say, such as seed_1-learning_rate_0.1.

    Raises:
      UserError: a name is none that runs trained together may differ in, or two runs
        have one folder.
    """
    names, choices = [], []
    for text in sweeps:
        name, _, values = (part.strip() for part in text.partition("="))
        if not re.fullmatch(_MAY_DIFFER, name, re.IGNORECASE) or not values:
            raise UserError(
                f"--sweep is {text!r}; it must be NAME=VALUE,VALUE with a name that "
                "prompts of one step may differ in: SEED, PROMPT_INIT, PROMPT_FILE, or "
                "one of schedule and adafactor (schedule.learning_rate=0.1,0.3)"
            )
        names.append(name)
        choices.append([value.strip() for value in values.split(",")])
    found = {}
    for values in itertools.product(*choices):
        chosen = list(zip(names, values, strict=True))
        folder = "-".join(f"{n.rpartition('.')[2].lower()}_{v}" for n, v in chosen)
        folder = re.sub(r"[^\w.+-]", "_", folder)
        bindings = [f"{name}={value}" for name, value in chosen]
        if folder in found:
            raise UserError(
                f"--sweep makes two runs of one folder, {folder}; give each value once"
            )
        base = load(bindings).run.model_dir
        path = base and str(Path(base, folder))
        found[folder] = load([*bindings, f"MODEL_DIR={path!r}"])
    return list(found.values())
