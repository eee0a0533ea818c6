"""Makes pocket_english and its vocabulary from a corpus of plain text, in the package.

    PYTHONPATH=. python scripts/english_models.py CORPUS

It is pre-trained in runs/english, by gin/models/pocket_english.gin and
gin/runs/pretrain_english.gin; started again, it resumes. The weights are kept after
span corruption (_lm0) and at the end, in int8.
"""

import argparse
from pathlib import Path

import english_vocabulary
from pocket_models import store

from prompt_tuning import cli, outputs
from prompt_tuning.frozen import weights

POINTS = {"span_corruption": "_lm0", "frozen": ""}  # as in pocket_models


def main() -> None:
    """Makes what is missing of the vocabulary and the model, then stores both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--work", type=Path, default=Path("runs/english"))
    parser.add_argument("--output", type=Path, default=weights.POCKET / "english")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.output.mkdir(parents=True, exist_ok=True)
    vocabulary = args.work / "vocabulary" / weights.VOCABULARY
    if not vocabulary.exists():
        vocabulary.parent.mkdir(exist_ok=True)
        with outputs.atomic(vocabulary) as temporary:
            temporary.write_bytes(english_vocabulary.train(args.corpus))
    code = cli.main(
        [
            "pretrain",
            "--gin_file=gin/models/pocket_english.gin",
            "--gin_file=gin/runs/pretrain_english.gin",
            f"--gin.MODEL_DIR={args.work / 'model'}",
            f"--gin.pretrain.corpus={args.corpus}",
            f"--gin.VOCABULARY={vocabulary}",
        ]
    )
    if code:
        raise SystemExit(code)
    for point, suffix in POINTS.items():
        output = args.output / f"pocket_english{suffix}.safetensors"
        store(args.work / "model" / f"{point}.safetensors", output, vocabulary)


if __name__ == "__main__":
    main()
