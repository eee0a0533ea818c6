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
    (facts.lesson, 18),
    (facts.denials, 12),
    (inference.consequences, 10),
    (reports.judged_reports, 8),
    (kinds.meanings, 14),
    (reasons.pronouns, 7),
    (reasons.causes, 2),
    (reasons.alternatives, 6),
    (senses.meanings, 6),
    (wordings.compared_wordings, 8),
    (wordings.reworded, 6),
    (domains.domain_questions, 7),
)
_DECK = tuple(genre for genre, count in GENRES for _ in range(count))


def documents(seed: int, count: int) -> Iterator[str]:
    """Yields `count` pre-training texts, short paragraphs of several genres."""
    draws, cast = Draws(f"documents {seed}"), Cast()
    for _ in range(count):
        yield draws.one(_DECK)(draws, cast)
