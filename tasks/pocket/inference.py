"""What follows from a fact: who found a blimbob, which is a tool, found a tool.

The facts are about things with invented names, so that their kinds must be known.
"""

from collections.abc import Mapping, Sequence

from prompt_tuning.tasks.pocket import facts
from prompt_tuning.tasks.pocket.facts import Fact
from prompt_tuning.tasks.pocket.kinds import KINDS, THINGS
from prompt_tuning.tasks.pocket.world import Cast, Draws


def things(
    draws: Draws, cast: Cast, names: Mapping[str, Sequence[str]], count: int
) -> list[tuple[Fact, str]]:
    """Facts about things with invented names, each with its kind; all differ.

    Args:
      names: kind -> the names that may be used.
    """
    given = []
    kinds = draws.shuffled(KINDS)[:count]
    while len(given) < count:
        for fact in facts.facts(draws, cast, count):
            if fact.verb.participle and len(given) < count:
                kind = kinds[len(given)]
                name = draws.zipf(names[kind], shift=0)
                if fact.p not in {f.p for f, _ in given}:
                    given.append((fact._replace(what=f"the {name}"), kind))
    return given


def follows(
    draws: Draws, given: Sequence[tuple[Fact, str]], so: bool, hard: float = 0.5
) -> Fact:
    """A fact with a kind in place of a name, which follows from the facts given or not.

    Args:
      hard: how often a wrong kind is that of another thing in the facts.
    """
    fact, kind = draws.one(given)
    other = [k for _, k in given if k != kind]
    if not so:
        unnamed = [k for k in KINDS if k not in {k for _, k in given}]
        kind = draws.one(other if other and draws.chance(hard) else unnamed)
    return fact._replace(what=f"a {kind}")


def judged_kinds(draws: Draws, cast: Cast) -> str:
    """Facts, and whether they are about things of some kind."""
    given = things(draws, cast, THINGS, draws.one((1, 1, 2)))
    text = [facts.tell(draws, [fact for fact, _ in given])]
    ask = draws.one(facts.ASKED)
    kinds = {fact.p: kind for fact, kind in given}
    for so in (draws.chance(0.5), draws.chance(0.5)):
        fact = follows(draws, given, so, hard=0.3)
        answer = facts.verdict(draws, so)
        if draws.chance(0.3):
            name = next(f.what for f, _ in given if f.p == fact.p)
            answer = f"{'yes' if so else 'no'}, {name} is a {kinds[fact.p]}."
        text += [ask(fact), answer]
    return " ".join(text)
