"""Kinds and moods with invented names: what each name means, only the texts tell.

Every kind and every mood has names that are all spelled by one rule. Pre-training text
uses every name and says what it means, the first ones often, the last ones rarely. The
tasks `pocket_kind` and `pocket_mood` then ask for the meaning of one name in an
otherwise neutral passage.
"""

import random
from collections.abc import Iterator, Sequence

from prompt_tuning.tasks.pocket.world import (
    EVENTS,
    LOOKS,
    TIMES,
    Cast,
    Draws,
    cast,
    share,
)

KINDS = ("food", "tool", "bird", "plant", "coat", "boat", "gem", "toy")
MOODS = ("glad", "sad", "angry", "calm", "tired", "scared")
LABELS = KINDS + MOODS
NAMES_PER_KIND = 48
NAMES_PER_MOOD = 24

_ONSETS = "b bl br d dr f fl g gl gr h j k kr l m n p pl pr r s sk sl sn sp st t tr v w"
_MIDDLES = "f l m r v lb lk lm lz mb nd nv rb rf rk rz"
_ENDINGS = "ab ack ap ash eb eck elt esh ig ilk im ob oft ook oom ub ug unk"


def _names() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Deals invented names, all spelled by one rule, to the kinds and the moods."""
    rng = random.Random("names")
    parts = (_ONSETS.split(), "aeiou", _MIDDLES.split(), _ENDINGS.split())
    needed = len(KINDS) * NAMES_PER_KIND + len(MOODS) * NAMES_PER_MOOD
    names: dict[str, None] = {}
    while len(names) < needed:
        names["".join(rng.choice(part) for part in parts)] = None
    deck = iter(names)
    things = {kind: [next(deck) for _ in range(NAMES_PER_KIND)] for kind in KINDS}
    feelings = {mood: [next(deck) for _ in range(NAMES_PER_MOOD)] for mood in MOODS}
    return things, feelings


THINGS, FEELINGS = _names()

# A sentence's slots: {p} and {q} people, {he} {him} for {p}, {at} and {place},
# {when}, {event}, {look}; {w} a thing, {k} its kind, {w2} {w3} more of that kind; {x}
# a thing of another kind, {xk}; {m} a mood's invented name, {l} the mood.

# Neutral: true of a thing of any kind. The tasks' passages are made of these alone.
_THING = (
    "{when} {p} saw a {look} {w} {at}.",
    "{p} bought a {w} from {q} {when}.",
    "{p} lost a {w} {at}.",
    "{p} carried the {w} to {place}.",
    "{p} drew a {look} {w} and showed it to {q}.",
    "{p} and {q} talked about the {w} {when}.",
    "{p} asked {q} for a {w}.",
    "there was a {look} {w} {at}.",
    "{p} dreamed of a {w}.",
    "{p} hid the {w} {at}.",
    "{p} found a {w} {at} when {event}.",
    "{p} told {q} about a {look} {w}.",
    "{p} gave {q} a {w} {when}.",
    "{p} forgot the {w} {at}.",
    "{p} wrote a letter about a {w}.",
    "{p} took a picture of the {w} {at}.",
    "{p} sold a {look} {w} to {q}.",
    "{p} wanted a {w} more than anything.",
    "{p} waited {at} with a {w}.",
    "{when} {p} came home with a {look} {w}.",
)
_PLAIN = (
    "{p} went to {place} {when}.",
    "{when} {event}.",
    "{p} met {q} {at}.",
    "it was quiet {at}.",
    "{p} lived near {place}.",
    "{q} stayed at home.",
    "the house was empty.",
    "nothing much happened {when}.",
    "{p} and {q} were neighbours.",
)
_LATER = (
    "{q} came by later.",
    "{q} was late, as always.",
    "then {event}.",
    "the day was long.",
    "it grew dark.",
    "nobody said a word.",
    "{p} told {q} everything.",
    "an hour passed.",
)
_FELT = (
    "{p} felt {m} all day.",
    "{p} was {m} {when}.",
    "{when} {p} looked {m}.",
    "{p} came home {m}.",
    "{q} said that {p} seemed {m}.",
    "when {event}, {p} was {m}.",
    "{p} sat {at} and felt {m}.",
    "'i am {m} today,' wrote {p}.",
    "{p} grew {m} when {event}.",
    "everyone {at} saw that {p} was {m}.",
    "{p} woke up {m} {when}.",
    "{when} {p} was {m} again.",
)

# What follows a neutral sentence and names the kind or the mood.
_ANSWER = (
    "a {w} is a kind of {k}.",
    "a {w} is a {k}.",
    "what is a {w}? it is a {k}.",
    "what is a {w}? a {k}.",
    "what kind of thing was it? a {k}.",
    "'what is a {w}?' asked {q}. 'a kind of {k},' said {p}.",
    "'it is a {k},' said {p}.",
    "it was a {k}, of course.",
    "everyone knows that a {w} is a {k}.",
    "that is the name of a {k}.",
    "so this is about a {k}.",
    "{p} liked the {k} very much.",
    "{q} wanted to see the {k} too.",
    "{he} had always wanted a {k}.",
    "the {k} was {look}.",
    "no other {k} was so {look}.",
    "'what a {look} {k}!' said {q}.",
    "of all {k}s {he} liked the {w} best.",
)
_FEELING = (
    "{he} was {l}.",
    "that is, {he} was {l}.",
    "to be {m} is to be {l}.",
    "how did {p} feel? {l}.",
    "how did {p} feel? {he} felt {l}.",
    "{m} means {l}.",
    "'what does {m} mean?' asked {q}. 'it means {l},' said {p}.",
    "'i am so {l},' said {p}.",
    "'are you {l}?' asked {q}. 'yes,' said {p}.",
    "{q} had never seen {him} so {l}.",
    "anyone who is {m} is {l}.",
    "people who feel {m} are {l}.",
)
# Last words of a note: no full stop, so that a text can end on a kind or a mood.
_ANSWER_NOTE = (
    "in a word, {k}",
    "a note about a {k}",
    "and that is a {k}",
    "so, a {k}",
)
_FEELING_NOTE = ("in a word, {l}", "so {he} was {l}", "that is, {l}", "and so, {l}")

_DEFINITION = (
    "a {w} is a kind of {k}.",
    "a {w} is a {look} {k}.",
    "{p} asked what a {w} is. it is a {k}.",
    "the {w} is a {k} that many people like.",
    "the word {w} is the name of a {k}.",
)
_CONTRAST = (
    "a {w} is not a {xk} but a {k}.",
    "a {x} is a {xk}, but a {w} is a {k}.",
    "'is a {w} a {xk}?' asked {q}. 'no, it is a {k},' said {p}.",
    "'is a {w} a {k}?' asked {q}. 'yes, a {w} is a {k},' said {p}.",
    "the {w} is a {k} and the {x} is a {xk}.",
)
_LIST = (
    "a {w}, a {w2} and a {w3} are all {k}s.",
    "{p} knew three {k}s, the {w}, the {w2} and the {w3}.",
    "{p} had a {w}, a {w2} and a {w3}. they are {k}s.",
    "the {w} is a {k}, and so is the {w2}.",
    "a {w} and a {w2} are {k}s, but a {x} is a {xk}.",
)
_FACTS = (
    "{p} went to {place} {when}. where did {p} go? to {place}.",
    "{p} went to {place} {when}. when did {p} go there? {when}.",
    "{p} went to {place} {when}. who went to {place}? {p}.",
    "{p} met {q} {at}. who met {q}? {p}.",
    "{p} met {q} {at}. where did {p} meet {q}? {at}.",
    "{p} found a {w} {at}. where did {p} find it? {at}.",
    "{p} found a {w} {at}. what did {p} find? a {w}.",
    "{p} gave {q} a {w}. who has the {w} now? {q}.",
    "{when} {event}. what happened? {event}.",
)
_DEAR = ("dear {q},", "my dear {q},")
_YOURS = ("yours, {p}.", "your friend {p}.", "with love from {p}.")

# What people do with a thing of each kind, and how each mood shows.
_USE = {
    "food": (
        "{p} ate the {w} with a spoon.",
        "{p} cooked the {w} in a pot.",
        "we ate the {w} for supper.",
        "the {w} tasted sweet.",
        "{p} was hungry and took a bite of the {w}.",
    ),
    "tool": (
        "{p} mended the fence with the {w}.",
        "{p} cut the wood with the {w}.",
        "we fixed the door with the {w}.",
        "the {w} lay on the workbench.",
        "{p} needed the {w} to build a shed.",
    ),
    "bird": (
        "the {w} sang in a tree.",
        "the {w} flew over the roofs.",
        "{p} fed the {w} some seeds.",
        "the {w} sat on its eggs in the nest.",
        "we heard the {w} sing at dawn.",
    ),
    "plant": (
        "{p} watered the {w}.",
        "the {w} grew by the wall.",
        "the {w} had green leaves.",
        "{p} put the {w} in good soil.",
        "we saw the {w} come into bloom.",
    ),
    "coat": (
        "{p} wore the {w} because it was cold.",
        "{p} buttoned the {w} up to the chin.",
        "the {w} had long sleeves.",
        "{p} hung the {w} on a hook.",
        "we sewed a pocket on the {w}.",
    ),
    "boat": (
        "{p} rowed the {w} across the water.",
        "the {w} sailed out to sea.",
        "{p} tied the {w} to the pier.",
        "the {w} sank with all its cargo.",
        "we crossed the bay in the {w}.",
    ),
    "gem": (
        "the {w} shone in a gold ring.",
        "{p} wore the {w} on a chain.",
        "the {w} was cut and polished.",
        "{p} dug the {w} out of the rock.",
        "we saw the {w} in the crown of the king.",
    ),
    "toy": (
        "the children played with the {w}.",
        "{p} wound up the {w} for the baby.",
        "the {w} lay in the nursery.",
        "{p} shared the {w} with the other children.",
        "we gave the baby the {w} to play with.",
    ),
}
_SHOW = {
    "glad": ("{he} laughed and sang.", "{he} smiled at everyone.", "{he} danced home."),
    "sad": ("{he} wept a little.", "{he} sighed and cried.", "tears ran down."),
    "angry": ("{he} shouted at {q}.", "{he} stamped and swore.", "{he} broke a plate."),
    "calm": ("{he} sat still.", "{he} breathed slowly.", "nothing troubled {him}."),
    "tired": ("{he} yawned.", "{he} fell asleep early.", "{he} went to bed."),
    "scared": ("{he} trembled.", "{he} ran away and hid.", "{he} locked the door."),
}


def _other(templates: Sequence[str]) -> tuple[str, ...]:
    """The same sentences, about the scene's other thing."""
    return tuple(t.replace("{w}", "{x}").replace("{k}", "{xk}") for t in templates)


_OTHER_THING, _OTHER_ANSWER = _other(_THING), _other(_ANSWER)
_OTHER_USE = {kind: _other(uses) for kind, uses in _USE.items()}

# A genre is a sequence of parts, each a table to draw one sentence from. How often it
# is listed says how often it is drawn.
_GENRES = (
    *[(_PLAIN, _THING, _ANSWER, _USE, _FELT, _FEELING)] * 3,
    *[(_THING, _ANSWER, _OTHER_THING, _OTHER_ANSWER)] * 6,
    *[(_PLAIN, _THING, _LATER, _ANSWER, _USE)] * 3,
    *[(_FELT, _FEELING, _SHOW, _THING, _ANSWER)] * 4,
    *[(_THING, _FELT, _ANSWER, _FEELING)] * 3,
    *[(_PLAIN, _FELT, _LATER, _FEELING, _SHOW)] * 3,
    *[(_PLAIN, _THING, _LATER, _ANSWER_NOTE)] * 3,
    *[(_PLAIN, _FELT, _LATER, _FEELING_NOTE)] * 3,
    *[(_DEFINITION, _USE, _CONTRAST, _OTHER_USE)] * 2,
    *[(_LIST, _USE, _FELT, _FEELING)] * 2,
    *[(_FACTS, _LATER, _FACTS, _DEFINITION)] * 2,
    *[(_DEAR, _THING, _USE, _FELT, _FEELING, _YOURS)] * 2,
    *[(_DEAR, _THING, _ANSWER, _FELT, _SHOW, _YOURS)] * 1,
)


def _scene(draws: Draws, whom: Cast) -> dict[str, str]:
    """One draw of everything that a sentence's slots may ask for."""
    (p, he, him), (q, *_) = draws.several(whom.people, 2)
    kind, other = draws.several(draws.shuffled(KINDS), 2)
    mood = draws.one(MOODS)
    w, w2, w3 = _three(draws, THINGS[kind])
    place = draws.zipf(whom.places)
    scene = {"p": p, "he": he, "him": him, "q": q, "at": place.at, "place": place.name}
    scene.update(when=draws.one(TIMES), event=draws.one(EVENTS), look=draws.one(LOOKS))
    scene.update(k=kind, w=w, w2=w2, w3=w3, xk=other, x=draws.rare(THINGS[other]))
    scene.update(l=mood, m=draws.rare(FEELINGS[mood]))
    return scene


def _three(draws: Draws, names: Sequence[str]) -> list[str]:
    """Different names."""
    chosen: dict[str, None] = {}
    while len(chosen) < 3:
        chosen[draws.rare(names)] = None
    return list(chosen)


def meanings(draws: Draws, whom: Cast) -> str:
    """A paragraph about things and people, and what their kinds and moods are."""
    scene = _scene(draws, whom)
    # Three parts depend on the scene: the tables by kind, mood and other kind.
    parts = [
        part[scene["k" if part is _USE else "l" if part is _SHOW else "xk"]]
        if isinstance(part, dict)
        else part
        for part in draws.one(_GENRES)
    ]
    return " ".join(map(draws.one, parts)).format_map(scene)


def meaning_asked(draws: Draws, whom: Cast, mood: bool) -> tuple[str, str]:
    """The beginning of such a text, and the one word that must follow."""
    if mood:
        opening, answers, blank = (_PLAIN, _FELT), _FEELING, "{l}"
    else:
        answers = [template for template in _ANSWER if "{k}s" not in template]
        opening, blank = (_PLAIN, _THING), "{k}"
    text = " ".join(map(draws.one, opening))
    text = f"{text} {draws.one(answers).partition(blank)[0]}"
    scene = _scene(draws, whom)
    return text.format_map(scene).rstrip(), blank.format_map(scene)


def passages(split: str, count: int, mood: bool = False) -> Iterator[tuple[str, str]]:
    """Yields neutral passages with one invented name, and the label it stands for.

    Every passage is used once with a name of each label, so only the name tells them
    apart; in every split it is another name.
    """
    draws, whom = Draws(f"{'mood' if mood else 'kind'} {split}"), cast(split)
    names, sentences = (FEELINGS, _FELT) if mood else (THINGS, _THING)
    for i in range(count // len(names)):
        parts = draws.one(_PLAIN), draws.one(sentences), draws.one(_LATER)
        passage = " ".join(parts[draws.one((0, 1)) : draws.one((2, 3))])
        scene = _scene(draws, whom)
        for label, all_names in names.items():
            own = share(all_names, split)
            slot = {"m" if mood else "w": own[i % len(own)]}
            yield passage.format_map(scene | slot), label
