"""The same in other words, or almost the same: pairs of sentences and of questions."""

from prompt_tuning.tasks.pocket.facts import WORDINGS, Fact, facts, with_new
from prompt_tuning.tasks.pocket.world import Cast, Draws

# Ways to ask for a part of a fact, by who did it, and by what was done to what.
_WHO = (
    lambda f: f"who {f.verb.past} {f.what}?",
    lambda f: f"which person {f.verb.past} {f.what}?",
    lambda f: (
        f"{f.what}, who {f.verb.past} it?"
        if f.verb.participle
        else f"who was it that {f.verb.past} {f.what}?"
    ),
)
_WHAT = (
    lambda f: f"{f.verb.asks} did {f.p} {f.verb.base}?",
    lambda f: (
        f"{f.verb.asks} was it that {f.p} {f.verb.past}?"
        if f.verb.participle
        else f"{f.verb.asks} is it that {f.p} {f.verb.past}?"
    ),
    lambda f: f"tell me {f.verb.asks} {f.p} {f.verb.past}?",
)

Pair = tuple[str, str]


def statements(draws: Draws, cast: Cast, same: bool, hard: bool) -> Pair:
    """Two sentences, without full stops, that say the same or do not.

    Args:
      hard: two facts each, so that the sentences can differ in how they put the same
        words together.
    """
    one, two = facts(draws, cast, 2, same=0.0)
    while hard and one.verb == two.verb:
        one, two = facts(draws, cast, 2, same=0.0)
    first, second = draws.several(WORDINGS, 2)
    if not hard:
        other = one if same else with_new(draws, cast, one, [one])
        return first(one), second(other)
    a, b = (one, two) if same else _crossed(draws, one, two)
    a, b = draws.shuffled([a, b])
    return f"{first(one)} and {first(two)}", f"{second(a)} and {second(b)}"


def _crossed(draws: Draws, one: Fact, two: Fact) -> tuple[Fact, Fact]:
    """The facts with their persons exchanged."""
    return one._replace(person=two.person), two._replace(person=one.person)


def questions(draws: Draws, cast: Cast, same: bool, hard: bool) -> Pair:
    """Two questions that ask the same or do not.

    Args:
      hard: unlike questions are on the same fact, but for another part of it.
    """
    [fact] = facts(draws, cast, 1)
    ways = draws.shuffled([_WHO, _WHAT])
    first, second = draws.several(ways[0], 2)
    if same:
        return first(fact), second(fact)
    if hard:
        return first(fact), draws.one(ways[1])(fact)
    other = fact
    while second(other) == second(fact):
        other = with_new(draws, cast, fact, [fact])
    return first(fact), second(other)


_ALIKE = (
    "they {v} the same.",
    "do they {v} the same? yes.",
    "both {v} the same. that is true.",
    "that comes to the same.",
    "the two are equivalent.",
    "one is a duplicate of the other.",
)
_UNLIKE = (
    "they do not {v} the same.",
    "do they {v} the same? no.",
    "both {v} the same. that is false.",
    "that is not the same.",
    "the two are not equivalent.",
    "one is not a duplicate of the other.",
)


def compared_wordings(draws: Draws, cast: Cast) -> str:
    """Two people say or ask something. Is it the same?"""
    same, ask = draws.chance(0.5), draws.chance(0.5)
    make = questions if ask else statements
    one, two = make(draws, cast, same, hard=draws.chance(0.4))
    p, q = (person.name for person in draws.several(cast.people, 2))
    judge = draws.one(_ALIKE if same else _UNLIKE).format(v="ask" if ask else "say")
    stop = "" if ask else "."
    form = draws.one(("{one}{stop} {two}{stop} {judge}", _TOLD[ask]))
    return form.format(p=p, q=q, one=one, two=two, judge=judge, stop=stop)


_TOLD = {
    False: "{p} said that {one}. {q} said that {two}. {judge}",
    True: "'{one}' asked {p}. '{two}' asked {q}. {judge}",
}


def reworded(draws: Draws, cast: Cast) -> str:
    """Facts, and the same facts in other words."""
    given = facts(draws, cast, draws.one((1, 2, 2)))
    first, second = draws.several(WORDINGS, 2)
    lines = [f"{first(fact)}." for fact in given]
    lead = draws.one(("that is, ", "in other words, ", "so ", ""))
    lines += [f"{lead}{second(fact)}." for fact in draws.shuffled(given)]
    return " ".join(lines)
