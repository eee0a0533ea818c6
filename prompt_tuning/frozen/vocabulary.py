"""Text to token ids and back: SentencePiece, or bytes; no TensorFlow."""

from collections.abc import Sequence
from typing import Protocol


class Vocabulary(Protocol):
    """Text to token ids and back, as seqio's vocabularies do it.

    file: the SentencePiece model's path; None where the ids are bytes.
    vocab_size: ids, sentinels included.
    """

    file: str | None
    vocab_size: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids, without EOS."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, up to the first EOS."""
        ...
