"""Listening on a port: slow clients are cut off, and a signal ends it cleanly."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from prompt_tuning import interrupts
from prompt_tuning.errors import UserError

MOST_CONNECTIONS = 512
MOST_HEADER_BYTES = 2**14


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which nobody can connect to yet.

    Raises:
      UserError: the port is taken, or the address is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {host}, port {port}: {reason}; give another --port "
            "(0 takes a free one), or an address of this machine as --host"
        ) from None
    return sock


def url(sock: socket.socket) -> str:
    """Where it listens, for a browser."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any, sock: socket.socket, seconds: float, ready: Callable[[], None]
) -> None:
    """Answers until SIGTERM or SIGINT, then what it has accepted, then returns.

    A second Ctrl-C does not wait for that.

    Args:
      seconds: in which a client must send a request's headers, and read its answer.
      ready: called once connections are accepted.
    """
    asyncio.run(make_server(app, seconds, ready).serve([sock]))


def make_server(app: Any, seconds: float, ready: Callable[[], None]) -> uvicorn.Server:
    """The server of `serve`, which ends too when its should_exit is set."""
    config = uvicorn.Config(
        app,
        http=_protocol(seconds),
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_level="critical",  # it would warn of each request that is no HTTP
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        limit_concurrency=MOST_CONNECTIONS,
        backlog=MOST_CONNECTIONS,
        timeout_keep_alive=max(5, int(seconds)),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    server = _Server(config)
    server.ready = ready
    return server


class _Server(uvicorn.Server):
    """uvicorn's, which returns after a signal, where uvicorn would die of it."""

    ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Python lets no other set a handler
            return
        before = {number: signal.getsignal(number) for number in interrupts.ENDS}
        heard = [n for n, handler in before.items() if handler is not signal.SIG_IGN]
        for number in heard:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])


def _protocol(seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 whose clients have so long to send headers and to read an answer."""

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._between_requests():
                self._await_headers()
            elif self._timer:
                self._timer.cancel()
                self._timer = None

        def _between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _await_headers(self) -> None:
            """One span for the whole of them, however slowly they drip in."""
            if not self._timer:
                self._timer = self.loop.call_later(seconds, self._too_late)

        def _too_late(self) -> None:
            self._timer = None
            if self._between_requests():
                self.transport.abort()

        def timeout_keep_alive_handler(self) -> None:
            """Closes what is idle; an answer that is not read is thrown away."""
            super().timeout_keep_alive_handler()
            self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer:
                self._timer.cancel()
            super().connection_lost(exc)

    return Patient
