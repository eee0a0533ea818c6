"""A request's body read as what its path takes; errors told in OpenAI's shape."""

import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
import pydantic
from fastapi.responses import JSONResponse

from prompt_tuning import files
from prompt_tuning.serving import refusals, shapes
from prompt_tuning.serving.refusals import Refusal


async def refused(_: fastapi.Request, refusal: Any) -> JSONResponse:
    """Answers with a Refusal."""
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


async def http_refused(request: fastapi.Request, error: Any) -> JSONResponse:
    """Answers a path or a method that there is not."""
    there = f"{request.method} {request.url.path[:200]}: {error.detail}"
    refusal = Refusal(error.status_code, there, headers=error.headers)
    return await refused(request, refusal)


async def failed(request: fastapi.Request, error: Exception) -> JSONResponse:
    """Answers where the server is at fault."""
    return await refused(request, logged(error))


def logged(error: Exception) -> Refusal:
    """Writes an error's traceback to the log; what the client is told instead."""
    traceback.print_exception(error, file=sys.stderr)
    return Refusal(500, "the server failed; its log says how")


def body_of(kind: type[pydantic.BaseModel]) -> Callable[[fastapi.Request], Any]:
    """Reads a request's body as `kind`, or refuses it."""

    async def read(request: fastapi.Request) -> Any:
        given = request.headers.get("content-type", "").partition(";")[0].strip()
        if given.lower() != "application/json":  # a form of another site has no such
            raise Refusal(
                415,
                f"the body is of type {given[:80] or 'none'!r}; send the header "
                "Content-Type: application/json",
            )
        try:
            value = files.parse_json(await request.body())
        except ValueError as error:
            raise Refusal(400, f"the body is no JSON ({error})") from None
        try:
            return kind.model_validate(value)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            raise refusals.invalid(found) from None

    return read


Completion = Annotated[shapes.Completion, fastapi.Depends(body_of(shapes.Completion))]
Classification = Annotated[
    shapes.Classification, fastapi.Depends(body_of(shapes.Classification))
]
Loading = Annotated[shapes.Loading, fastapi.Depends(body_of(shapes.Loading))]
Unloading = Annotated[shapes.Unloading, fastapi.Depends(body_of(shapes.Unloading))]
