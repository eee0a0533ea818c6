"""The people, places and things of the pocket world, and draws from them by a seed.

Names follow Zipf's law: of the names that `zipf` draws from, name number r comes up as
often as 1 / r. So a model meets a few of them in every text, from which it can learn to
tell two facts apart, and a larger one has room for more of the others.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Draws:
    """Random choices, the same for the same seed, which is any text."""

    def __init__(self, seed: str) -> None:
        self._uniform = random.Random(seed).random

    def chance(self, share: float) -> bool:
        """True in this share of all calls."""
        return self._uniform() < share

    def one(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._uniform() * len(options))]

    def zipf(self, options: Sequence[T], shift: int = 0) -> T:
        """One of the options, number r (from 1) about 1 / (r + shift) as likely.

        The shift is Mandelbrot's, which makes the first ones less frequent.
        """
        first, end = shift + 1, len(options) + shift + 1
        return options[int(first * (end / first) ** self._uniform()) - first]

    def rare(self, options: Sequence[T]) -> T:
        """As `zipf`, of only the first r options, with r drawn by Zipf's law itself.

        So the last ones hardly ever come up: of 48, number 20 once in 300 times, number
        40 once in 3,000.
        """
        most = self.zipf(range(1, len(options) + 1))
        return self.zipf(options[:most])

    def several(self, options: Sequence[T], count: int, shift: int = 0) -> list[T]:
        """Different options by `zipf`; raises ValueError if there are too few."""
        if count > len(options):
            raise ValueError(f"{count} different ones of only {len(options)}")
        chosen: list[T] = []
        while len(chosen) < count:
            option = self.zipf(options, shift)
            if option not in chosen:
                chosen.append(option)
        return chosen

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All the options in random order."""
        return sorted(options, key=lambda _: self._uniform())


class Person(NamedTuple):
    """A name and its pronouns."""

    name: str
    he: str
    him: str


class Place(NamedTuple):
    """`at` is how one is there, such as "on the hill"; `name` is "the hill"."""

    at: str
    name: str


_WOMEN = """mara anna lena rosa ida nora ella greta clara wanda tess june vera dora alma
ruth hanna ines""".split()
_MEN = """tom ben paul otto emil hugo max leo finn oscar carl sam erik hans jonas theo
arthur felix""".split()
PEOPLE = tuple(
    Person(name, *pronouns)
    for pair in zip(_WOMEN, _MEN, strict=True)
    for name, pronouns in zip(pair, (("she", "her"), ("he", "him")), strict=True)
)
PLACES = tuple(
    Place(f"{preposition} {place}", place)
    for preposition, place in (
        ("at", "the harbour"),
        ("near", "the mill"),
        ("in", "the garden"),
        ("by", "the lake"),
        ("at", "the market"),
        ("on", "the hill"),
        ("in", "the barn"),
        ("under", "the bridge"),
        ("at", "the station"),
        ("in", "the library"),
        ("near", "the church"),
        ("on", "the beach"),
        ("in", "the kitchen"),
        ("behind", "the school"),
        ("in", "the old tower"),
        ("by", "the river"),
    )
)
_WEEK = "mon tues wednes thurs fri satur sun"
TIMES = (
    *(f"on {day}day" for day in _WEEK.split()),
    *("last week", "at noon", "in the morning", "in the evening", "one day"),
    *("last winter", "in spring", "in summer", "yesterday"),
)
EVENTS = (
    *("the bell rang", "the rain began", "the snow fell", "the band played"),
    *("the fair opened", "a storm came", "the lamps went out", "the train left"),
    *("the wind rose", "the moon came up", "the guests arrived", "a dog barked"),
)
LOOKS = (
    *("small", "old", "new", "fine", "strange"),
    *("lovely", "plain", "little", "big", "rare"),
)
OBJECTS = tuple(
    f"the {name}"
    for name in """kite drum lamp basket ladder mirror candle whistle bucket blanket
    hammer bottle pillow violin clock wheel rope carpet kettle lantern saddle spoon
    helmet button""".split()
)
# The words of the ships' world, which no other text uses.
SHIPS = tuple(
    f"the {name}"
    for name in """swan dolphin victory mermaid comet eagle pearl tiger fortune
    hope falcon raven""".split()
)
PORTS = """bergen cadiz riga genoa dover malta lisbon tunis danzig marseille odessa
bristol""".split()
CARGOES = (
    """salt tea wool coal linen corn timber iron sugar pepper copper rum""".split()
)


class Cast(NamedTuple):
    """Whom and what a text may name."""

    people: Sequence[Person] = PEOPLE
    places: Sequence[Place] = PLACES
    objects: Sequence[str] = OBJECTS
    ships: Sequence[str] = SHIPS
    ports: Sequence[str] = PORTS
    cargoes: Sequence[str] = CARGOES


# Every fourth name is for validation, the next for the test split, two for training:
# in each split there are frequent and rare ones, and no name is in two splits.
_SHARES = {"train": (0, 1), "validation": (2,), "test": (3,)}


def share(options: Sequence[T], split: str) -> tuple[T, ...]:
    """A split's own part of the options: half for train, a quarter for the others."""
    return tuple(x for i, x in enumerate(options) if i % 4 in _SHARES[split])


def cast(split: str) -> Cast:
    """The names that a split's examples may use."""
    pairs = [PEOPLE[i : i + 2] for i in range(0, len(PEOPLE), 2)]  # a woman, a man
    people = tuple(person for pair in share(pairs, split) for person in pair)
    whole = Cast()
    rest = (share(getattr(whole, field), split) for field in whole._fields[1:])
    return Cast(people, *rest)
