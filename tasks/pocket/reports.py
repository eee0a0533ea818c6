"""What is reported: known and so true, only thought, or pretended and so false."""

from typing import NamedTuple

from prompt_tuning.tasks.pocket.facts import Fact, clause, facts, told
from prompt_tuning.tasks.pocket.world import Cast, Draws, Person

# Three ways to report a clause; what follows from each is its key.
REPORTS = {
    "entailment": (
        "{r} knows that {c}",
        "{r} saw that {c}",
        "{r} remembers that {c}",
        "{r} found out that {c}",
        "{r} proved that {c}",
        "{r} forgot that {c}",
        "{r} noticed that {c}",
        "{r} discovered that {c}",
    ),
    "contradiction": (
        "{r} pretends that {c}",
        "{r} wrongly said that {c}",
        "{r} lied that {c}",
        "{r} imagined that {c}",
        "{r} disproved that {c}",
        "{r} made up that {c}",
        "{r} joked that {c}",
        "{r} falsely says that {c}",
    ),
    "neutral": (
        "{r} thinks that {c}",
        "{r} hopes that {c}",
        "{r} fears that {c}",
        "{r} guesses that {c}",
        "{r} wonders whether {c}",
        "{r} asks whether {c}",
        "{r} heard that {c}",
        "{r} supposes that {c}",
    ),
}
KINDS_OF_REPORT = tuple(REPORTS)

_FOLLOWS = {
    "entailment": ("yes.", "yes.", "true.", "yes, it is true."),
    "contradiction": ("no.", "no.", "false.", "no, it is false."),
    "neutral": ("perhaps.", "perhaps.", "maybe.", "perhaps, but nobody knows."),
}
# The grown-up words for it, which are rarer.
_WORD = ("{k}.", "that is {k}.", "they call it {k}.")


class Reported(NamedTuple):
    """A fact, who reports it, and one of KINDS_OF_REPORT."""

    fact: Fact
    reporter: Person
    kind: str


def reported(draws: Draws, cast: Cast, kinds: tuple[str, ...]) -> list[Reported]:
    """Facts about different people, reported by others; one of each of the kinds."""
    given = facts(draws, cast, len(kinds))
    named = {word for fact in given for word in (fact.p, fact.what)}
    others = [person for person in cast.people if person.name not in named]
    reporters = draws.several(others, len(kinds))
    return [
        Reported(fact, reporter, kind)
        for fact, reporter, kind in zip(given, reporters, kinds, strict=True)
    ]


def report(draws: Draws, item: Reported, forms: dict[str, tuple[str, ...]]) -> str:
    """A sentence that reports the fact, without its full stop."""
    form = draws.zipf(forms[item.kind])
    return form.format(r=item.reporter.name, c=clause(item.fact))


def judged_reports(draws: Draws, cast: Cast) -> str:
    """Reports, and what follows from them."""
    count = draws.one((1, 1, 2, 3))
    items = reported(draws, cast, tuple(draws.shuffled(KINDS_OF_REPORT)[:count]))
    text = [f"{report(draws, item, REPORTS)}." for item in items]
    if count == 1 and draws.chance(0.5):
        text.insert(0, told(draws, items[0].fact))  # the claim comes first
    for item in draws.shuffled(items)[:2]:
        verb, fact = item.fact.verb, item.fact
        ask = draws.one(
            (
                f"did {fact.p} {verb.base} {fact.what}?",
                f"is it true that {clause(fact)}?",
                f"{clause(fact)}?",
            )
        )
        words = _WORD if draws.chance(0.2) else _FOLLOWS[item.kind]
        text += [ask, draws.one(words).format(k=item.kind)]
    return " ".join(text)
