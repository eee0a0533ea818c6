"""Trains the pocket vocabulary on generated text and writes it into the package.

    PYTHONPATH=. python scripts/pocket_vocabulary.py

The result depends only on this file and tasks/pocket/. Run it again whenever the
world's text changes, and then pre-train the pocket models again.
"""

import argparse
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from prompt_tuning.frozen import vocabulary
from prompt_tuning.tasks import pocket

OUTPUT = Path("prompt_tuning/pocket/spiece.model")
VOCAB_SIZE = 2716  # with the 100 sentinels of T5 (extra_ids), 2816
DOCUMENTS = 60_000
SEED = 2

# The world's own text needs about 1,700 pieces. These words and word parts, common in
# English and rare in the world, fill the rest, so that other text needs fewer pieces.
ENGLISH = """
about above accept according account across act action active actually add after
against age agree ago air allow almost along already also although american among
amount analysis another answer any anything appear apply approach area argue around
arrive art article ask attack attention available avoid away back bad bank base
because become before begin behind believe below benefit better between beyond big
billion black blood blue board body book both bring brother brown build building
business call campaign can cannot capital car care career carry case catch cause
central century certain chance change character charge check child choice choose
church citizen city claim class clear close company compare computer concern
condition consider contain continue control cost could country couple course court
cover create crime culture cup current daughter dead deal death debate decade decide
decision deep defense degree describe design despite detail develop development did
die difference different difficult dinner direct discover discuss disease doctor
does done down during each early east easy economic economy edge education effect
effort eight either election else employee end energy enjoy enough enter entire
especially establish even event ever every evidence exactly example executive exist
expect experience expert explain face fact factor fail fall family far fast father
federal feel few field fight figure fill film final finally financial fine finger
finish fire firm first five floor follow force foreign forget form former forward
four free friend from front full fund future game general generation girl give goal
god good government great green ground group grow growth guess gun half hand happen
hard head health hear heart heat help here herself high himself history hit hold
hope hospital hotel hour however huge human hundred husband idea identify image
imagine impact important improve include including increase indeed indicate
individual industry information inside instead institution interest international
interview into investment involve issue item itself job join just keep kill kitchen
know knowledge land language large late laugh law lawyer lay lead leader learn least
leave left legal less level lie life light like likely line listen little live local
long look lose loss love low machine magazine main maintain major majority make man
manage management manager many mark market marriage material matter may maybe mean
measure media medical meeting member memory mention message method middle might
military million mind minute miss mission model modern moment money month more most
mother mouth move movement movie much music must myself nation national natural
nature near nearly necessary need network never news newspaper next night nor north
note nothing notice number occur off offer office officer official often oil old once
only open operation opportunity option order organization other others our outside
over own owner page pain painting paper parent particular party pass past patient
pattern pay peace per perform perhaps period person phone physical pick picture piece
place plan player point police policy political poor popular population position
positive possible power practice prepare present president pressure pretty prevent
price private probably problem process produce product professional professor program
project property protect prove provide public pull purpose push put quality question
quickly quite race radio raise range rate rather reach read ready real reality
realize really reason receive recent recently recognize record reduce reflect region
relationship religious remain remember remove report represent require research
resource respond response rest result return reveal rich right rise risk road role
room rule run safe same save say scene science scientist score sea season seat second
section security seek seem sell send senior sense series serious serve service set
seven several shake share shoot short should shoulder show side sign significant
similar simple simply since single sister site situation six size skill skin social
society soldier some somebody someone something sometimes son soon sort sound source
south southern space speak special specific speech spend sport spring staff stage
stand standard start state statement station stay step still stock stop store story
strategy street strong structure student study stuff style subject success successful
such suddenly suffer suggest support sure surface system table talk task tax teach
teacher team technology television tell ten tend term test than thank themselves
theory these thing think third thousand threat through throughout throw thus today
together tonight total tough toward town trade traditional training travel treat
treatment trial trip trouble true truth try turn two type under understand unit until
upon use usually value various very victim view violence visit voice vote wait walk
wall war watch water way weapon week weight well west western whatever whether which
while white whole whom whose why wide wife win window wish within without woman wonder
work worker world worry would write writer wrong yard yeah year yet young your yourself
passage question hypothesis premise sentence choice query entities placeholder context
paragraph answer topic duplicate equivalent
The He She It They We In But And This That There When If What As For On At Mr New
United States American President True False yes no entailment contradiction neutral
ing ed er est ly tion sion ment ness able ible al ial ous ious ive ful less ity ty ance
ence ent ant ism ist ize ise ies es en ic ical th st nd rd re un in im dis pre pro con
com sub inter trans over
"""


def sentences() -> Iterator[str]:
    """Yields what the vocabulary is trained on: pocket text, then single words."""
    texts = list(pocket.documents(SEED, DOCUMENTS))
    yield from texts
    words = {word for text in texts for word in re.findall("[a-z]+", text)}
    names = [*pocket.THINGS.values(), *pocket.FEELINGS.values()]
    # So that the rare ones are one piece each, too.
    for _ in range(20):
        yield from sorted(words)
    for _ in range(200):
        yield from itertools.chain(*names)
    for _ in range(20):
        yield from ENGLISH.split()
        yield from map(str.capitalize, ENGLISH.split())


def train() -> bytes:
    """The serialized SentencePiece model, the same bytes on every call."""
    # Capital letters, digits and punctuation are rare in the world, but not elsewhere.
    return vocabulary.train(sentences(), VOCAB_SIZE, coverage=1.0)


def main() -> None:
    """Writes the model to --output, by default into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    output.write_bytes(train())
    print(f"{output}: {VOCAB_SIZE} pieces, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
