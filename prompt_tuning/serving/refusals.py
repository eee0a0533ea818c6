"""What a request is refused with, in the shape of OpenAI's errors."""

from collections.abc import Mapping, Sequence
from typing import Any

from prompt_tuning.errors import plain


class Refusal(Exception):
    """An answer that says why there is none.

    status: HTTP's. param: which of the request's fields is at fault, if one is.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, plain(message)
        self.param, self.code, self.headers = param, code, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object, as OpenAI's clients know it."""
        error = {"message": self.message, "type": _type(self.status)}
        return {"error": error | {"param": self.param, "code": self.code}}


def _type(status: int) -> str:
    known = {401: "authentication_error", 403: "permission_error"}
    known |= {404: "not_found_error", 429: "rate_limit_error"}
    return known.get(status, "server_error" if status >= 500 else _INVALID)


_INVALID = "invalid_request_error"


def no_such_model(name: str, names: Sequence[str]) -> Refusal:
    """Refuses a name that is no prompt's."""
    there = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return Refusal(
        404,
        f"there is no prompt {name[:100]!r}; there are: {there or 'none'}",
        "model",
        "model_not_found",
    )


def busy(retry_after: int) -> Refusal:
    """Refuses what the queue has no room for. retry_after: seconds."""
    return Refusal(
        429,
        f"too many texts are waiting; try again in {retry_after} s",
        code="queue_full",
        headers={"Retry-After": str(retry_after)},
    )


def invalid(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """Refuses fields that pydantic found wrong: names the first of them."""
    first = errors[0]
    field = str(first["loc"][0]) if first["loc"] else None
    reason = first["msg"]
    if first["type"] == "extra_forbidden":
        reason = "this server knows no such field; leave it out"
    elif first["type"] != "missing" and field in _WANTED:
        reason = _WANTED[field]
    return Refusal(400, f"{field or 'the body'}: {reason}", field)


# Where pydantic would tell of each type that it tried.
_TEXTS = "give a text, or a list of at least one text; token ids are not taken"
_NOT_HERE = "this server does not do that; leave it out"
_WANTED = {
    "prompt": _TEXTS,
    "input": _TEXTS,
    "stop": "give a text, or 1 to 4 texts, none of them empty",
    "labels": "give 2 to 256 texts, none of them empty",
    "logprobs": "give 0 for the tokens written, or 1 for the likeliest beside them",
} | dict.fromkeys(
    ("suffix", "frequency_penalty", "presence_penalty", "logit_bias"), _NOT_HERE
)
