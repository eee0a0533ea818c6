"""What a caller asks for: one value for all texts or one for each, and which may be."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.settings import MOST_TOKENS


def each(name: str, value: Any, count: int) -> list[Any]:
    """One value for all texts, or a list of as many as there are.

    Raises:
      UserError: it is a list of another length.
    """
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return [value] * count
    if len(value) != count:
        raise UserError(
            f"{name} has {len(value)} values for {count} texts; give one for all, or "
            "one for each"
        )
    return list(value)


def check(
    most: int, temperature: float, top_p: float, seed: int, answers: int, beams: int
) -> None:
    """Raises UserError for what no answer can be given by."""
    _whole("most", most, 1)
    _whole("seed", seed, 0)
    _whole("answers", answers, 1)
    _whole("beams", beams, 1)
    if most > MOST_TOKENS:
        raise UserError(f"most is {most:,}; it must be {MOST_TOKENS:,} tokens or fewer")
    if not _is_number(temperature) or not 0 <= temperature < math.inf:
        raise UserError(f"temperature is {temperature!r}; it must be 0 or above")
    if not _is_number(top_p) or not 0 < top_p <= 1:
        raise UserError(f"top_p is {top_p!r}; it must be above 0 and at most 1")
    if beams > 1 and (temperature > 0 or top_p < 1):
        raise UserError(
            "beam search draws nothing: leave out temperature and top_p, or beams"
        )
    if beams > 1 and answers > beams:
        raise UserError(f"{beams} beams find {beams} answers, not {answers}")


def _whole(name: str, value: Any, least: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise UserError(
            f"{name} is {value!r}; it must be a whole number of at least {least}"
        )


def _is_number(value: Any) -> bool:
    kinds = int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool)
