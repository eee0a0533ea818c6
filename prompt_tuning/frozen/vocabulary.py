"""Text to token ids and back, with SentencePiece or bytes, without TensorFlow.

    vocabulary = load_vocabulary("prompt_tuning/pocket/spiece.model")
    ids = vocabulary.encode("the cat")  # without EOS
    assert vocabulary.decode(ids) == "the cat"

The ids of any text are the same as in seqio's vocabularies with T5's 100 sentinels.
"""

import dataclasses
import hashlib
import io
import re
import string
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from prompt_tuning import files
from prompt_tuning.errors import UserError

# Vocabularies by name.
NAMED = {
    "t5": "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model",
    "mt5": "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
}
BYTES = "byt5"  # needs no file
EXTRA_IDS = 100  # T5's sentinels, after the SentencePiece model's own ids
SENTINEL = "<extra_id_0>"  # the first sentinel, which has the last id
MOST_BYTES = 2**28  # of a SentencePiece model; mT5's has 4 MB
RETRIES = 3  # of a request to a bucket, after 1, 2 and 4 seconds

_EOS_ID = 1  # T5's, and ByT5's
_SPECIAL_IDS = 3  # ByT5's ids before the bytes: padding, EOS and unknown
_SPECIAL_PIECES = "<pad>", "</s>", "<unk>"  # as SentencePiece calls them
_SENTINELS = re.compile(r"▁?<extra_id_\d+>")
_USER_DEFINED = 4  # SentencePiece's type of pieces that are never split


class Vocabulary(Protocol):
    """Text to token ids and back, as seqio's vocabularies do it.

    file: the SentencePiece model's path; None if the ids are bytes.
    vocab_size: the number of ids, sentinels included.
    """

    @property
    def file(self) -> str | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Token ids, without EOS.

        Raises:
          UserError: the text has a lone surrogate, which is not a character.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, up to the first EOS."""
        ...

    def piece(self, number: int) -> str:
        """What an id stands for, as a vocabulary lists it: ▁ begins a word."""
        ...

    def is_text(self, number: int) -> bool:
        """Whether an id stands for text of its own.

        Padding, EOS and unknown do not, nor sentinels, nor a byte that is part of a
        character or controls a terminal.
        """
        ...

    def fingerprint(self) -> str:
        """The SHA-256 of the SentencePiece model's file in hex; "byt5" for bytes."""
        ...


def load_vocabulary(path: str) -> Vocabulary:
    """Reads a SentencePiece model, and adds T5's 100 sentinels if it lacks them.

    Args:
      path: a file here or in a bucket (gs://...); "t5" or "mt5", whose files are in a
        public bucket (mT5's has the sentinels); or "byt5", bytes, which needs no file.

    Raises:
      UserError: the file cannot be read, is not a SentencePiece model, or lacks T5's
        ids of padding (0) and end of sequence (1).
    """
    if path == BYTES:
        return _Bytes()
    path = NAMED.get(path, path)
    try:
        model = read(path)
        processor = _processor(model)
        pieces = SENTINEL, f"▁{SENTINEL}"
        for number in range(processor.get_piece_size()):
            processor.id_to_piece(number)  # fails unless all are UTF-8
        if {*map(processor.piece_to_id, pieces)} == {processor.unk_id()}:
            processor = _processor(model + _sentinels())
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"the vocabulary {path} cannot be read ({type(error).__name__}: {reason}); "
            "it must be a SentencePiece model, such as T5's spiece.model"
        ) from error
    ids = processor.pad_id(), processor.eos_id()
    if ids != (0, _EOS_ID):
        raise UserError(
            f"the vocabulary {path} has padding and end of sequence at {ids}; T5 needs "
            "them at (0, 1). Train it with pad_id=0, eos_id=1, unk_id=2, bos_id=-1"
        )
    return _SentencePiece(path, model, processor)


def check_vocabulary(vocab_size: int, embedding_rows: int) -> None:
    """Raises UserError if the model has no embedding for a part of the vocabulary.

    Warns where there are more rows to spare than padding explains: a table is filled up
    to a multiple of 128 (T5 has 28 to spare, ByT5 125), a large one perhaps of 1,024.
    """
    spare = embedding_rows - vocab_size
    if spare > min(1_024, max(128, embedding_rows // 10)):
        print(
            f"warning: the vocabulary has {vocab_size:,} ids, but the model embeds "
            f"{embedding_rows:,}: it may be another model's; check VOCABULARY",
            file=sys.stderr,
        )
    if vocab_size > embedding_rows:
        raise UserError(
            f"the vocabulary has {vocab_size} ids, sentinels included, but the model "
            f"embeds {embedding_rows}; give VOCABULARY the model's own vocabulary"
        )


@dataclasses.dataclass(frozen=True)
class _SentencePiece:
    """A SentencePiece vocabulary. model: the file's bytes, without the sentinels."""

    file: str
    model: bytes = dataclasses.field(repr=False)
    processor: sentencepiece.SentencePieceProcessor = dataclasses.field(repr=False)
    eos_id: int = _EOS_ID

    @property
    def vocab_size(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        return self.processor.encode(_utf8(text))

    def decode(self, ids: Sequence[int]) -> str:
        size, unknown = self.vocab_size, self.processor.unk_id()
        return self.processor.decode(
            [i if i < size else unknown for i in _before_eos(ids)]
        )

    def piece(self, number: int) -> str:
        return self.processor.id_to_piece(int(number))

    def is_text(self, number: int) -> bool:
        its, kinds = int(number), self.processor
        special = kinds.is_control(its), kinds.is_unknown(its), kinds.is_unused(its)
        sentinel = _SENTINELS.fullmatch(self.piece(its))
        return not (any(special) or kinds.is_byte(its) or sentinel)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.model).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Bytes:
    """ByT5's vocabulary: a text's bytes in UTF-8, after three special ids.

    It has no sentinels of its own: ByT5 uses the last bytes as sentinels.
    """

    file: None = None
    vocab_size: int = _SPECIAL_IDS + 256
    eos_id: int = _EOS_ID

    def encode(self, text: str) -> list[int]:
        return [byte + _SPECIAL_IDS for byte in _utf8(text)]

    def decode(self, ids: Sequence[int]) -> str:
        there = range(_SPECIAL_IDS, self.vocab_size)
        text = bytes(i - _SPECIAL_IDS for i in _before_eos(ids) if i in there)
        return text.decode(errors="ignore")

    def piece(self, number: int) -> str:
        byte = int(number) - _SPECIAL_IDS
        return f"<0x{byte:02X}>" if byte >= 0 else _SPECIAL_PIECES[int(number)]

    def is_text(self, number: int) -> bool:
        return ord(" ") <= int(number) - _SPECIAL_IDS <= ord("~")

    def fingerprint(self) -> str:
        return BYTES


def read(path: str) -> bytes:
    """The bytes of a SentencePiece model's file, here or in a bucket."""
    if "://" not in path:
        return files.regular(Path(path), MOST_BYTES).read_bytes()
    import tensorstore  # only for buckets; most files are local

    retries = {"gcs_request_retries": {"max_retries": RETRIES}}
    context = tensorstore.Context(retries)
    try:
        found = (
            tensorstore.KvStore.open(path, context=context).result().read("").result()
        )
    except (OSError, ValueError, RuntimeError) as error:  # a library's account of it
        raise UserError(
            f"the vocabulary {path} is out of reach (is there a network?): put the "
            "model's spiece.model beside its weights, or give VOCABULARY its path"
        ) from error
    if found.state != "value":
        raise FileNotFoundError("there is no such file")
    return found.value


def _processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)  # unlike __init__, it rejects empty bytes
    return processor


def _sentinels() -> bytes:
    """T5's sentinels, to be appended as pieces to a serialised SentencePiece model.

    Two concatenated protocol buffer messages are one message, with the repeated fields
    of both.
    """

    def field_1(value: bytes) -> bytes:  # the model's pieces; a piece's text
        return b"\x0a" + bytes([len(value)]) + value

    score_and_type = b"\x15" + bytes(4) + b"\x18" + bytes([_USER_DEFINED])  # 0.0
    texts = [f"▁<extra_id_{i}>".encode() for i in reversed(range(EXTRA_IDS))]
    return b"".join(field_1(field_1(text) + score_and_type) for text in texts)


def train(sentences: Iterable[str], size: int, coverage: float, **more: Any) -> bytes:
    """A new unigram SentencePiece model with T5's special ids, and bytes for the rest.

    Letters, digits and punctuation of English are pieces even where no text has them.

    Args:
      size: pieces, without the sentinels.
      coverage: share of the text's characters that are pieces; bytes spell the others.
      more: further options of SentencePiece's trainer.

    Returns:
      The serialized model, the same bytes on every call.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="unigram",
        vocab_size=size,
        pad_id=0,
        eos_id=_EOS_ID,
        unk_id=2,
        bos_id=-1,
        byte_fallback=True,
        character_coverage=coverage,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        num_threads=1,  # with several, sums depend on their order
        minloglevel=1,
        **more,
    )
    return model.getvalue()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{text[:80]!r} has {text[error.start]!r} at character {error.start + 1}, "
            "half of a pair that makes a character; write the character itself"
        ) from None


def _before_eos(ids: Sequence[int]) -> list[int]:
    ids = [int(i) for i in ids]
    return ids[: ids.index(_EOS_ID)] if _EOS_ID in ids else ids
