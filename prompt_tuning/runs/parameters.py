"""The paper's Table 4: trained and total parameters of every size."""

import dataclasses
from collections.abc import Iterator

from prompt_tuning import config
from prompt_tuning.settings import T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training.plan import count

SIZES = ("small", "base", "large", "xl", "xxl")  # gin/models
PROMPT_LENGTHS = (1, 5, 20, 50, 100, 150)  # those of Table 4


def size(name: str) -> T5Config:
    """The T5 1.1 of gin/models/NAME.gin."""
    return T5Config(**config.load([f"gin/models/{name}.gin"]).model)


def table() -> Iterator[str]:
    """Lines of the paper's Table 4: trained and total parameters at each length."""
    yield f"{'T5 1.1':<7}{'prompt':>7}{'trained':>10}{'all':>17}{'trained, %':>12}"
    for name in SIZES:
        # Tracing one scanned layer is quicker than all, and gives the same count.
        model = Transformer(dataclasses.replace(size(name), scan_layers=True))
        frozen = count(model)
        for length in PROMPT_LENGTHS:
            prompt = length * model.config.emb_dim
            total = frozen + prompt
            percent = 100 * prompt / total
            yield f"{name:<7}{length:>7}{prompt:>10,}{total:>17,}{percent:>12.5f}"
