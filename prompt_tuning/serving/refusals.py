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
    """Refuses fields that pydantic found wrong."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if not _of_a_union(part)]
    field, reason = ".".join(where), first["msg"]
    if first["type"] == "extra_forbidden":
        reason = "this server knows no such field; leave it out"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message = f"{field or 'the body'}: {reason}{more}"
    return Refusal(400, message, where[0] if where else None)


def _of_a_union(part: Any) -> bool:
    """Pydantic's name of a type that was tried, such as list[str]: no field's."""
    return isinstance(part, str) and (part in ("str", "int") or not part.isidentifier())
