"""What a frozen model can do without a prompt, in the text it was trained on.

A probe is the beginning of a pre-training text, cut before a word that only a model
with some skill can tell. Measure these before tuning: no prompt calls up what is not
there.
"""

import functools
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

Probe = tuple[str, str]  # a beginning, and the word that must follow


def _yes(so: bool) -> str:
    return "yes" if so else "no"


def _question(draws: Draws, cast: Cast) -> Probe:
    given = facts.facts(draws, cast, 2, tails=0.5)
    asked, answer = facts.question(draws, draws.one(given))
    return f"{facts.tell(draws, given)} {asked}", answer.split()[0]


def _claim(draws: Draws, cast: Cast, hard: bool = False, deny: bool = False) -> Probe:
    given = facts.facts(draws, cast, 2, same=1.0 if hard else 0.3)
    given = facts.denied(draws, given) if deny else given
    so = draws.chance(0.5)
    fact = facts.claim(draws, cast, given, so, float(hard))
    return f"{facts.tell(draws, given)} {facts.ASKED[0](fact)}", _yes(so)


def _inference(draws: Draws, cast: Cast) -> Probe:
    given = inference.things(draws, cast, kinds.THINGS, 1)
    so = draws.chance(0.5)
    fact = inference.follows(draws, given, so)
    told = facts.tell(draws, [fact for fact, _ in given])
    return f"{told} {facts.ASKED[0](fact)}", _yes(so)


def _report(draws: Draws, cast: Cast) -> Probe:
    kinds_of_two = tuple(draws.shuffled(reports.KINDS_OF_REPORT)[:2])
    items = reports.reported(draws, cast, kinds_of_two)
    told = " ".join(
        f"{reports.report(draws, item, reports.REPORTS)}." for item in items
    )
    item = draws.one(items)
    answer = {"entailment": "yes", "contradiction": "no", "neutral": "perhaps"}
    return f"{told} {facts.ASKED[0](item.fact)}", answer[item.kind]


def _alternative(draws: Draws, cast: Cast) -> Probe:
    first = draws.chance(0.5)
    told, _ = reasons.alternative(draws, cast, first)
    return f"{told} the", "first" if first else "second"


def _pronoun(draws: Draws, cast: Cast) -> Probe:
    frame, (x, y) = draws.zipf(reasons.FRAMES), reasons.pair(draws, cast)
    of_x = draws.chance(0.5)
    reason = draws.one(frame.of_x if of_x else frame.of_y)
    told = reasons.because(frame, x, y, reason)
    return f"{told}. who {reason}?", (x if of_x else y).name


def _sense(draws: Draws, cast: Cast) -> Probe:
    word, same = draws.zipf(senses.WORDS), draws.chance(0.5)
    one, two = draws.shuffled(senses.SENSES[word])
    first, second = (senses.use(draws, cast, s) for s in (one, one if same else two))
    return f"{first}. {second}. do both mean the same?", _yes(same)


def _wording(draws: Draws, cast: Cast) -> Probe:
    same, ask = draws.chance(0.5), draws.chance(0.5)
    make = wordings.questions if ask else wordings.statements
    one, two = make(draws, cast, same, hard=draws.chance(0.5))
    text = f"{one} {two} do they ask" if ask else f"{one}. {two}. do they say"
    return f"{text} the same?", _yes(same)


def _domain(draws: Draws, cast: Cast) -> Probe:
    text = draws.one(tuple(domains.DOMAINS.values()))(draws, cast, 2)
    asked, answer = draws.one(text.questions)
    return f"{text.context} {asked}", answer.split()[0]


SKILLS: dict[str, Callable[[Draws, Cast], Probe]] = {
    "kinds": functools.partial(kinds.meaning_asked, mood=False),
    "moods": functools.partial(kinds.meaning_asked, mood=True),
    "questions": _question,
    "denials": functools.partial(_claim, deny=True),
    "claims": _claim,
    "exchanges": functools.partial(_claim, hard=True),
    "inference": _inference,
    "reports": _report,
    "alternatives": _alternative,
    "pronouns": _pronoun,
    "senses": _sense,
    "wordings": _wording,
    "domains": _domain,
}


def probes(seed: int, count: int) -> Iterator[tuple[str, str, str]]:
    """Yields `count` probes of each skill: its name, and the Probe."""
    for skill, make in SKILLS.items():
        draws = Draws(f"probes {skill} {seed}")
        for _ in range(count):
            yield skill, *make(draws, Cast())
