"""Do two questions ask for the same, do two sentences say the same?

Two questions on one fact ask for the same if both ask who, or both where, or both when.
Two sentences on one fact say the same if both say that it came about, or neither does.
"""

from prompt_tuning.tasks.pocket import facts
from prompt_tuning.tasks.pocket.facts import WORDINGS, Fact
from prompt_tuning.tasks.pocket.inference import IMPLICATIVES, implied
from prompt_tuning.tasks.pocket.world import Cast, Draws

# {p} is a person; {v} what was done, such as "find the kite", {d} that it was, such as
# "found the kite".
QUESTIONS = {
    "who": (
        "who {d}?",
        "which person {d}?",
        "who was it that {d}?",
        "tell me who {d}?",
        "whose work was it to {v}?",
        "by whose hand did one {v}?",
        "to {v}, which man or woman was that?",
        "what is the name of the one who {d}?",
    ),
    "where": (
        "where did {p} {v}?",
        "in which place did {p} {v}?",
        "where was {p} to {v}?",
        "tell me where {p} {d}?",
        "at which spot did {p} {v}?",
        "to {v}, whereabouts was {p}?",
        "what is the place at which {p} {d}?",
        "near what did {p} {v}?",
    ),
    "when": (
        "when did {p} {v}?",
        "at what time did {p} {v}?",
        "when was {p} to {v}?",
        "tell me when {p} {d}?",
        "on which day did {p} {v}?",
        "to {v}, what hour did {p} choose?",
        "what is the day on which {p} {d}?",
        "how long ago did {p} {v}?",
    ),
}

# Ways to say that it is not so.
_DENIALS = (
    facts.clause,
    lambda f: f"it was not {f.p} who {f.verb.past} {f.what}",
    lambda f: f"{f.what} was not {f.verb.participle} by {f.p}",
)

Pair = tuple[str, str]


def _simple(draws: Draws, cast: Cast) -> Fact:
    """A fact of a verb with a participle, so that it has a passive."""
    while True:
        [fact] = facts.facts(draws, cast, 1)
        if fact.verb.participle:
            return fact


PARTS = tuple(QUESTIONS)


def questions(draws: Draws, cast: Cast, parts: Pair) -> Pair:
    """Two questions on one fact, in different words, each for one of PARTS."""
    fact = _simple(draws, cast)
    slots = {
        "p": fact.p,
        "v": f"{fact.verb.base} {fact.what}",
        "d": f"{fact.verb.past} {fact.what}",
    }
    first, second = (draws.one(QUESTIONS[part]) for part in parts)
    while first == second:
        second = draws.one(QUESTIONS[parts[1]])
    return first.format(**slots), second.format(**slots)


def any_questions(draws: Draws, cast: Cast, same: bool) -> Pair:
    """Two questions that ask for the same part of a fact, or for two."""
    one, other = draws.shuffled(PARTS)[:2]
    return questions(draws, cast, (one, one if same else other))


def statements(draws: Draws, cast: Cast, same: bool) -> Pair:
    """Two sentences on one fact, without full stops, that say the same or do not.

    One is an implicative, the other plain, or denied, or an implicative too.
    """
    so = draws.chance(0.5)
    fact = _simple(draws, cast)._replace(so=so)
    other = fact._replace(so=so if same else not so)
    one = implied(draws, fact, IMPLICATIVES[so])
    if draws.chance(0.5):
        rest = [
            form
            for form in IMPLICATIVES[other.so]
            if implied(draws, fact, [form]) != one
        ]
        pair = [one, implied(draws, other, rest)]
    else:
        pair = [one, draws.one(WORDINGS if other.so else _DENIALS)(other)]
    first, second = draws.shuffled(pair)
    return first, second


_ALIKE = (
    "do they {v} the same? yes.",
    "they {v} the same.",
    "do both {v} the same? yes.",
    "that comes to the same.",
    "the two are equivalent.",
    "one is a duplicate of the other.",
)
_UNLIKE = (
    "do they {v} the same? no.",
    "they do not {v} the same.",
    "do both {v} the same? no.",
    "that is not the same.",
    "the two are not equivalent.",
    "one is not a duplicate of the other.",
)


def compared_wordings(draws: Draws, cast: Cast) -> str:
    """Two people say or ask something, twice. Is it the same?"""
    text = []
    for _ in range(2):
        same, ask = draws.chance(0.5), draws.chance(0.5)
        if ask:
            one, two = any_questions(draws, cast, same)
        else:
            one, two = statements(draws, cast, same)
        judge = draws.zipf(_ALIKE if same else _UNLIKE)
        judge = judge.format(v="ask" if ask else "say")
        stop = "" if ask else "."
        text.append(f"{one}{stop} {two}{stop} {judge}")
    return " ".join(text)


def reworded(draws: Draws, cast: Cast) -> str:
    """Facts, and the same facts in other words."""
    given = facts.facts(draws, cast, draws.one((2, 2, 3)), same=0.3)
    first, second = draws.several(WORDINGS, 2)
    lines = [f"{first(fact)}." for fact in given]
    lead = draws.one(("that is, ", "in other words, ", "so ", ""))
    lines += [f"{lead}{second(fact)}." for fact in draws.shuffled(given)]
    return " ".join(lines)
