"""The options of methods: for METHOD=NAME, the section NAME of the settings.

A method without options has no section. Settings (settings.py) holds those there are.
"""

import dataclasses

from prompt_tuning.sections import Section, setting


@dataclasses.dataclass(frozen=True)
class Lora(Section):
    """Low-rank changes of queries and values; PEFT's defaults."""

    SECTION = "lora"
    rank: int = setting(8, "r, columns of A and rows of B", least=1, most=10**5)
    alpha: float = setting(8.0, "the changes are multiplied by alpha / r", least=0)


@dataclasses.dataclass(frozen=True)
class Adapters(Section):
    """Bottlenecks after the parts of a layer."""

    SECTION = "adapters"
    kind: str = setting(
        "houlsby",
        "houlsby, after self-attention and after the MLP; or pfeiffer, after the MLP "
        "alone",
        choices=("houlsby", "pfeiffer"),
    )
    width: int = setting(
        64, "of the bottleneck (Houlsby et al., 2019)", least=1, most=10**5
    )


@dataclasses.dataclass(frozen=True)
class PrefixTuning(Section):
    """Keys and values in front of each layer's own; PROMPT_LENGTH is their number."""

    SECTION = "prefix_tuning"
    mlp: bool = setting(
        True,
        "make them with an MLP while training; False trains them themselves, as "
        "P-tuning v2 does",
    )
    hidden: int = setting(
        800, "width of the MLP (Li and Liang, 2021)", least=1, most=10**6
    )
    zero: bool = setting(False, "start with keys and values of zero")


@dataclasses.dataclass(frozen=True)
class Warp(Section):
    """A prompt at any places, and output rows of the label words."""

    SECTION = "warp"
    places: list[int] | tuple[int, ...] = setting(
        (),
        "the number of the input token that each vector stands before, -1: before the "
        "input's EOS; by default all as PROMPT_PLACE says",
    )


@dataclasses.dataclass(frozen=True)
class Dept(Section):
    """A shorter prompt, and a low-rank shift of the embedded input.

    With a prompt of 40 the defaults have as many parameters as one of 100 on T5 Base.
    """

    SECTION = "dept"
    rank: int = setting(45, "r, columns of A and rows of B", least=1, most=10**5)
    positions: int = setting(
        256,
        "S, rows of A: tokens of the input that are shifted, the first ones",
        least=1,
        most=10**6,
    )
    rate: float = setting(
        0.002,
        "the learning rate of A and B as a share of schedule.learning_rate; the paper "
        "has 1e-4 to 5e-3 for them beside 0.3 to 0.5",
        least=1e-6,
    )


SECTIONS: tuple[type[Section], ...] = (Lora, Adapters, PrefixTuning, Warp, Dept)
