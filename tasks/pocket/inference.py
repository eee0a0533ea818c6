"""What follows from a sentence: who managed to find the kite found it (implicatives).

Of each phrase one knows only from reading whether what it speaks of came about.
"""

from collections.abc import Mapping, Sequence

from prompt_tuning.tasks.pocket import facts
from prompt_tuning.tasks.pocket.facts import Fact
from prompt_tuning.tasks.pocket.world import Cast, Draws, share

# {p} is a person, {v} what the person did or did not do, such as "find the kite".
# Those beside one another are built alike, so that only the words unlike tell.
_PAIRS = (
    ("{p} managed to {v}", "{p} failed to {v}"),
    ("{p} was able to {v}", "{p} was unable to {v}"),
    ("{p} dared to {v}", "{p} refused to {v}"),
    ("{p} remembered to {v}", "{p} forgot to {v}"),
    ("{p} did not fail to {v}", "{p} did not manage to {v}"),
    ("{p} was quick enough to {v}", "{p} was too slow to {v}"),
    ("{p} did not forget to {v}", "{p} did not remember to {v}"),
    ("{p} did not refuse to {v}", "{p} did not dare to {v}"),
    ("{p} had the courage to {v}", "{p} lacked the courage to {v}"),
    ("{p} was bold enough to {v}", "{p} was too shy to {v}"),
    ("{p} happened to {v}", "{p} neglected to {v}"),
    ("{p} was forced to {v}", "{p} was forbidden to {v}"),
)
_CAME_ABOUT, _DID_NOT = zip(*_PAIRS, strict=True)
IMPLICATIVES: dict[bool, tuple[str, ...]] = {True: _CAME_ABOUT, False: _DID_NOT}


def implied(draws: Draws, fact: Fact, forms: Sequence[str]) -> str:
    """A sentence from which the fact follows, or that it is not so; no full stop.

    Args:
      forms: of the phrases for a fact that is so, or for one that is not.
    """
    done = f"{fact.verb.base} {fact.what}"
    return draws.zipf(forms).format(p=fact.p, v=done)


def shared(split: str) -> dict[bool, tuple[str, ...]]:
    """The phrases of a split, which no other split has."""
    return {so: share(own, split) for so, own in IMPLICATIVES.items()}


def given(draws: Draws, cast: Cast, count: int, so: bool) -> list[Fact]:
    """Facts, at least one of which is so if `so`, and is not so unless `so`.

    Of several, at least one is the other way.
    """
    told = facts.facts(draws, cast, count)
    return facts.denied(draws, told) if count > 1 else [told[0]._replace(so=so)]


def tell(
    draws: Draws,
    given: Sequence[Fact],
    forms: Mapping[bool, Sequence[str]] = IMPLICATIVES,
) -> str:
    """A sentence for each of the facts, from which it follows, or that it is not so."""
    return " ".join(f"{implied(draws, fact, forms[fact.so])}." for fact in given)


def consequences(draws: Draws, cast: Cast) -> str:
    """One to three such sentences, and what follows from them."""
    given = facts.denied(
        draws, facts.facts(draws, cast, draws.one((1, 1, 2, 3)), same=0.2)
    )
    text = [tell(draws, given)]
    for fact in draws.shuffled(given)[:2]:
        if draws.chance(0.3):
            lead = draws.one(("so ", "that is, ", "in fact "))
            text.append(f"{lead}{facts.clause(fact)}.")
        else:
            text.append(facts.judged(draws, [fact]))
    return " ".join(text)
