"""Trains the vocabulary of pocket_english on a corpus of plain text.

    PYTHONPATH=. python scripts/english_vocabulary.py CORPUS \
        --output=runs/spiece.model

CORPUS is what pretrain.corpus takes: files, folders or globs of .txt and .txt.xz. The
result depends only on these files and on this one.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from prompt_tuning import outputs
from prompt_tuning.frozen import vocabulary
from prompt_tuning.training import corpus

VOCAB_SIZE = 8_092  # with the 100 sentinels of T5 (extra_ids), 8192
EVERY = 8  # of so many paragraphs one is read: a sample of some 40 MB is enough
LONGEST = 4_000  # characters of a sentence; SentencePiece leaves out what is longer


def sentences(names: Sequence[str]) -> Iterator[str]:
    """Yields a sample of the corpus, in pieces that SentencePiece takes."""
    paragraphs = corpus.paragraphs(corpus.find(names))
    for _, text in itertools.islice(paragraphs, 0, None, EVERY):
        for start in range(0, len(text), LONGEST):
            yield text[start : start + LONGEST]


def train(names: Sequence[str]) -> bytes:
    """The serialized SentencePiece model, the same bytes on every call."""
    return vocabulary.train(
        sentences(names),
        VOCAB_SIZE,
        coverage=0.99998,  # letters of other languages are too rare for a piece
        max_sentence_length=4 * LONGEST,  # bytes
    )


def main() -> None:
    """Writes the model to --output."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    with outputs.atomic(args.output) as temporary:
        temporary.write_bytes(train(args.corpus))
    print(f"{args.output}: {VOCAB_SIZE} pieces, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
