"""What follows from a sentence: who managed to find the kite found it (implicatives).

Of each phrase one knows only from reading whether what it speaks of came about.
"""

from collections.abc import Sequence

from prompt_tuning.tasks.pocket import facts
from prompt_tuning.tasks.pocket.facts import Fact
from prompt_tuning.tasks.pocket.world import Cast, Draws

# {p} is a person, {v} what the person did or did not do, such as "find the kite".
_CAME_ABOUT = (
    "{p} managed to {v}",
    "{p} was able to {v}",
    "{p} dared to {v}",
    "{p} remembered to {v}",
    "{p} did not fail to {v}",
    "{p} was forced to {v}",
    "{p} did not forget to {v}",
    "{p} was quick enough to {v}",
    "{p} took the time to {v}",
    "{p} was the first to {v}",
    "{p} had the luck to {v}",
    "{p} did not refuse to {v}",
)
_DID_NOT = (
    "{p} failed to {v}",
    "{p} was unable to {v}",
    "{p} did not dare to {v}",
    "{p} forgot to {v}",
    "{p} did not manage to {v}",
    "{p} refused to {v}",
    "{p} did not remember to {v}",
    "{p} was too slow to {v}",
    "{p} had no time to {v}",
    "{p} was not allowed to {v}",
    "{p} had not the luck to {v}",
    "{p} was too tired to {v}",
)
IMPLICATIVES = {True: _CAME_ABOUT, False: _DID_NOT}


def implied(draws: Draws, fact: Fact, forms: Sequence[str]) -> str:
    """A sentence from which the fact follows, or that it is not so; no full stop.

    Args:
      forms: of the phrases for a fact that is so, or for one that is not.
    """
    done = f"{fact.verb.base} {fact.what}"
    return draws.zipf(forms).format(p=fact.p, v=done)


def consequences(draws: Draws, cast: Cast) -> str:
    """One to three such sentences, and what follows from them."""
    given = facts.denied(
        draws, facts.facts(draws, cast, draws.one((1, 2, 2, 3)), same=0.2)
    )
    text = [f"{implied(draws, fact, IMPLICATIVES[fact.so])}." for fact in given]
    for fact in draws.shuffled(given)[:2]:
        if draws.chance(0.3):
            lead = draws.one(("so ", "that is, ", "in fact "))
            text.append(f"{lead}{facts.clause(fact)}.")
        else:
            text.append(facts.judged(draws, [fact]))
    return " ".join(text)
