"""What a misspelt name may mean, or a setting's name without its section."""

import difflib
from collections.abc import Callable, Collection, Sequence

from prompt_tuning.settings import FIELDS, SECTIONS

# A field of Run has a macro of its name in capitals: TRAIN_STEPS for Run.train_steps.
# So the macros have the names that a T5X user types.
MACROS = frozenset(name for name in FIELDS if "." not in name)

# What T5X's runs bind, and ours do not: the setting here, or "" where none is like it.
_OF_T5X = {
    "RANDOM_SEED": "SEED",
    "ACTIVATION_DTYPE": "T5Config.dtype",
    "num_partitions": "mesh.model",
} | dict.fromkeys(
    (
        *("USE_CACHED_TASKS", "SHUFFLE_TRAIN_EXAMPLES", "EVAL_STEPS", "OPTIMIZER"),
        *("EVALUATOR_NUM_EXAMPLES", "EVALUATOR_USE_MEMORY_CACHE"),
        *("JSON_WRITE_N_RESULTS", "LOSS_NORMALIZING_FACTOR", "LABEL_SMOOTHING"),
        *("Z_LOSS", "EMBEDDING_FILE"),
    ),
    "",
)


def suggest(
    name: str,
    known: Collection[str],
    key: Callable[[str], str] = str.lower,
    others: Sequence[str] = (),
) -> str:
    """Which of `known` the name may mean, else of `others`, as the end of a message."""
    if found := _near(name, known, key, others):
        return f"did you mean {' or '.join(found)}?"
    return f"there are {', '.join(sorted(known)) or 'none'}"


def suggest_setting(name: str) -> str:
    """Which setting a name without a section may mean, as the end of a message."""
    return of_t5x(name) or suggest(name, MACROS, others=settings_like(name))


def of_t5x(name: str) -> str:
    """What to do here about a setting of T5X's, as the end of a message; "" if none."""
    if name not in _OF_T5X:
        return ""
    ours = _OF_T5X[name]
    told = f"is {ours} here" if ours else "has no counterpart here: leave it out"
    return f"T5X's {name} {told}"


def settings_near(name: str) -> list[str]:
    """The settings that a name may mean, as users type them, the nearest first.

    It may lack its section, or be misspelt.
    """
    section, _, last = name.rpartition(".")
    within = [full for full in FIELDS if full.startswith(f"{section}.")]
    known = within if section in SECTIONS else MACROS
    return _near(last, known, field_of, settings_like(last))


def settings_like(name: str) -> list[str]:
    """The settings of any section that a field's name may mean, as users type them.

    They have its letters, nearly, or one of its words; or it is their initials: lr.
    """
    name = name.lower()
    found = {}
    for full in FIELDS:
        words = field_of(full).split("_")
        alike = difflib.SequenceMatcher(None, name, field_of(full)).ratio()
        whole = name == "".join(word[0] for word in words) and len(words) > 1
        found[full] = 1.0 if whole else max(alike, 0.7 * (name in words))
    best = sorted(found, key=lambda full: -found[full])[:3]
    return [full for full in best if found[full] >= max(0.65, found[best[0]] - 0.1)]


def field_of(name: str) -> str:
    """A setting's name without its section, in small letters."""
    return name.rpartition(".")[2].lower()


def _near(
    name: str,
    known: Collection[str],
    key: Callable[[str], str],
    others: Sequence[str],
) -> list[str]:
    """Those of `known` that are about as near as the nearest; else all `others`."""
    close = difflib.get_close_matches(key(name), {key(other) for other in known})
    alike = {c: difflib.SequenceMatcher(None, key(name), c).ratio() for c in close}
    best = [c for c in close if alike[c] > max(alike.values()) - 0.1]
    near = [other for c in best for other in sorted(known) if key(other) == c]
    same = [other for other in others if other.lower().endswith(f".{name.lower()}")]
    return same or near or list(others)
