"""The pre-training text: short paragraphs of many genres."""

from collections.abc import Callable, Iterator

from prompt_tuning.tasks.pocket import (
    domains,
    facts,
    inference,
    kinds,
    reasons,
    reports,
    senses,
    wordings,
)
from prompt_tuning.tasks.pocket.world import Cast, Draws

# A genre, and how often it is drawn.
GENRES: tuple[tuple[Callable[[Draws, Cast], str], int], ...] = (
    (facts.lesson, 20),
    (kinds.meanings, 7),
    (inference.judged_kinds, 2),
    (reports.judged_reports, 3),
    (reasons.pronouns, 2),
    (reasons.causes, 1),
    (reasons.alternatives, 3),
    (senses.meanings, 2),
    (wordings.compared_wordings, 3),
    (wordings.reworded, 3),
    (domains.domain_questions, 4),
)
_DECK = tuple(genre for genre, count in GENRES for _ in range(count))


def documents(seed: int, count: int) -> Iterator[str]:
    """Yields `count` pre-training texts, short paragraphs of several genres."""
    draws, cast = Draws(f"documents {seed}"), Cast()
    for _ in range(count):
        yield draws.one(_DECK)(draws, cast)
