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


Claims = dict[Fact, bool]


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


def _scene(draws: Draws, cast: Cast, tails: float = 0.0) -> list[Fact]:
    return facts(draws, cast, draws.one((1, 1, 2, 2, 3)), tails=tails)


def answered_questions(draws: Draws, cast: Cast) -> str:
    """Facts, and questions that they answer."""
    given = _scene(draws, cast, tails=0.5)
    asked = dict(question(draws, draws.one(given)) for _ in range(4))
    answers = [f"{ask} {answer}." for ask, answer in asked.items()]
    return " ".join([tell(draws, given), *answers[:3]])


def _claims(draws: Draws, cast: Cast, given: Sequence[Fact], hard: float) -> Claims:
    """Up to three different claims about the facts, and whether each is so."""
    real = {fact.so for fact in given}
    claims: Claims = {}
    for _ in range(4):
        so = draws.chance(0.5) and True in real
        claims[claim(draws, cast, given, so, hard)] = so
    return dict(list(claims.items())[:3])


def judged_claims(draws: Draws, cast: Cast) -> str:
    """Facts, some of them denied, and yes/no questions with short answers."""
    given = _scene(draws, cast)
    if draws.chance(0.5):
        given = denied(draws, given)
    ask = draws.one(ASKED)
    text = [tell(draws, given)]
    for fact, so in _claims(draws, cast, given, hard=0.3).items():
        text += [ask(fact), verdict(draws, so)]
    return " ".join(text)


def explained_claims(draws: Draws, cast: Cast) -> str:
    """Facts, and yes/no questions with answers that repeat the fact."""
    given = _scene(draws, cast)
    by_name = {fact.p: fact for fact in given}
    text, ask = [tell(draws, given)], draws.one(ASKED)
    for fact, so in _claims(draws, cast, given, hard=0.7).items():
        known = by_name.get(fact.p)
        why = clause(known) if known else f"not {fact.p}"
        text += [ask(fact), f"{'yes' if so else 'no'}, {why}."]
    return " ".join(text)


def checked_answers(draws: Draws, cast: Cast) -> str:
    """Facts, a question that they answer, and guesses at the answer."""
    given = _scene(draws, cast)
    fact = draws.one(given)
    asked, answer = question(draws, fact)
    if answer == fact.p:
        told, all_names = [f.p for f in given], [p.name for p in cast.people]
    else:
        told = [f.what for f in given if f.verb.asks == fact.verb.asks]
        all_names = _objects(cast, fact.verb)
    new = draws.zipf([name for name in all_names if name not in told])
    text = [tell(draws, given), f"{asked} {answer}."]
    for guess in draws.shuffled([*told, new])[:3]:
        text.append(f"was it {guess.removeprefix('to ')}?")
        text.append(verdict(draws, guess == answer))
    return " ".join(text)
