"""Task arithmetic on prompts (Ilharco et al., 2023): sums and differences of vectors.

A task's vector is its tuned prompt less the one it started from: weights 1 and -1.
Added to another start, weights 1, -1 and 1, it is a prompt again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import exchange
from prompt_tuning.errors import UserError


class Term(NamedTuple):
    """A prompt in a sum: its weight, where it is from, its vectors, what it says."""

    weight: float
    path: Path
    prompt_PxD: np.ndarray
    said: Mapping[str, Any]


def combined(prompts: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The weighted sum of prompts, [P, D] float32."""
    pairs = zip(prompts, weights, strict=True)
    total = sum(weight * np.asarray(one, np.float64) for one, weight in pairs)
    return np.asarray(total, np.float32)


# What the prompts of a sum must say alike, if they say it.
_SHARED = "frozen_fingerprint", "vocabulary_fingerprint", "place", "in_front", "method"


# What a description says of one prompt, and not of a sum.
_OF_ONE = "score", "metrics", "step", "seed", "init", "wayward_text", "wayward_weight"
_OF_ONE += ("tokens", "text", "text_tokens")


def write(path: Path, terms: Sequence[Term]) -> None:
    """Writes the sum as a prompt; its description is the first one's, without a score.

    Raises:
      UserError: the prompts differ in shape, frozen model, vocabulary or place, or go
        with weights of their own.
    """
    first = terms[0]
    for other in terms:
        if other.prompt_PxD.shape != first.prompt_PxD.shape:
            raise UserError(
                f"{first.path} is {first.prompt_PxD.shape} (length, width), but "
                f"{other.path} is {other.prompt_PxD.shape}: prompts to be added have "
                "one shape"
            )
        for key in _SHARED:
            one, another = first.said.get(key), other.said.get(key)
            # Without in_front a prompt stands on one side of the input.
            known = None not in (one, another) or key == "in_front"
            if known and one != another:
                raise UserError(
                    f"{key} is {one!r} in {first.path}, but {another!r} in "
                    f"{other.path}: prompts to be added share it"
                )
        if other.said.get("ships_model"):
            raise UserError(
                f"{other.path} goes with weights that were trained together with it, "
                "and is no prompt without them: give prompts of METHOD=prompt"
            )
    said = {key: value for key, value in first.said.items() if key not in _OF_ONE}
    said["sum_of"] = [[term.weight, str(term.path)] for term in terms]
    total_PxD = combined([t.prompt_PxD for t in terms], [t.weight for t in terms])
    exchange.save_prompt(path, total_PxD, said)
