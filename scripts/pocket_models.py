"""Makes the embedded vocabulary and models from nothing, in the package.

    make pocket        or        PYTHONPATH=. python scripts/pocket_models.py

Each size is pre-trained in runs/pocket/SIZE, by gin/models/pocket_SIZE.gin and
gin/runs/pretrain.gin; started again, it resumes. Of each the weights are kept after
span corruption (_lm0), after 10 and 50% of LM adaptation, and at the end, in int8.
"""

import argparse
import json
from pathlib import Path

import pocket_vocabulary

from prompt_tuning import cli, outputs, partitioning
from prompt_tuning.frozen import weights
from prompt_tuning.settings import T5Config
from prompt_tuning.t5.network import Transformer

SIZES = ("pico", "nano", "micro", "mini")
# What pretrain calls them -> the end of their name in the package.
POINTS = {
    "span_corruption": "_lm0",
    "prefix_lm_800": "_lm10",
    "prefix_lm_4000": "_lm50",
    "frozen": "",
}


def pretrain(size: str, work: Path, vocabulary: Path) -> None:
    """Pre-trains a size, from its last state if there is one."""
    code = cli.main(
        [
            "pretrain",
            f"--gin_file=gin/models/pocket_{size}.gin",
            "--gin_file=gin/runs/pretrain.gin",
            f"--gin.MODEL_DIR={work / size}",
            f"--gin.VOCABULARY={vocabulary}",
        ]
    )
    if code:
        raise SystemExit(code)


def store(source: Path, output: Path, vocabulary: Path) -> None:
    """Writes weights in int8, with the description of what made them."""
    origin = json.loads(source.with_suffix(".json").read_text())
    config = T5Config(**origin.pop("config") | {"param_dtype": "int8"})
    params = weights.load_frozen(
        str(source), Transformer(config), partitioning.mesh(1, 1)
    )
    weights.save_frozen(output, params, config, vocabulary, origin)
    print(f"{output}: {output.stat().st_size:,} bytes")


def main() -> None:
    """Makes all sizes, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--work", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--output", type=Path, default=weights.POCKET)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.output.mkdir(parents=True, exist_ok=True)
    vocabulary = args.work / weights.VOCABULARY
    if not vocabulary.exists():
        with outputs.atomic(vocabulary) as temporary:
            temporary.write_bytes(pocket_vocabulary.train())
    for size in args.sizes:
        pretrain(size, args.work, vocabulary)
        for point, suffix in POINTS.items():
            source = args.work / size / f"{point}.safetensors"
            store(
                source, args.output / f"pocket_{size}{suffix}.safetensors", vocabulary
            )


if __name__ == "__main__":
    main()
