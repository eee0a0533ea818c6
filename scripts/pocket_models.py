"""Makes the embedded vocabulary and models from nothing, in the package.

    make pocket        or        PYTHONPATH=. python scripts/pocket_models.py

Each size is pre-trained in runs/pocket/SIZE, by gin/models/pocket_SIZE.gin and
gin/runs/pretrain.gin; started again, it resumes. Of each the weights are kept after
span corruption (_lm0), after 10 and 50% of LM adaptation, and at the end, in int8.
"""

import argparse
import json
from collections.abc import Callable
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


def write_vocabulary(path: Path, train: Callable[[], bytes]) -> None:
    """Trains a vocabulary, unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with outputs.atomic(path) as temporary:
            temporary.write_bytes(train())


def pretrain(name: str, recipe: str, work: Path, vocabulary: Path, *more: str) -> None:
    """Pre-trains a model, from its last state if there is one.

    Args:
      name, recipe: of its gin file, and of the run's.
    """
    code = cli.main(
        [
            "pretrain",
            f"--gin_file=gin/models/{name}.gin",
            f"--gin_file=gin/runs/{recipe}.gin",
            f"--gin.MODEL_DIR={work}",
            f"--gin.VOCABULARY={vocabulary}",
            *more,
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
    args.output.mkdir(parents=True, exist_ok=True)
    vocabulary = args.work / weights.VOCABULARY
    write_vocabulary(vocabulary, pocket_vocabulary.train)
    for size in args.sizes:
        name, folder = f"pocket_{size}", args.work / size
        pretrain(name, "pretrain", folder, vocabulary)
        for point, suffix in POINTS.items():
            output = args.output / f"{name}{suffix}.safetensors"
            store(folder / f"{point}.safetensors", output, vocabulary)


if __name__ == "__main__":
    main()
