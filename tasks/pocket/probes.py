"""What a frozen model can do without a prompt, in the text it was trained on.

A probe is the beginning of a pre-training text, cut before words that only a model
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
)
from prompt_tuning.tasks.pocket.world import Cast, Draws

Probe = tuple[str, str]  # a beginning, and the word or words that must follow


def _yes(so: bool) -> str:
    return "yes" if so else "no"


def _question(draws: Draws, cast: Cast, same: bool) -> Probe:
    given = facts.facts(draws, cast, 2, same=float(same))
    asked, answer = facts.question(draws, draws.one(given))
    *lead, word = answer.split()
    return " ".join([facts.tell(draws, given), asked, *lead]), word


def _denial(draws: Draws, cast: Cast) -> Probe:
    given = facts.denied(draws, facts.facts(draws, cast, 2))
    fact = draws.one(given)
    asked = facts.ASKED[0](fact._replace(so=True))
    return f"{facts.tell(draws, given)} {asked}", _yes(fact.so)


def _inference(draws: Draws, cast: Cast) -> Probe:
    given = facts.denied(draws, facts.facts(draws, cast, 2))
    told = inference.tell(draws, given)
    fact = draws.one(given)
    asked = facts.ASKED[0](fact._replace(so=True))
    return f"{told} {asked}", _yes(fact.so)


def _report(draws: Draws, cast: Cast) -> Probe:
    kinds_of_two = tuple(draws.shuffled(reports.KINDS_OF_REPORT)[:2])
    items = reports.reported(draws, cast, kinds_of_two)
    told = " ".join(
        f"{reports.report(draws, item, reports.REPORTS)}." for item in items
    )
    item = draws.one(items)
    answer = {"entailment": "yes", "contradiction": "no", "neutral": "perhaps"}
    return f"{told} {facts.ASKED[0](item.fact)}", answer[item.kind]


def _cause(draws: Draws, cast: Cast) -> Probe:
    person = draws.zipf(cast.people).name
    cause, effect = (text.format(p=person) for text in draws.zipf(reasons.CAUSES))
    if draws.chance(0.5):
        return f"{cause}. what came of it?", effect
    return f"{effect}. what was the cause?", cause


def _pronoun(draws: Draws, cast: Cast) -> Probe:
    frame, (x, y) = draws.zipf(reasons.FRAMES), reasons.pair(draws, cast)
    of_x = draws.chance(0.5)
    reason = draws.one(frame.of_x if of_x else frame.of_y)
    told = reasons.because(frame, x, y, reason)
    return f"{told}. who {reason}?", (x if of_x else y).name


def _sense(draws: Draws, cast: Cast) -> Probe:
    word = draws.zipf(senses.WORDS)
    sense = draws.one(senses.SENSES[word])
    use = senses.use(draws, cast, sense)
    return f"{use}. what does {word} mean here?", sense.meaning


def _domain(draws: Draws, cast: Cast) -> Probe:
    text = draws.one(tuple(domains.DOMAINS.values()))(draws, cast, 2)
    asked, answer = draws.one(text.questions)
    *lead, word = answer.split()
    return " ".join([text.context, asked, *lead]), word


SKILLS: dict[str, Callable[[Draws, Cast], Probe]] = {
    "kinds": functools.partial(kinds.meaning_asked, mood=False),
    "moods": functools.partial(kinds.meaning_asked, mood=True),
    "questions": functools.partial(_question, same=False),
    "same verb": functools.partial(_question, same=True),
    "denials": _denial,
    "inference": _inference,
    "reports": _report,
    "causes": _cause,
    "pronouns": _pronoun,
    "senses": _sense,
    "domains": _domain,
}


def probes(seed: int, count: int) -> Iterator[tuple[str, str, str]]:
    """Yields `count` probes of each skill: its name, and the Probe."""
    for skill, make in SKILLS.items():
        draws = Draws(f"probes {skill} {seed}")
        for _ in range(count):
            yield skill, *make(draws, Cast())
