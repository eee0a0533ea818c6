"""Makes pocket_english and its vocabulary from a corpus of plain text, in the package.

    PYTHONPATH=. python scripts/english_models.py CORPUS

It is pre-trained in runs/english, by gin/models/pocket_english.gin and
gin/runs/pretrain_english.gin; started again, it resumes. The weights are kept after
span corruption (_lm0) and at the end, in int8.
"""

import argparse
import functools
from pathlib import Path

import english_vocabulary
import pocket_models

from prompt_tuning.frozen import weights

NAME = "pocket_english"
POINTS = {"span_corruption": "_lm0", "frozen": ""}  # as in pocket_models


def main() -> None:
    """Makes what is missing of the vocabulary and the model, then stores both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--work", type=Path, default=Path("runs/english"))
    parser.add_argument("--output", type=Path, default=weights.POCKET / "english")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    folder = args.work / "model"
    vocabulary = args.work / "vocabulary" / weights.VOCABULARY
    train = functools.partial(english_vocabulary.train, args.corpus)
    pocket_models.write_vocabulary(vocabulary, train)
    corpus = f"--gin.pretrain.corpus={args.corpus}"
    pocket_models.pretrain(NAME, "pretrain_english", folder, vocabulary, corpus)
    for point, suffix in POINTS.items():
        output = args.output / f"{NAME}{suffix}.safetensors"
        pocket_models.store(folder / f"{point}.safetensors", output, vocabulary)


if __name__ == "__main__":
    main()
