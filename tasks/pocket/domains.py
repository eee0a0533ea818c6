"""Three more worlds to ask questions in: letters, ships and bills.

Each is unlike the village of `facts` in another way: letters in form (the writer is
"i"), ships in words (no noun or verb is shared), bills in style (no verbs at all).
"""

from collections.abc import Callable
from typing import NamedTuple

from prompt_tuning.tasks.pocket.facts import clause, facts
from prompt_tuning.tasks.pocket.world import Cast, Draws


class Asked(NamedTuple):
    """A text, and questions on it with their answers, which stand in the text."""

    context: str
    questions: tuple[tuple[str, str], ...]


def letter(draws: Draws, cast: Cast, count: int) -> Asked:
    """A letter with `count` facts, of which the writer's own says "i"."""
    given = facts(draws, cast, count, same=0.2)
    named = {word for fact in given for word in (fact.p, fact.what)}
    reader = draws.zipf([p for p in cast.people if p.name not in named])
    writer, *others = given
    own = clause(writer).replace(writer.p, "i", 1)
    lines = draws.shuffled([own, *(clause(fact) for fact in others)])
    end = draws.one(("yours, {p}.", "your friend {p}.", "with love from {p}."))
    text = f"dear {reader.name}, {'. '.join(lines)}. {end.format(p=writer.p)}"
    asked = []
    for fact in given:
        asked.append((f"who {fact.verb.past} {fact.what}?", fact.p))
        asked.append((f"{fact.verb.asks} did {fact.p} {fact.verb.base}?", fact.what))
    return Asked(text, tuple(asked))


def voyages(draws: Draws, cast: Cast, count: int) -> Asked:
    """News of `count` ships."""
    ships = draws.several(cast.ships, count)
    cargoes = draws.several(cast.cargoes, count)
    ports = draws.several(cast.ports, min(2 * count, len(cast.ports)))
    lines, asked = [], []
    for i, (ship, cargo) in enumerate(zip(ships, cargoes, strict=True)):
        port = ports[i]
        lines.append(
            draws.one(
                (
                    f"laden with {cargo}, {ship} sailed for {port}.",
                    f"{ship} of {port} unloads {cargo}.",
                    f"{cargo} is shipped aboard {ship}, bound for {port}.",
                )
            )
        )
        asked += [
            (f"which ship bears {cargo}?", ship),
            (f"what is the cargo of {ship}?", cargo),
            (f"which port belongs to {ship}?", port),
        ]
    return Asked(" ".join(lines), tuple(asked))


_NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()


def bill(draws: Draws, cast: Cast, count: int) -> Asked:
    """A list of `count` people with what each has to pay for."""
    people = [person.name for person in draws.several(cast.people, count)]
    things = [
        thing.removeprefix("the ") for thing in draws.several(cast.objects, count)
    ]
    prices = draws.several(_NUMBERS, count)
    form = draws.one(("{p}, {x}, {n} pence.", "{x}, {n} pence, {p}."))
    rows = zip(people, things, prices, strict=True)
    lines, asked = [], []
    for p, x, n in rows:
        lines.append(form.format(p=p, x=x, n=n))
        asked += [
            (f"how many pence for the {x}?", n),
            (f"who pays {n} pence?", p),
            (f"what does {p} pay for?", x),
            (f"who pays for the {x}?", p),
        ]
    return Asked(" ".join(lines), tuple(asked))


DOMAINS: dict[str, Callable[[Draws, Cast, int], Asked]] = {
    "letters": letter,
    "ships": voyages,
    "bills": bill,
}


def domain_questions(draws: Draws, cast: Cast) -> str:
    """A text of one of the domains, and questions on it."""
    make = draws.one(tuple(DOMAINS.values()))
    asked = make(draws, cast, draws.one((1, 2, 2, 3)))
    pairs = draws.shuffled(asked.questions)[:3]
    return " ".join([asked.context, *(f"{q} {a}." for q, a in pairs)])
