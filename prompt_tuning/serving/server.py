"""The server's app: OpenAI's completions, classification, metrics and a page.

    app = make_app(model, Options()).asgi  # model: of serving/model.py

The routes check a request, put its texts into the batcher's queue, and tell what the
model answered. Nothing here knows how many prompts or requests share a batch.
"""

import asyncio
import contextlib
import functools
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import fastapi
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from prompt_tuning.errors import UserError
from prompt_tuning.serving import (
    answering,
    bodies,
    prompt_files,
    refusals,
    shapes,
)
from prompt_tuning.serving.answering import GENERATE, SCORE, Drawn, Scored
from prompt_tuning.serving.batcher import Batcher, Busy, Watcher
from prompt_tuning.serving.bodies import Classification, Completion, Loading, Unloading
from prompt_tuning.serving.guard import guarded
from prompt_tuning.serving.metrics import CONTENT_TYPE, Metrics
from prompt_tuning.serving.prompt_files import Watched
from prompt_tuning.serving.refusals import Refusal

PAGE = Path(__file__).with_name("page")


class Options(NamedTuple):
    """What a server allows.

    batch_sizes: texts in a batch, as they are compiled. overhead: what a batch costs
    beside its texts times their padded length. longest_wait: seconds that a text waits
    for others while the model is idle. most_waiting: texts in the queue. most_bytes: of
    a body. most_characters: of a text. most_texts: answers or texts of a request.
    most_tokens: of an answer. client_seconds: in which a client must send or read.
    folder: below which prompts may be loaded on request; None: nowhere. watch_seconds:
    between two looks at the prompts' files. said: of prompts that do not describe
    themselves, as Model.add takes it.
    """

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    overhead: float = 128.0
    longest_wait: float = 0.005
    most_waiting: int = 1_024
    most_bytes: int = 2**20
    most_characters: int = 20_000
    most_texts: int = 128
    most_tokens: int = 128
    client_seconds: float = 10.0
    api_key: str | None = None
    folder: Path | None = None
    watch_seconds: float = 2.0
    said: Mapping[str, Any] = MappingProxyType({})


EOS = 1  # tokens that a text has beside its own


class App(NamedTuple):
    """The ASGI app, and the prompts' files that it watches."""

    asgi: Any
    watched: Watched


def make_app(model: Any, options: Options) -> App:
    """The app that answers with a model of prompt_tuning.load's.

    From its start on the model answers in one thread of the app's own.
    """
    server = Server(model, options)
    app = fastapi.FastAPI(
        lifespan=server.lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
    )
    server.add_routes(app)
    app.add_exception_handler(Refusal, bodies.refused)
    app.add_exception_handler(HTTPException, bodies.http_refused)
    app.add_exception_handler(Exception, bodies.failed)
    asgi = guarded(
        app, options.api_key, options.most_bytes, options.client_seconds, server.done
    )
    return App(asgi, server.watched)


class Server:
    """The routes' state: the model, its queue, its metrics, its prompts' files."""

    def __init__(self, model: Any, options: Options) -> None:
        self.model, self.options = model, options
        self.started = int(time.time())
        self.metrics = metrics = Metrics(
            lambda: self.batcher.waiting(), lambda: len(model.names)
        )
        self.batcher = Batcher(
            functools.partial(answering.compute, model),
            options.batch_sizes,
            options.longest_wait,
            options.most_waiting,
            options.overhead,
            Watcher(self._batch_done, metrics.wait_seconds.observe),
        )
        self.pending: dict[str, set[asyncio.Future[Any]]] = {}
        self.leaving: set[str] = set()
        self.add = functools.partial(model.add, **options.said)
        self.watched = Watched(
            self.add, lambda result: metrics.reloads.labels(result).inc()
        )

    def _batch_done(self, rows: int, seconds: float) -> None:
        self.metrics.batch_rows.observe(rows)
        self.metrics.batch_seconds.observe(seconds)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: fastapi.FastAPI) -> AsyncIterator[None]:
        """Starts the batcher; at the end answers what is in its queue."""
        self.batcher.start()
        watch = asyncio.create_task(self.watched.watch(self.options.watch_seconds))
        yield
        watch.cancel()
        await self.batcher.stop()

    def add_routes(self, app: fastapi.FastAPI) -> None:
        """Names every path that is answered."""
        post = functools.partial(app.add_api_route, methods=["POST"])
        get = functools.partial(app.add_api_route, methods=["GET"])
        post("/v1/completions", self.completions)
        post("/v1/classify", self.classify)
        get("/v1/models", self.models)
        get("/v1/models/{name:path}", self.one_model)
        get("/health", self.health)
        get("/metrics", self.told_metrics)
        if self.options.folder:
            post("/v1/load_prompt_adapter", self.load)
            post("/v1/unload_prompt_adapter", self.unload)
        for path, name in (("/", "index.html"), *((f"/{n}", n) for n in _FILES)):
            get(path, _page(name))
        self.paths = {getattr(route, "path", "") for route in app.routes}

    def done(self, scope: Any, status: int, seconds: float) -> None:
        """Counts a request by its path; those of no route together."""
        path = scope["path"]
        known = path if path in self.paths else "other"
        known = "/v1/models/NAME" if path.startswith("/v1/models/") else known
        self.metrics.request(known, status, seconds)

    # What is asked of the model.

    async def completions(self, asked: Completion) -> Any:
        """POST /v1/completions."""
        asked.check()
        facts = self._facts(asked.model)
        texts = asked.texts()
        sizes = self._checked(asked.model, texts, "prompt", asked.n or 1)
        rows = list(self._rows(asked, texts, facts))
        of_rows = [size for size in sizes for _ in range(asked.n or 1)]
        futures = self._submit(GENERATE, asked.model, rows, of_rows)
        made = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }
        if asked.stream:
            events = self._events(asked, texts, futures, made)
            return StreamingResponse(events, media_type="text/event-stream")
        answers = await answering.all_of(futures)
        told = [self._choice(asked, texts, *pair) for pair in enumerate(answers)]
        choices = [shapes.choice_json(one, asked.logprobs) for one in told]
        return JSONResponse(
            made | {"choices": choices, "usage": self._usage(asked, answers)}
        )

    def _rows(
        self, asked: shapes.Completion, texts: Sequence[str], facts: Any
    ) -> Sequence[Drawn]:
        most = asked.max_tokens or min(facts.target_length, self.options.most_tokens)
        if most > self.options.most_tokens:
            raise Refusal(
                400,
                f"max_tokens is {most}; this server writes "
                f"{self.options.most_tokens} at most",
                "max_tokens",
            )
        seed = secrets.randbits(31) if asked.seed is None else asked.seed
        top_p = 1.0 if asked.top_p is None else asked.top_p
        how = (asked.model, most, asked.temperature or 0.0, top_p)
        return [
            Drawn(text, *how, shapes.seed_of(seed, answer))
            for text in texts
            for answer in range(asked.n or 1)
        ]

    def _choice(
        self, asked: shapes.Completion, texts: Sequence[str], index: int, answer: Any
    ) -> shapes.Choice:
        text = texts[index // (asked.n or 1)] if asked.echo else ""
        decode = self.model.vocabulary.decode
        return shapes.choice(index, answer, decode, asked.stops(), text)

    def _usage(
        self, asked: shapes.Completion, answers: Sequence[Any]
    ) -> dict[str, int]:
        n = asked.n or 1
        found = shapes.usage([answers[i : i + n] for i in range(0, len(answers), n)])
        self.metrics.read.inc(found["prompt_tokens"])
        self.metrics.written.inc(found["completion_tokens"])
        return found

    async def _events(
        self,
        asked: shapes.Completion,
        texts: Sequence[str],
        futures: Sequence[asyncio.Future[Any]],
        made: dict[str, Any],
    ) -> AsyncIterator[str]:
        """Server-sent events: each answer's tokens as soon as its batch is computed."""
        with_usage = asked.stream_options and asked.stream_options.include_usage
        more = {"usage": None} if with_usage else {}
        answers: list[Any] = [None] * len(futures)
        try:
            async for index, answer in answering.as_they_come(futures):
                answers[index] = answer
                told = self._choice(asked, texts, index, answer)
                for chunk in shapes.chunks(told, asked.logprobs):
                    yield _event(made | {"choices": [chunk]} | more)
            usage = self._usage(asked, answers)
            if with_usage:
                yield _event(made | {"choices": [], "usage": usage})
        except UserError as error:
            yield _event(Refusal(400, str(error)).body())
        except Exception as error:
            yield _event(bodies.logged(error).body())
        yield "data: [DONE]\n\n"

    async def classify(self, asked: Classification) -> Any:
        """POST /v1/classify."""
        asked.check()
        facts = self._facts(asked.model)
        labels = asked.labels or facts.label_words
        if not labels:
            raise Refusal(
                400,
                f"the prompt {asked.model!r} has no label words; give labels",
                "labels",
            )
        texts = asked.texts()
        sizes = self._checked(asked.model, texts, "input", 1)
        rows = [Scored(text, tuple(labels), asked.model) for text in texts]
        futures = self._submit(SCORE, asked.model, rows, sizes)
        scores = await answering.all_of(futures)
        told = [
            shapes.classified(index, labels, row.tolist())
            for index, row in enumerate(scores)
        ]
        positions, read = len(texts) * facts.length, sum(sizes)
        self.metrics.read.inc(read)
        usage = {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read}
        return JSONResponse(
            {
                "id": f"classify-{uuid.uuid4().hex}",
                "object": "list",
                "created": int(time.time()),
                "model": asked.model,
                "data": told,
                "usage": usage | {"prompt_positions": positions},
            }
        )

    def _facts(self, name: str) -> Any:
        there = self._names()
        if name not in there:
            raise refusals.no_such_model(name, there)
        return self.model.prompt(name)

    def _names(self) -> list[str]:
        return [name for name in self.model.names if name not in self.leaving]

    def _checked(
        self, name: str, texts: Sequence[str], param: str, each: int
    ) -> list[int]:
        """The texts' sizes in tokens, EOS included, if few and short enough."""
        most = self.options.most_texts
        if len(texts) * each > most:
            raise Refusal(
                400,
                f"{param}: {len(texts)} texts, {each} answers each; {most} answers at "
                "most are given at a time",
                param,
            )
        longest, most = max(map(len, texts)), self.options.most_characters
        if longest > most:
            raise Refusal(
                400,
                f"{param}: a text has {longest:,} characters; {most:,} are the most",
                param,
                "context_length_exceeded",
            )
        sizes = [len(self.model.vocabulary.encode(text)) + EOS for text in texts]
        most = self.model.limit(name)
        if max(sizes) > most:
            raise Refusal(
                400,
                f"{param}: a text has {max(sizes):,} tokens; this prompt reads "
                f"{most:,} at most, and none is cut",
                param,
                "context_length_exceeded",
            )
        return sizes

    def _submit(
        self, kind: str, name: str, rows: Sequence[Any], sizes: Sequence[int]
    ) -> list[asyncio.Future[Any]]:
        try:
            own = self.model.prompt(name).length
            padded = [self.model.padded(own + size) for size in sizes]
            futures = self.batcher.submit(kind, rows, padded)
        except Busy as error:
            raise refusals.busy(error.retry_after) from None
        self.metrics.rows.labels(name, kind).inc(len(rows))
        pending = self.pending.setdefault(name, set())
        pending.update(futures)
        for future in futures:
            future.add_done_callback(pending.discard)
        return futures

    # What is there.

    async def models(self) -> Any:
        """GET /v1/models."""
        found = [self._model_json(name) for name in self._names()]
        return JSONResponse({"object": "list", "data": found})

    async def one_model(self, name: str) -> Any:
        """GET /v1/models/NAME."""
        self._facts(name)
        return JSONResponse(self._model_json(name))

    def _model_json(self, name: str) -> dict[str, Any]:
        facts = self.model.prompt(name)
        frozen = self.model.settings.run.initial_checkpoint_path
        return shapes.model_json(name, facts, self.started, frozen)

    async def health(self) -> Any:
        """GET /health: 200 while texts are answered."""
        return JSONResponse({"status": "ok"})

    async def told_metrics(self) -> Any:
        """GET /metrics."""
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def load(self, asked: Loading) -> Any:
        """POST /v1/load_prompt_adapter."""
        assert self.options.folder
        name = asked.prompt_adapter_name
        path = await asyncio.to_thread(
            prompt_files.below, self.options.folder, asked.prompt_adapter_path
        )
        async with self.watched.lock:
            if name in self.model.names:
                raise Refusal(
                    400, f"there is a prompt {name!r}; unload it first, or name another"
                )
            before = prompt_files.signature(path)
            try:
                await asyncio.to_thread(self.add, name, path)
            except UserError as error:
                raise Refusal(400, str(error), "prompt_adapter_path") from None
            self.watched.add(name, path, before)
        return JSONResponse({"status": "loaded", "model": self._model_json(name)})

    async def unload(self, asked: Unloading) -> Any:
        """POST /v1/unload_prompt_adapter: those already waiting are answered."""
        name = asked.prompt_adapter_name
        async with self.watched.lock:
            self._facts(name)
            self.watched.remove(name)
            self.leaving.add(name)
            try:
                await asyncio.gather(
                    *self.pending.pop(name, ()), return_exceptions=True
                )
                await asyncio.to_thread(self.model.remove, name)
            finally:
                self.leaving.discard(name)
        return JSONResponse({"status": "unloaded", "model": name})


_FILES = ("page.js", "page.css")


def _page(name: str) -> Callable[[], Awaitable[Any]]:
    async def page() -> Any:
        return FileResponse(PAGE / name)

    return page


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
