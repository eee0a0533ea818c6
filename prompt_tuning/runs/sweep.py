"""The settings of several runs that are trained together in one step."""

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from prompt_tuning import config
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
        would be the same, or share a folder.
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
        if name.lower().removeprefix("run.") in [n.lower() for n in names]:
            raise UserError(
                f"--sweep names {name} twice; give all its values in one, "
                f"--sweep={name}=VALUE,VALUE"
            )
        names.append(re.sub("(?i)^run[.]", "", name))
        choices.append([value.strip() for value in values.split(",")])
    found = []
    for values in itertools.product(*choices):
        chosen = list(zip(names, values, strict=True))
        folder = "-".join(f"{n.rpartition('.')[2].lower()}_{v}" for n, v in chosen)
        folder = re.sub(r"[^\w.+-]", "_", folder)
        bindings = [f"{name}={value}" for name, value in chosen]
        base = load(bindings).run.model_dir
        path = base and str(Path(base, folder))
        found.append(load([*bindings, f"MODEL_DIR={path!r}"]))
    _check_distinct(found)
    return found


def _check_distinct(runs: Sequence[Settings]) -> None:
    """Raises UserError for two runs with the same settings or the same folder."""
    for one, other in itertools.combinations(runs, 2):
        folders = one.run.model_dir, other.run.model_dir
        differ = config.differences(one, other).keys() - {"MODEL_DIR"}
        files = (Path(run.run.prompt_file).resolve() for run in (one, other))
        if differ <= {"PROMPT_FILE"} and len({*files}) == 1:
            raise UserError(
                f"--sweep asks for one run twice, {' and '.join(map(repr, folders))}: "
                "give each value once"
            )
        # Some disks ignore case; without a MODEL_DIR there is no folder to share.
        if folders[0] and folders[0].lower() == folders[1].lower():
            raise UserError(
                f"two values of --sweep give one folder, {folders[0]!r}: give them "
                "names that differ in letters and digits"
            )
