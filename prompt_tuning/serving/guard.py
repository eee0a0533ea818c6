"""What stands in front of the app: the key, the body's size, slow and gone clients.

An ASGI middleware. The app gets a whole body or none; it is cancelled once its client
has gone, so that nothing is computed for nobody; and every answer carries the headers
that keep a browser from loading anything from elsewhere.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prompt_tuning.serving.refusals import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Without a key: whether it lives, and the page, which asks for the key.
OPEN = {"/health", "/", "/page.js", "/page.css"}

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]


class Gone(Exception):
    """The client has closed the connection."""


class _Sender:
    """Sends with the security headers; a client that takes too long is gone."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.status, self.complete = 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            more = [pair for pair in _HEADERS if pair[0] not in names]
            message = {**message, "headers": given + more}
        elif not message.get("more_body"):
            self.complete = True
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            raise Gone from None

    async def refuse(self, refusal: Refusal) -> None:
        body = json.dumps(refusal.body()).encode()
        headers = refusal.headers | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        if refusal.status == 408:
            headers["Connection"] = "close"
        pairs = [(name.lower().encode(), v.encode()) for name, v in headers.items()]
        start = {"type": "http.response.start", "status": refusal.status}
        await self({**start, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def guarded(
    app: App, api_key: str | None, most_bytes: int, seconds: float, done: Any
) -> App:
    """The app behind its guard.

    Args:
      api_key: what `Authorization: Bearer` must say; None: anybody is answered.
      most_bytes: of a body.
      seconds: in which a client must send its body, and take each part of an answer.
      done: called with (scope, status, seconds) of each request; 499: the client went.
    """

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        sender = _Sender(send, seconds)
        start = asyncio.get_running_loop().time()
        try:
            _check_key(scope, api_key)
            body = await _whole_body(scope, receive, most_bytes, seconds)
            await _while_there(app, scope, body, receive, sender)
        except Refusal as refusal:
            # What is left of the body is dropped as it comes (listening.py).
            await sender.refuse(refusal)
        except Gone:
            sender.status = 499
        finally:
            took = asyncio.get_running_loop().time() - start
            done(scope, sender.status, took)

    return guard


def _check_key(scope: Message, api_key: str | None) -> None:
    if api_key is None or scope["path"] in OPEN:
        return
    given = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, key = given.partition(b" ")
    # Digests are of one length, so that the time says nothing of the key's.
    same = hmac.compare_digest(_digest(key.strip()), _digest(api_key.encode()))
    if scheme.lower() != b"bearer" or not same:
        found = "no API key" if not given else "a wrong API key"
        raise Refusal(
            401,
            f"{found}; send the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


async def _whole_body(
    scope: Message, receive: Receive, most_bytes: int, seconds: float
) -> bytes:
    too_large = Refusal(
        413, f"the body has more than {most_bytes:,} bytes; send less at a time"
    )
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if int(length) > most_bytes:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most_bytes:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(
            408, f"the body did not arrive within {seconds:g} s; send it faster"
        ) from None


async def _while_there(
    app: App, scope: Message, body: bytes, receive: Receive, send: _Sender
) -> None:
    """Runs the app on a body until it has answered, or its client has gone."""
    given = False

    async def whole() -> Message:
        nonlocal given
        if given:
            await asyncio.Event().wait()  # for ever: its end is this task's
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(app(scope, whole, send))
    leave = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, leave}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and not send.complete:
            raise Gone
        try:
            await answer
        except Exception:
            if not send.complete:  # else it has been told, and logged
                raise
    finally:
        for task in (answer, leave):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await answer
