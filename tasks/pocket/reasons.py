"""Why things happen, and who is meant: causes and effects, and pronouns.

Which of two people a pronoun means, only what is said of it tells: in "anna thanked
rosa because she had helped" it is rosa.
"""

from typing import NamedTuple

from prompt_tuning.tasks.pocket.world import Cast, Draws, Person

# Cause and effect. {p} is a person.
CAUSES = tuple(
    tuple(pair.strip() for pair in line.split(">"))
    for line in """
    the rain began > {p} got wet
    {p} told a joke > everyone laughed
    the sun came out > the snow melted
    {p} ran all the way > {p} was out of breath
    the lamps went out > it was dark
    {p} worked all night > {p} fell asleep at noon
    {p} dropped the glass > the glass broke
    {p} left the gate open > the sheep ran away
    {p} had not eaten > {p} was hungry
    the wind rose > the leaves flew about
    {p} touched the stove > {p} burned a finger
    {p} won the prize > {p} was proud
    a storm came > the ships stayed in port
    {p} lost the key > {p} could not open the door
    the cat chased the mouse > the mouse hid in a hole
    {p} forgot the umbrella > {p} borrowed one
    {p} ate too much > {p} felt sick
    the river rose > the cellar was full of water
    {p} pulled the rope > the bell rang
    it was a holiday > the school was closed
    {p} heard a noise > {p} looked out of the window
    the road was icy > {p} slipped and fell
    {p} spilled the ink > there was a stain
    the baby cried > {p} sang a song
    {p} saved money > {p} bought a house
    the train was late > {p} missed the play
    {p} sneezed > someone said bless you
    the fire was low > {p} put on more wood
    {p} shouted > the birds flew off
    the bread was old > {p} gave it to the ducks
    {p} read the map wrongly > {p} came to another town
    the price of milk went up > {p} drank tea without milk
    the cake burned > {p} baked another one
    {p} planted seeds > flowers came up
    the rope broke > the boat drifted away
    {p} had a toothache > {p} went to the dentist
    the well was dry > {p} fetched water from afar
    the hat was too big > it slid over the eyes
    {p} practised every day > {p} played without a mistake
    the bees were angry > {p} was stung
    """.strip().splitlines()
)


class Frame(NamedTuple):
    """A sentence about {x} and {y}, and what tells whom a pronoun means.

    text: ends before "because {he}".
    of_x, of_y: what can be said only of {x}, or only of {y}.
    """

    text: str
    of_x: tuple[str, str]
    of_y: tuple[str, str]


def _frame(line: str) -> Frame:
    text, of_x, of_y = (part.strip() for part in line.split(">"))
    (a, b), (c, d) = (part.split(", ") for part in (of_x, of_y))
    return Frame(text, (a, b), (c, d))


FRAMES = tuple(
    _frame(line)
    for line in """
    {x} asked {y} for help > was too weak, needed it > was strong, knew how
    {x} thanked {y} > was grateful, had got a gift > had helped, was so kind
    {x} lost the race to {y} > was slow, had a sore foot > was fast, had long legs
    {x} paid {y} > had bought bread, had a debt > had baked bread, was the owner
    {x} carried {y} home > had a strong back, was not tired > was hurt, could not walk
    {x} hid from {y} > was afraid, had done wrong > was furious, had a stick
    {x} could not see behind {y} > was short, sat too low > was tall, wore a big hat
    {x} taught {y} > was a teacher, knew much > wanted to learn, was a pupil
    {x} envied {y} > had nothing, was poor > had everything, was rich
    {x} woke {y} > was up early, heard the bell > had overslept, was snoring
    {x} fed {y} > had cooked soup, had some bread > was hungry, was a baby
    {x} punished {y} > was strict, was the judge > had lied, was a thief
    {x} waited for {y} > was early, was on time > was late, walked slowly
    {x} visited {y} > had a free day, was a guest > was ill, lived alone
    {x} lent {y} a coat > had two of them, felt warm > was cold, had none
    {x} believed {y} > was trusting, doubted nothing > was honest, never lied
    {x} beat {y} at chess > played well, was clever > played badly, was a beginner
    {x} calmed {y} > was patient, spoke softly > was upset, was crying
    {x} followed {y} > was a stranger, had no map > was the guide, knew the way
    {x} scolded {y} > was in a bad mood, was annoyed > had been rude, made a mess
    """.strip().splitlines()
)


def pair(draws: Draws, cast: Cast) -> tuple[Person, Person]:
    """Two people that one pronoun can mean."""
    x = draws.zipf(cast.people)
    same = [other for other in cast.people if other.he == x.he and other != x]
    return x, draws.zipf(same)


def because(frame: Frame, x: Person, y: Person, reason: str, pronoun: str = "") -> str:
    """The frame's sentence with its reason."""
    text = frame.text.format(x=x.name, y=y.name)
    return f"{text} because {pronoun or x.he} {reason}"


def pronouns(draws: Draws, cast: Cast) -> str:
    """A sentence with a pronoun, and who is meant."""
    frame, (x, y) = draws.zipf(FRAMES), pair(draws, cast)
    of_x = draws.chance(0.5)
    reason = draws.one(frame.of_x if of_x else frame.of_y)
    meant = (x if of_x else y).name
    other = draws.one(frame.of_y if of_x else frame.of_x)
    unlike = (y if of_x else x).name
    first = draws.one(
        (
            f"who {reason}? {meant}.",
            f"{meant} {reason}.",
            f"that is, {meant} {reason}.",
            f"{meant} is meant.",
            f"who is meant by {x.he}? {meant}.",
        )
    )
    second = draws.one(
        (
            f"{because(frame, x, y, other)}. who {other}? {unlike}.",
            f"{because(frame, x, y, other)}. who is meant by {x.he}? {unlike}.",
            f"it was not {unlike} who {reason}.",
            f"{unlike} {other}.",
        )
    )
    return f"{because(frame, x, y, reason)}. {first} {second}"


_LINKS = (
    "{cause}, so {effect}.",
    "{effect} because {cause}.",
    "why was it that {effect}? because {cause}.",
    "{cause}. what came of it? {effect}.",
    "{effect}. what was the cause? {cause}.",
    "{cause}. the effect was that {effect}.",
    "{effect}. the reason was that {cause}.",
)
_WHICH = ("which of the two is it?", "which one is true?", "which was it?")


def causes(draws: Draws, cast: Cast) -> str:
    """Two causes with their effects."""
    p, q = (person.name for person in draws.several(cast.people, 2))
    pairs = draws.several(CAUSES, 2)
    return " ".join(
        draws.one(_LINKS).format(
            cause=cause.format(p=name), effect=effect.format(p=name)
        )
        for name, (cause, effect) in zip((p, q), pairs, strict=True)
    )


def alternative(draws: Draws, cast: Cast, first: bool) -> tuple[str, str]:
    """Asks which of two sentences is a cause or an effect; and that sentence.

    Args:
      first: whether the right one comes first.
    """
    (cause, effect), (other_cause, other_effect) = draws.several(CAUSES, 2)
    if draws.chance(0.5):
        given, right, wrong = cause, effect, other_effect
        link = draws.one(("what came of it?", "what was the effect?", "and then?"))
    else:
        given, right, wrong = effect, cause, other_cause
        link = draws.one(("why?", "what was the cause?", "what was the reason?"))
    p = draws.zipf(cast.people).name
    given, right, wrong = (text.format(p=p) for text in (given, right, wrong))
    either = "either {} or {}.".format(*((right, wrong) if first else (wrong, right)))
    told = [f"{given}. {link}", either]
    return " ".join([*draws.shuffled(told), draws.one(_WHICH)]), right


def alternatives(draws: Draws, cast: Cast) -> str:
    """Which of two sentences is a cause or an effect, the first or the second?"""
    first = draws.chance(0.5)
    told, right = alternative(draws, cast, first)
    choose = draws.one(("the {}.", "the {}.", "{}.", "the {} is true."))
    return f"{told} {choose.format('first' if first else 'second')} {right}."
