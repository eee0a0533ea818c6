"""Who did what, where and when: statements, questions and judgements on them.

A fact is told in several ways, asked for in several ways, and claimed rightly or
wrongly. Texts and tasks are made of the same facts; only the tasks have a format.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from prompt_tuning.tasks.pocket.world import TIMES, Cast, Draws, Person


class Verb(NamedTuple):
    """Three forms of a verb, and how one asks for its object."""

    past: str
    base: str
    participle: str
    asks: str = "what"


VERBS = tuple(
    Verb(*forms.split())
    for forms in (
        *("found find found", "lost lose lost", "bought buy bought"),
        *("sold sell sold", "hid hide hidden", "broke break broken"),
        *("drew draw drawn", "made make made", "stole steal stolen"),
        *("painted paint painted", "kept keep kept", "mended mend mended"),
    )
)
GO = Verb("went", "go", "", "where")
MEET = Verb("met", "meet", "", "whom")
_FREQUENT_FIRST = (GO, *VERBS[:4], MEET, *VERBS[4:])


class Fact(NamedTuple):
    """That `person` did `verb` to `what`, `tail` (where or when, or ""); or did not."""

    person: Person
    verb: Verb
    what: str
    tail: str = ""
    so: bool = True

    @property
    def p(self) -> str:
        return self.person.name


def facts(
    draws: Draws, cast: Cast, count: int, same: float = 0.0, tails: float = 0.0
) -> list[Fact]:
    """Facts about different people and different things, places or persons met.

    Args:
      same: how often all have the same verb; otherwise all verbs differ, so that the
        verb tells which fact is meant.
      tails: how often they have a place or a time.
    """
    people = draws.several(cast.people, 2 * count)
    things = draws.several(cast.objects, count)
    places = draws.several(cast.places, count)
    moments = draws.several(TIMES, count)
    verbs = draws.several(_FREQUENT_FIRST, count, shift=2)
    if draws.chance(same):
        verbs = count * verbs[:1]
    tailed, where = draws.chance(tails), draws.chance(0.5)
    made = []
    for i, verb in enumerate(verbs):
        what = {
            "what": things[i],
            "where": f"to {places[i].name}",
            "whom": people[count + i].name,
        }[verb.asks]
        tail = ""
        if tailed:
            tail = places[i].at if where and verb is not GO else moments[i]
        made.append(Fact(people[i], verb, what, tail))
    return made


def clause(fact: Fact) -> str:
    """The fact without a full stop."""
    tail = f" {fact.tail}" if fact.tail else ""
    if not fact.so:
        return f"{fact.p} did not {fact.verb.base} {fact.what}{tail}"
    return f"{fact.p} {fact.verb.past} {fact.what}{tail}"


def told(draws: Draws, fact: Fact) -> str:
    """A sentence that states the fact, or denies it."""
    if draws.chance(0.15 if fact.so else 0.3):
        word = "true" if fact.so else "false"
        return f"it is {word} that {clause(fact._replace(so=True))}."
    if fact.tail and draws.chance(0.3):
        return f"{fact.tail} {clause(fact._replace(tail=''))}."
    return f"{clause(fact)}."


def _cleft(fact: Fact) -> str:
    return f"it was {fact.p} who {fact.verb.past} {fact.what}"


def _passive(fact: Fact) -> str:
    if fact.verb.participle:
        return f"{fact.what} was {fact.verb.participle} by {fact.p}"
    return f"{fact.p} is the one who {fact.verb.past} {fact.what}"


# Ways to say the same in other words, without the tail.
WORDINGS: tuple[Callable[[Fact], str], ...] = (
    lambda fact: clause(fact._replace(tail="")),
    _cleft,
    _passive,
)


def question(draws: Draws, fact: Fact) -> tuple[str, str]:
    """Asks for one part of a fact; the answer's words are those that state it."""
    verb, forms = fact.verb, 3 if fact.tail else 2
    form = draws.one(range(forms))
    if form == 0:
        return f"who {verb.past} {fact.what}?", fact.p
    if form == 1:
        return f"{verb.asks} did {fact.p} {verb.base}?", fact.what
    word = "when" if fact.tail in TIMES else "where"
    return f"{word} did {fact.p} {verb.base} {fact.what}?", fact.tail


def claim(draws: Draws, told: Sequence[Fact], so: bool) -> Fact:
    """One of the facts told, without its tail; one that is denied unless `so`."""
    fact = draws.one([fact for fact in told if fact.so == so])
    return fact._replace(so=True, tail="")


ASKED = (
    lambda f: f"did {f.p} {f.verb.base} {f.what}?",
    lambda f: f"is it true that {f.p} {f.verb.past} {f.what}?",
    lambda f: f"was it {f.p} who {f.verb.past} {f.what}?",
)
_YES = ("yes.", "yes.", "true.", "right.", "yes, it is true.", "that is true.")
_NO = ("no.", "no.", "false.", "wrong.", "no, it is false.", "that is false.")


def verdict(draws: Draws, true: bool) -> str:
    """A sentence that says whether something is so."""
    return draws.one(_YES if true else _NO)


def denied(draws: Draws, given: Sequence[Fact]) -> list[Fact]:
    """The facts, of which at least one is now denied and at least one is not."""
    flags = [draws.chance(0.5) for _ in given]
    if len(given) > 1 and len(set(flags)) == 1:
        at = draws.one(range(len(given)))
        flags[at] = not flags[at]
    return [fact._replace(so=so) for fact, so in zip(given, flags, strict=True)]


# Genres of pre-training text. Each takes draws and a cast, and makes one short text.


def tell(draws: Draws, given: Sequence[Fact]) -> str:
    """Sentences that state the facts."""
    return " ".join(told(draws, fact) for fact in given)


def _asked(draws: Draws, given: Sequence[Fact]) -> str:
    """A question that the facts answer, and the answer."""
    asked, answer = question(draws, draws.one([fact for fact in given if fact.so]))
    return f"{asked} {answer}."


def judged(draws: Draws, given: Sequence[Fact]) -> str:
    """A yes/no question on one of the facts, and its answer, or what is the case."""
    fact = draws.one(given)._replace(tail="")
    if draws.chance(0.25):
        claimed = clause(fact._replace(so=True))
        return f"is it so or not that {claimed}? {clause(fact)}."
    asked = draws.one(ASKED)(fact._replace(so=True))
    if draws.chance(0.3):
        return f"{asked} {'yes' if fact.so else 'no'}, {clause(fact)}."
    return f"{asked} {verdict(draws, fact.so)}"


def lesson(draws: Draws, cast: Cast) -> str:
    """One to three facts, and some questions that they answer."""
    given = facts(draws, cast, draws.one((1, 2, 2, 2, 3)), same=0.3, tails=0.3)
    items = [_asked(draws, given) for _ in range(4)]
    return " ".join([tell(draws, given), *dict.fromkeys(items)])


def denials(draws: Draws, cast: Cast) -> str:
    """Facts, some of them denied, and questions, most of them for a yes or a no."""
    given = denied(draws, facts(draws, cast, draws.one((1, 2, 2, 2, 3)), same=0.2))
    items = [judged(draws, given), judged(draws, given)]
    if any(fact.so for fact in given):
        items.append(_asked(draws, given))
    return " ".join([tell(draws, given), *dict.fromkeys(draws.shuffled(items))])
