"""The options of methods: for METHOD=NAME, the section NAME of the settings.

A method without options has no section. Settings (settings.py) holds those there are.
"""

import dataclasses

from prompt_tuning.sections import Section, called, setting

# Each is a file in methods/, which this module must not import: it needs JAX.
NAMES = (
    *("prompt", "whole", "prepended"),
    *("residual", "p_tuning", "decomposed", "superpos", "multitask"),
    *("autoprompt", "pez"),
    *("lora", "ia3", "adapters", "prefix_tuning", "warp", "dept", "soft_words"),
    "prompt_design",
)
_MOST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Residual(Section):
    """Residual prompt tuning (Razdaibiedina et al., 2023)."""

    SECTION = "residual"
    bottleneck: int = setting(
        400,
        "hidden units of the MLP that the vectors share",
        least=1,
        most=10**6,
        size=True,
    )


@dataclasses.dataclass(frozen=True)
class Decomposed(Section):
    """A prompt that is made of less: DPT, ULPT or MPT."""

    SECTION = "decomposed"
    kind: str = setting(
        "dpt",
        "dpt, a product of two matrices (Xiao et al., 2023); ulpt, few values a vector "
        "and a fixed random projection (Wu et al., 2025); mpt, a prompt times a "
        "low-rank matrix (Wang et al., 2023)",
        choices=("dpt", "ulpt", "mpt"),
    )
    rank: int = setting(
        0,
        "R of the matrices; 0: 10 for dpt, 2 for ulpt, 1 for mpt, as in the papers, or "
        "PROMPT_LENGTH if that is less",
        least=0,
        most=10**5,
        size=True,
    )
    projection: int = setting(
        0,
        "the seed of ulpt's projection, whatever SEED is",
        least=0,
        most=_MOST_SEED,
    )


@dataclasses.dataclass(frozen=True)
class Superpos(Section):
    """SuperPos: vectors that are mixtures of sampled embeddings (Sadraei et al.)."""

    SECTION = "superpos"
    rows: int = setting(
        128,
        "how many embeddings a vector is a mixture of",
        least=1,
        most=5_000,
        size=True,
    )
    sample: int = setting(
        0,
        "the seed that samples them, whatever SEED is",
        least=0,
        most=_MOST_SEED,
    )


_IDS = (
    "the token ids that may be chosen, such as 4-31999, which the run fills in: those "
    "of the vocabulary that are text"
)


@dataclasses.dataclass(frozen=True)
class AutoPrompt(Section):
    """AutoPrompt (Shin et al., 2020): a prompt of the vocabulary's pieces, searched."""

    SECTION = "autoprompt"
    candidates: int = setting(
        10,
        "pieces that a step tries at a position (the authors' code); a step costs as "
        "many forward passes",
        least=1,
        most=10_000,
    )
    ids: str = setting("", _IDS)


@dataclasses.dataclass(frozen=True)
class Pez(Section):
    """PEZ (Wen et al., 2023): a prompt that is rounded to pieces in each step."""

    SECTION = "pez"
    ids: str = setting("", _IDS)


@dataclasses.dataclass(frozen=True)
class PTuning(Section):
    """P-tuning (Liu et al., 2021): a prompt through an encoder, in a text's places."""

    SECTION = "p_tuning"
    template: str = setting(
        "",
        "where the vectors stand, such as '[P*3] topic: {inputs} [P*3]', with text in "
        "between; by default all of them at PROMPT_PLACE",
    )
    tokens: list[int] | tuple[int, ...] = setting(
        (),
        "the template in the model's vocabulary, which the run fills in: token ids, -1 "
        "for a vector, -2 for the input",
    )
    encoder: str = setting(
        "lstm",
        "lstm, two bidirectional layers and an MLP of two (the paper's); or mlp, of "
        "three layers (PEFT's default)",
        choices=("lstm", "mlp"),
    )
    hidden: int = setting(
        0,
        "units of its hidden layers, for the LSTM half in each direction; 0: D",
        least=0,
        most=10**6,
        size=True,
    )
    with_model: bool = setting(
        False, "train the model's weights too, as the paper does with small models"
    )


@dataclasses.dataclass(frozen=True)
class Lora(Section):
    """Low-rank changes of queries and values; PEFT's defaults."""

    SECTION = "lora"
    rank: int = setting(
        8, "r, columns of A and rows of B", least=1, most=10**5, size=True
    )
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
        64, "of the bottleneck (Houlsby et al., 2019)", least=1, most=10**5, size=True
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
        800, "width of the MLP (Li and Liang, 2021)", least=1, most=10**6, size=True
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
    rank: int = setting(
        45, "r, columns of A and rows of B", least=1, most=10**5, size=True
    )
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


@dataclasses.dataclass(frozen=True)
class SoftWords(Section):
    """Soft words (Qin and Eisner, 2021): a prompt with a shift for each layer."""

    SECTION = "soft_words"
    prompts: int = setting(
        1,
        "how many are mixed: an answer's probability is the weighted mean of theirs, "
        "and a step costs as many of one. PROMPT_INIT=string takes a line of "
        "PROMPT_STRING for each",
        least=1,
        most=1_000,
    )


@dataclasses.dataclass(frozen=True)
class PromptDesign(Section):
    """A written instruction and training examples in front of each input."""

    SECTION = "prompt_design"
    instruction: str = setting("", "the text that comes first")
    examples: int = setting(
        8,
        "training examples after it, drawn by SEED, as many of each label",
        least=0,
        most=10_000,
    )
    tokens: int = setting(
        512,
        "the most tokens of both; an example for which there is no room is left out",
        least=1,
        most=10**6,
    )


SECTIONS: tuple[type[Section], ...] = (
    *(Residual, PTuning, Decomposed, Superpos, AutoPrompt, Pez),
    *(Lora, Adapters, PrefixTuning, Warp, Dept, SoftWords, PromptDesign),
)


def sizes(method: str) -> tuple[str, ...]:
    """The options that say how many values a method trains, as users call them."""
    return tuple(
        called(section.SECTION, field.name)
        for section in SECTIONS
        if method == section.SECTION
        for field in dataclasses.fields(section)
        if field.metadata.get("size")
    )
