"""The files with which transformers makes a tokenizer of a vocabulary of ours.

For a SentencePiece model it is its T5Tokenizer, which reads spiece.model itself, but
writes <unk> where the model would spell a character in bytes. For a model that does
that, as mT5's and the pocket family's, tokenizer.json says how.
"""

import base64
from collections.abc import Mapping
from typing import Any

from prompt_tuning.frozen.vocabulary import EXTRA_IDS, SENTINEL, Vocabulary, read

SETTINGS, TOKENIZER = "tokenizer_config.json", "tokenizer.json"

_TOKENS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_SPACE = "▁"  # SentencePiece's sign of a space
_BYTE = 6  # SentencePiece's type of pieces that are bytes


def files(vocabulary: Vocabulary) -> dict[str, Mapping[str, Any]]:
    """{file's name: its JSON} of a vocabulary, beside spiece.model.

    Raises:
      UserError: the SentencePiece model is out of reach.
    """
    kind: dict[str, Any]
    if not vocabulary.file:
        kind = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 125}
        return {SETTINGS: kind | _TOKENS}
    # Not at the top: it takes protobuf a tenth of a second, and only this needs it.
    from sentencepiece import sentencepiece_model_pb2 as proto

    model_class = proto.ModelProto  # pyright: ignore[reportAttributeAccessIssue]
    model = model_class.FromString(read(vocabulary.file))
    if not any(piece.type == _BYTE for piece in model.pieces):
        kind = {"tokenizer_class": "T5Tokenizer", "extra_ids": EXTRA_IDS}
        return {SETTINGS: kind | _TOKENS}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    kind["model_input_names"] = ["input_ids", "attention_mask"]
    return {SETTINGS: kind | _TOKENS, TOKENIZER: _spelling(model)}


def _spelling(model: Any) -> dict[str, Any]:
    """tokenizer.json of a SentencePiece model that spells in bytes."""
    pieces = [[piece.piece, piece.score] for piece in model.pieces]
    if not {piece for piece, _ in pieces} & {SENTINEL, f"{_SPACE}{SENTINEL}"}:
        numbers = reversed(range(EXTRA_IDS))
        pieces += [[f"<extra_id_{number}>", 0.0] for number in numbers]
    ids = {piece.removeprefix(_SPACE): i for i, (piece, _) in enumerate(pieces)}
    sentinels = (token for token in ids if token.startswith("<extra_id_"))
    spaces = {"replacement": _SPACE, "prepend_scheme": "always", "split": True}
    spaces |= {"type": "Metaspace"}
    return {
        "version": "1.0",
        "added_tokens": [
            _added(ids[token], token) for token in (*_TOKENS.values(), *sentinels)
        ],
        "normalizer": _normalizer(model.normalizer_spec.precompiled_charsmap),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, spaces],
        },
        "post_processor": _closed_by("</s>", ids["</s>"]),
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, spaces]},
        "model": {
            "type": "Unigram",
            "unk_id": ids["<unk>"],
            "vocab": pieces,
            "byte_fallback": True,
        },
    }


def _normalizer(charsmap: bytes) -> dict[str, Any] | None:
    """SentencePiece's own replacements of characters, which may be none."""
    coded = base64.b64encode(charsmap).decode()
    return {"type": "Precompiled", "precompiled_charsmap": coded} if coded else None


def _closed_by(token: str, number: int) -> dict[str, Any]:
    """A token is put after each text, and after both of a pair."""
    end = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [first, end],
        "pair": [first, end, second, end],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def _added(number: int, token: str) -> dict[str, Any]:
    """A token that is never split, and that a decoder may skip."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **flags, "special": True}
