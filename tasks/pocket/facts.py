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
    draws: Draws, cast: Cast, count: int, same: float = 0.5, tails: float = 0.0
) -> list[Fact]:
    """Facts about different people and different things, places or persons met.

    Args:
      same: how often all have the same verb, so that the verb tells nothing.
      tails: how often they have a place or a time.
    """
    people = draws.several(cast.people, 2 * count)
    things = draws.several(cast.objects, count)
    places = draws.several(cast.places, count)
    first = _verb(draws)
    alike = draws.chance(same)
    made = []
    tailed, where = draws.chance(tails), draws.chance(0.5)
    moments = draws.several(TIMES, count)
    for i in range(count):
        verb = first if alike else _verb(draws)
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


def _verb(draws: Draws) -> Verb:
    if draws.chance(0.25):
        return GO
    return MEET if draws.chance(0.15) else draws.zipf(VERBS)


def clause(fact: Fact) -> str:
    """The fact without a full stop."""
    tail = f" {fact.tail}" if fact.tail else ""
    if not fact.so:
        return f"{fact.p} did not {fact.verb.base} {fact.what}{tail}"
    return f"{fact.p} {fact.verb.past} {fact.what}{tail}"


def told(draws: Draws, fact: Fact) -> str:
    """A sentence that states the fact, or denies it."""
    if draws.chance(0.1 if fact.so else 0.4):
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


def claim(
    draws: Draws, cast: Cast, told: Sequence[Fact], so: bool, hard: float = 0.5
) -> Fact:
    """A claim about the facts told, which is so or not.

    Args:
      hard: how often a wrong claim is made of words that were told, and so wrong only
        in how it puts them together.
    """
    real = [fact for fact in told if fact.so]
    unreal = [fact._replace(so=True) for fact in told if not fact.so]
    if so or unreal:
        return draws.one(real if so else unreal)
    fact = draws.one(real)
    same = [f.what for f in real if f.verb.asks == fact.verb.asks and f != fact]
    if same and draws.chance(hard):
        return fact._replace(what=draws.one(same))
    return with_new(draws, cast, fact, told)


def with_new(draws: Draws, cast: Cast, fact: Fact, told: Sequence[Fact]) -> Fact:
    """The fact with another person or thing in it, one that `told` does not name."""
    named = {word for f in told for word in (f.p, f.what)}
    if draws.chance(0.5):
        people = [p for p in cast.people if p.name not in named]
        return fact._replace(person=draws.zipf(people))
    options = [what for what in _objects(cast, fact.verb) if what not in named]
    return fact._replace(what=draws.zipf(options))


def _objects(cast: Cast, verb: Verb) -> Sequence[str]:
    """Whatever the verb can be said of."""
    return {
        "what": cast.objects,
        "where": [f"to {place.name}" for place in cast.places],
        "whom": [person.name for person in cast.people],
    }[verb.asks]


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


def _asked(draws: Draws, cast: Cast, given: Sequence[Fact]) -> str:
    """A question that the facts answer, and the answer."""
    asked, answer = question(draws, draws.one([fact for fact in given if fact.so]))
    return f"{asked} {answer}."


def _checked(draws: Draws, cast: Cast, given: Sequence[Fact]) -> str:
    """The same, and a guess at the answer."""
    fact = draws.one([fact for fact in given if fact.so])._replace(tail="")
    asked, answer = question(draws, fact)
    if answer == fact.p:
        told, every = [f.p for f in given], [person.name for person in cast.people]
    else:
        told = [f.what for f in given if f.verb.asks == fact.verb.asks]
        every = _objects(cast, fact.verb)
    told.append(draws.zipf([name for name in every if name not in told]))
    wrong = [name for name in told if name != answer]
    so = draws.chance(0.5)
    guess = (answer if so else draws.one(wrong)).removeprefix("to ")
    return f"{asked} {answer}. was it {guess}? {verdict(draws, so)}"


def _judged(draws: Draws, cast: Cast, given: Sequence[Fact]) -> str:
    """A yes/no question with a short answer."""
    so = draws.chance(0.5)
    asked = draws.one(ASKED)(claim(draws, cast, given, so, hard=0.4))
    return f"{asked} {verdict(draws, so)}"


def _explained(draws: Draws, cast: Cast, given: Sequence[Fact]) -> str:
    """A yes/no question with an answer that repeats the fact."""
    so = draws.chance(0.5)
    asked = claim(draws, cast, given, so, hard=0.7)
    known = next((fact for fact in given if fact.p == asked.p), None)
    why = clause(known) if known else f"not {asked.p}"
    return f"{draws.one(ASKED)(asked)} {'yes' if so else 'no'}, {why}."


_ITEMS = (_asked, _asked, _asked, _checked, _judged, _judged, _explained)


def lesson(draws: Draws, cast: Cast) -> str:
    """Facts, some of them denied, and three questions on them.

    Most have the same verb, so that a question is understood only by who or what is in
    it: models learn that from the open questions, and then need it for the others.
    """
    given = facts(draws, cast, draws.one((1, 2, 2, 2, 3)), same=0.6, tails=0.3)
    if len(given) > 1 and draws.chance(0.4):
        given = denied(draws, given)
    items = [draws.one(_ITEMS)(draws, cast, given) for _ in range(3)]
    return " ".join([tell(draws, given), *dict.fromkeys(items)])
