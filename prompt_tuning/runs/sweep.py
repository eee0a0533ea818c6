"""The settings of several runs that are trained together in one step."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Settings

# The settings in which runs trained in one compiled step may differ.
_MAY_DIFFER = r"(Run\.)?(seed|prompt_init|prompt_file)|(schedule|adafactor)\.\w+"


def sweep(settings: Settings, sweeps: Sequence[str]) -> list[Settings]:
    """The settings of each run: every combination of values, each in its own folder.

    Args:
      sweeps: each is `NAME=VALUE,VALUE...`.

    Returns:
      The settings of each run; its MODEL_DIR is a folder in that of `settings`, such as
      seed_1-learning_rate_0.1.

    Raises:
      UserError: a name in which runs that are trained together cannot differ.
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
    found = []
    for values in itertools.product(*choices):
        chosen = list(zip(names, values, strict=True))
        folder = "-".join(f"{n.rpartition('.')[2].lower()}_{v}" for n, v in chosen)
        folder = re.sub(r"[^\w.+-]", "_", folder)
        bindings = [f"{name}={value}" for name, value in chosen]
        path = str(Path(settings.run.model_dir, folder))
        found.append(config.changed(settings, [*bindings, f"MODEL_DIR={path!r}"]))
    return found
