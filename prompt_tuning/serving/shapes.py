"""The JSON of requests and answers: OpenAI's completions and models; classification.

https://platform.openai.com/docs/api-reference/completions as of 2026. What stands there
and cannot be had of an encoder-decoder is refused, not ignored.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import pydantic

from prompt_tuning.serving.refusals import Refusal

MOST_STOPS = 4  # OpenAI's
MOST_ANSWERS = 128  # OpenAI's
MOST_LABELS = 256
_SEEDS = 2**31  # the seeds of a row; OpenAI's 64 bits are folded into them

Text = Annotated[str, pydantic.Field(strict=True)]
Texts = Annotated[list[Text], pydantic.Field(min_length=1)]
Stop = Annotated[str, pydantic.Field(strict=True, min_length=1)]


class _Request(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Request):
    """Of a stream: whether a last chunk says the usage."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Completion(_Request):
    """POST /v1/completions. None is each field's default, as in OpenAI's client.

    Without max_tokens an answer may be as long as the prompt says. Without temperature
    it is greedy, as `predict` and the paper are; OpenAI's default is 1.
    """

    model: Text
    prompt: Text | Texts
    max_tokens: int | None = pydantic.Field(None, ge=1)
    temperature: float | None = pydantic.Field(None, ge=0, le=2)
    top_p: float | None = pydantic.Field(None, gt=0, le=1)
    n: int | None = pydantic.Field(None, ge=1, le=MOST_ANSWERS)
    stop: (
        Stop
        | Annotated[list[Stop], pydantic.Field(min_length=1, max_length=MOST_STOPS)]
        | None
    ) = None
    logprobs: int | None = pydantic.Field(None, ge=0, le=1)
    echo: bool | None = None
    seed: int | None = pydantic.Field(None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Text | None = None  # OpenAI's, to find abuse; nothing is done with it
    # What clients send with the value that asks for nothing.
    best_of: int | None = None
    suffix: Literal[""] | None = None
    frequency_penalty: Annotated[float, pydantic.Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, pydantic.Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], pydantic.Field(max_length=0)] | None = None

    def texts(self) -> list[str]:
        """The prompt's texts, of one too."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def stops(self) -> list[str]:
        """The texts at which an answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def check(self) -> None:
        """Raises Refusal if fields contradict each other."""
        sampled = (self.temperature or 0) > 0
        if (self.n or 1) > 1 and not sampled:
            raise Refusal(
                400,
                f"n is {self.n}, but at temperature 0 all answers are the same; give a "
                "temperature above 0, or n=1",
                "n",
            )
        if self.best_of not in (None, self.n or 1):
            raise Refusal(400, "best_of must be n, or be left out", "best_of")
        if self.logprobs == 1 and sampled:
            raise Refusal(
                400,
                "logprobs=1, the likeliest token beside the one drawn, is known at "
                "temperature 0 only; logprobs=0 gives the drawn tokens' own",
                "logprobs",
            )
        if self.stream_options and not self.stream:
            raise Refusal(400, "stream_options needs stream=true", "stream_options")


class Classification(_Request):
    """POST /v1/classify: which of the labels a text has. labels: by default its own."""

    model: Text
    input: Text | Texts
    labels: (
        Annotated[
            list[Annotated[str, pydantic.Field(strict=True, min_length=1)]],
            pydantic.Field(min_length=2, max_length=MOST_LABELS),
        ]
        | None
    ) = None
    user: Text | None = None

    def texts(self) -> list[str]:
        """The texts, of one too."""
        return [self.input] if isinstance(self.input, str) else self.input

    def check(self) -> None:
        """Raises Refusal if a label stands twice."""
        if self.labels and len({*self.labels}) < len(self.labels):
            raise Refusal(400, "labels: one of them stands twice", "labels")


class Loading(_Request):
    """POST /v1/load_prompt_adapter; named as vLLM names it for LoRA."""

    prompt_adapter_name: Annotated[
        str, pydantic.Field(strict=True, pattern=r"^[\w.:@+-]{1,100}$")
    ]
    prompt_adapter_path: Annotated[str, pydantic.Field(min_length=1, max_length=4096)]


class Unloading(_Request):
    """POST /v1/unload_prompt_adapter."""

    prompt_adapter_name: Text


# Answers.


class Answer(Protocol):
    """What Model.generate gives for a row (serving/model.py)."""

    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def log_probs(self) -> Sequence[float]: ...
    @property
    def finish(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def prompt_positions(self) -> int: ...


class Choice(NamedTuple):
    """One answer, cut at the first stop.

    parts: each token's share of the text; together they are the text.
    echoed: the input in front of it, or nothing.
    """

    number: int
    echoed: str
    parts: list[str]
    log_probs: list[float]
    finish: str


def choice(
    index: int,
    answer: Answer,
    decode: Callable[[Sequence[int]], str],
    stops: Sequence[str] = (),
    echoed: str = "",
) -> Choice:
    """What is told of an answer.

    Args:
      decode: token ids to text.
      stops: the answer ends before the first of these that it has.
      echoed: the text to put in front.
    """
    tokens = list(answer.tokens)
    parts = parts_of(tokens, decode)
    text, finish = "".join(parts), answer.finish
    found = [at for at in map(text.find, stops) if at >= 0]
    if found:
        parts, finish = _cut(parts, min(found)), "stop"
    log_probs = [float(value) for value in answer.log_probs[: len(parts)]]
    return Choice(index, echoed, parts, log_probs, finish)


def parts_of(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[str]:
    """Each token's share of the text; "" of one that ends no character, and of EOS.

    A share is what the text up to a token has in common with the whole, beyond what the
    text before had: decoding a piece by itself would lose the spaces in front.
    """
    whole = decode(tokens)
    parts, told = [], 0
    for end in range(1, len(tokens) + 1):
        there = whole if end == len(tokens) else decode(tokens[:end])
        alike = max(told, _common(there, whole))
        parts.append(whole[told:alike])
        told = alike
    return parts


def _common(one: str, other: str) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def _cut(parts: list[str], length: int) -> list[str]:
    """The parts that make the first `length` characters; the last may be a piece."""
    kept: list[str] = []
    for part in parts:
        if length <= 0:
            break
        kept.append(part[:length])
        length -= len(part)
    return kept


def choice_json(one: Choice, logprobs: int | None) -> dict[str, Any]:
    """A choice of a whole answer."""
    text = one.echoed + "".join(one.parts)
    found = _logprobs(one, logprobs)
    return _choice(one.number, text, found, one.finish)


def chunks(one: Choice, logprobs: int | None) -> list[dict[str, Any]]:
    """The choices of a stream's chunks: a token each, the last with the reason."""
    offset, told = 0, []
    pieces = [(one.echoed, None)] if one.echoed else []
    pieces += list(zip(one.parts, one.log_probs, strict=True))
    for text, log_prob in pieces:
        if not text and logprobs is None:
            continue
        single = Choice(one.number, "", [text], [log_prob or 0.0], one.finish)
        found = None if log_prob is None else _logprobs(single, logprobs, offset)
        told.append(_choice(one.number, text, found, None))
        offset += len(text)
    return [*told, _choice(one.number, "", None, one.finish)]


def _choice(index: int, text: str, logprobs: Any, finish: str | None) -> dict[str, Any]:
    found = {"index": index, "text": text, "logprobs": logprobs}
    return found | {"finish_reason": finish}


def _logprobs(one: Choice, asked: int | None, offset: int = 0) -> Any:
    """OpenAI's four lists, of the answer's tokens alone.

    An encoder reads the input and gives its tokens no probability, so that an echoed
    input has no entries; text_offset counts its characters.
    """
    if asked is None:
        return None
    offsets, at = [], offset + len(one.echoed)
    for part in one.parts:
        offsets.append(at)
        at += len(part)
    pairs = zip(one.parts, one.log_probs, strict=True)
    top = [{part: log_prob} for part, log_prob in pairs] if asked else None
    return {
        "tokens": one.parts,
        "token_logprobs": one.log_probs,
        "top_logprobs": top,
        "text_offset": offsets,
    }


def usage(answers: Sequence[Sequence[Answer]]) -> dict[str, int]:
    """The tokens of a request: for each text its answers.

    A text's tokens count once, however many its answers are. Its prompt's positions,
    which the encoder reads too, are counted apart.
    """
    read = sum(of_text[0].input_tokens for of_text in answers)
    written = sum(len(answer.tokens) for of_text in answers for answer in of_text)
    positions = sum(of_text[0].prompt_positions for of_text in answers)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_positions": positions,
    }


def seed_of(seed: int, answer: int) -> int:
    """The seed of a text's answer number `answer`: the first has the request's own."""
    if not answer:
        return seed % _SEEDS
    digest = hashlib.sha256(f"{seed}/{answer}".encode()).digest()
    return int.from_bytes(digest[:8]) % _SEEDS


def classified(
    index: int, labels: Sequence[str], scores: Sequence[float]
) -> dict[str, Any]:
    """The probabilities of labels, which add up to 1, from their log-probabilities.

    logprobs are the scores themselves: of each label among all texts there are.
    """
    most = max(scores)
    weights = [math.exp(score - most) for score in scores]
    probs = [weight / sum(weights) for weight in weights]
    return {
        "index": index,
        "label": labels[probs.index(max(probs))],
        "labels": list(labels),
        "probs": probs,
        "logprobs": [float(score) for score in scores],
        "num_classes": len(labels),
    }


def model_json(name: str, facts: Any, created: int, frozen: str) -> dict[str, Any]:
    """An entry of GET /v1/models: OpenAI's fields, vLLM's parent, the prompt's own."""
    own = ("length", "place", "task", "label_words", "target_length")
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "prompt-tuning",
        "parent": frozen,
        "prompt": {key: getattr(facts, key) for key in own},
    }
