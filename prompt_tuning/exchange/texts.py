"""Prompts that are made of the vocabulary's pieces, as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.outputs import atomic, warn


def in_words(ids_P: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """What a description says of a prompt made of these ids.

    tokens: the ids. text: what they read. text_tokens: the ids of that text; they are
    the same where the text can stand for the prompt.
    """
    tokens = np.asarray(ids_P).tolist()
    text = vocabulary.decode(tokens)
    return {"tokens": tokens, "text": text, "text_tokens": vocabulary.encode(text)}


def save_text(path: Path, said: Mapping[str, Any]) -> None:
    """Writes a prompt's text, and tells where that is other pieces than the prompt.

    Raises:
      UserError: the prompt is not made of pieces.
    """
    if said.get("tokens") is None:
        raise UserError(
            f"METHOD is {said.get('method')!r}, whose vectors are no pieces of the "
            "vocabulary, so that there is no text to write: `inspect` tells the "
            "nearest ones, and METHOD=autoprompt and METHOD=pez make a prompt of pieces"
        )
    with atomic(path) as temporary:
        temporary.write_text(said["text"] + "\n", encoding="utf-8")
    if difference := _difference(said["tokens"], said["text_tokens"]):
        warn(
            f"{path} is not quite the prompt: {difference}. What was evaluated are the "
            "prompt's own pieces, the `tokens` of its description"
        )


def _difference(tokens: Sequence[int], text_tokens: Sequence[int]) -> str:
    """What tokenising a prompt's text gives instead; "" if it gives the prompt."""
    if [*tokens] == [*text_tokens]:
        return ""
    pairs = enumerate(zip(tokens, text_tokens, strict=False), start=1)
    first = next((i for i, (a, b) in pairs if a != b), None)
    return (
        f"the vocabulary makes {len(text_tokens)} pieces of its text, the prompt has "
        f"{len(tokens)}, and they differ from position "
        f"{first or min(len(tokens), len(text_tokens)) + 1} on"
    )
