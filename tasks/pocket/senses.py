"""Words of two senses. Which one is meant, only the sentence around the word tells."""

from typing import NamedTuple

from prompt_tuning.tasks.pocket.world import Cast, Draws


class Sense(NamedTuple):
    """What a word means, and sentences in which it means that; {p} is a person."""

    meaning: str
    uses: tuple[str, ...]


def _sense(text: str) -> Sense:
    meaning, *uses = text.split(" > ")
    return Sense(meaning, tuple(uses))


def _word(entry: str) -> tuple[str, tuple[Sense, Sense]]:
    """Reads "word / meaning > use > use / meaning > use > use"."""
    word, one, two = " ".join(entry.split()).split(" / ")
    return word, (_sense(one), _sense(two))


SENSES = dict(
    _word(entry)
    for entry in """
    bank / a shore > {p} fished from the bank > reeds grew on the bank > the boat
      lay by the bank / a money house > {p} put coins in the bank > the bank lent
      {p} money > the bank closed at noon;
    bat / an animal > the bat flew at night > a bat hung in the cave > {p} saw the
      wings of a bat / a stick > {p} hit the ball with a bat > the bat was made of
      ash > {p} swung the bat;
    ring / a jewel > {p} wore a ring > the ring was gold > {p} put the ring on a
      finger / a sound > {p} heard the ring of the bell > the ring woke {p} > a loud
      ring came from the phone;
    spring / a season > flowers bloom in spring > {p} sowed in spring > after winter
      came spring / a source > {p} drank from the spring > the spring ran dry >
      water came from the spring;
    nail / a metal pin > {p} drove in the nail > the nail held the board > {p} hung
      the coat on a nail / part of a finger > {p} bit a nail > the nail grew long >
      {p} cut the nail with scissors;
    match / a game > {p} won the match > the match ended at three > {p} played in
      the match / a fire stick > {p} lit a match > the match burned down > a wet
      match does not burn;
    letter / a written note > {p} posted the letter > the letter came by mail > {p}
      sealed the letter / a written sign > the word has one letter > {p} spelled
      each letter > a is a letter;
    seal / an animal > the seal swam away > a seal ate the fish > {p} saw a seal on
      the rocks / a wax stamp > {p} broke the seal > the seal was of red wax > the
      king set his seal on it;
    trunk / a wooden box > {p} packed the trunk > clothes lay in the trunk > the
      trunk had a lock / a tree's stem > {p} sawed the trunk > moss grew on the
      trunk > the trunk was hollow oak;
    bark / a dog's cry > the bark scared {p} > {p} heard a bark > the bark of the
      hound was loud / a tree's skin > {p} peeled the bark > the bark of the birch
      is white > beetles live in bark;
    crane / a bird > the crane stood in the marsh > a crane laid an egg > the crane
      flew south / a machine > the crane lifted the stones > {p} worked the crane >
      the crane raised the beam;
    pitcher / a jug > {p} filled the pitcher > milk was in the pitcher > the pitcher
      had a handle / a thrower > the pitcher threw the ball > {p} is the best
      pitcher > the pitcher missed;
    mole / an animal > the mole dug a tunnel > a mole is blind > the mole ate a worm
      / a skin spot > {p} had a mole on the cheek > the mole was brown > a doctor
      saw the mole;
    bow / a ribbon > {p} tied a bow > the bow was of silk > a red bow was in her
      hair / a weapon > {p} shot with the bow > the bow bent > an arrow flew from
      the bow;
    palm / a tree > dates grew on the palm > the palm shaded {p} > a palm stood in
      the desert / part of a hand > {p} held it in the palm > the palm was sore >
      {p} read the lines of the palm;
    star / a light in the sky > {p} saw a star at night > the star shone > a star
      fell from the sky / a famous actor > {p} met the star of the film > the star
      signed a photo > fans cheered the star;
    jam / fruit in a jar > {p} spread jam on bread > the jam was sweet > {p} cooked
      plum jam / stopped traffic > {p} sat in the jam > the jam blocked the road >
      cars stood in a jam;
    park / a garden > {p} walked in the park > ducks live in the park > the park had
      old trees / to leave a car > {p} could not park > you must not park at the
      gate > it is hard to park a truck;
    wave / moving water > the wave hit the rocks > {p} swam over a wave > a wave
      tipped the boat / a greeting > {p} gave a wave > a wave of the hand said
      goodbye > she answered with a wave;
    glasses / for seeing > {p} wore glasses > the glasses were for reading > {p}
      could not see without glasses / for drinking > {p} filled the glasses > wine
      was in the glasses > they raised their glasses;
    note / a sound > {p} sang a high note > the note was flat > the flute played a
      note / a short text > {p} left a note > the note said hello > {p} wrote a note
      on paper;
    mouse / an animal > the cat caught a mouse > a mouse ate the cheese > the mouse
      ran into its hole / part of a computer > {p} clicked the mouse > the mouse had
      a cable > {p} moved the mouse on the desk;
    scale / a fish's skin > {p} scraped off a scale > the scale of the carp shone >
      each scale was silver / for weighing > {p} stood on the scale > the scale
      showed two pounds > flour lay on the scale
    """.split(";")
)
WORDS = tuple(SENSES)


def use(draws: Draws, cast: Cast, sense: Sense) -> str:
    """A sentence with the word in this sense, without its full stop."""
    return draws.one(sense.uses).format(p=draws.zipf(cast.people).name)


_SAME = (
    "both mean {a}.",
    "it is the same sense, {a}.",
    "do both mean the same? yes.",
    "is it the same sense? yes, {a}.",
    "the word means the same in both. that is true.",
)
_OTHER = (
    "one is {a}, the other {b}.",
    "it is not the same sense.",
    "do both mean the same? no.",
    "is it the same sense? no, {a} and {b}.",
    "the word means the same in both. that is false.",
)


def meanings(draws: Draws, cast: Cast) -> str:
    """Sentences with a word of two senses, and what it means in them."""
    word = draws.zipf(WORDS)
    one, two = (draws.one(SENSES[word]) for _ in range(2))
    a, b = (use(draws, cast, sense) for sense in (one, two))
    if draws.chance(0.4):
        ask = draws.one(("what does {w} mean here?", "what is meant by {w}?"))
        ask = ask.format(w=word)
        return f"{a}. {ask} {one.meaning}. {b}. {ask} {two.meaning}."
    judge = draws.one(_SAME if one == two else _OTHER)
    lead = draws.one(("", f"take the word {word}. ", f"think of {word}. "))
    return f"{lead}{a}. {b}. {judge.format(a=one.meaning, b=two.meaning)}"
