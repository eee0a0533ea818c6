"""Something with the methods of serving.model.Model, and a server of it in a thread.

What it answers is plain to see. Nothing here is a test.
"""

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.serving import listening, server
from prompt_tuning.serving.model import Answer

FIRST = 3  # ids of characters follow padding, EOS and unknown


class Facts(NamedTuple):
    length: int
    place: str
    label_words: tuple[str, ...] | None
    target_length: int
    task: str | None
    input_length: int | None = None


class Characters:
    """A token for each character."""

    eos_id = 1

    def encode(self, text):
        return [FIRST + ord(character) for character in text]

    def decode(self, ids):
        ids = list(ids)
        ids = ids[: ids.index(1)] if 1 in ids else ids
        return "".join(chr(i - FIRST) for i in ids)


def digest(*values):
    return int(hashlib.sha256(repr(values).encode()).hexdigest()[:6], 16)


class FakeModel:
    """`kind` says its name and the text; `mood` has labels. seconds: of each batch."""

    def __init__(self, seconds=0.0):
        self.vocabulary, self.seconds = Characters(), seconds
        run = types.SimpleNamespace(initial_checkpoint_path="frozen")
        self.settings = types.SimpleNamespace(run=run)
        self.facts = {
            "kind": Facts(20, "prefix", None, 64, None),
            "mood": Facts(5, "suffix", ("glad", "sad"), 8, "mood", 40),
        }
        self.batches = []  # the prompts of each call

    names = property(lambda self: tuple(sorted(self.facts)))

    def prompt(self, name):
        return self.facts[name]

    def limit(self, name):
        return self.facts[name].input_length or 512

    def padded(self, positions):
        return -64 * (-positions // 64)

    def add(self, name, path):
        if not Path(path).exists() or "bad" in Path(path).name:
            raise UserError(f"no prompt file at {path}")
        self.facts[name] = Facts(7, "prefix", None, 64, None)

    def remove(self, name):
        del self.facts[name]

    def generate(self, texts, prompts, *, most, temperature, top_p, seed):
        self.batches.append(list(prompts))
        time.sleep(self.seconds)
        rows = zip(texts, prompts, most, temperature, seed, strict=True)
        return [[self._answer(*row)] for row in rows]

    def _answer(self, text, prompt, most, temperature, seed):
        if text == "crash":
            raise RuntimeError("planted")
        if text == "refuse":
            raise UserError("planted too")
        written = f"{prompt}: {text}" + (f" {digest(seed, text)}" * (temperature > 0))
        tokens = (*self.vocabulary.encode(written), 1)[:most]
        log_probs = tuple(-0.5 - i / 100 for i in range(len(tokens)))
        finish = "stop" if tokens[-1] == 1 else "length"
        positions = self.facts[prompt].length
        shown = self.vocabulary.decode(tokens)
        return Answer(shown, tokens, log_probs, finish, len(text) + 1, positions)

    def score(self, texts, labels, prompts):
        self.batches.append(list(prompts))
        time.sleep(self.seconds)
        scores = np.full((len(texts), max(map(len, labels))), -np.inf, np.float32)
        for row, text, own in zip(scores, texts, labels, strict=True):
            row[: len(own)] = [-1 - digest(text, label) / 2**22 for label in own]
        return scores


@contextlib.contextmanager
def serving(model=None, **options):
    """The address (host, port) of a server of the model, which ends with the block."""
    options = {"client_seconds": 2.0, "watch_seconds": 0.05} | options
    asked = server.Options(**options)
    app = server.make_app(model or FakeModel(), asked)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    ready = threading.Event()
    process = listening.make_server(app.asgi, asked.client_seconds, ready.set)
    sock = listening.bound(*address)
    thread = threading.Thread(target=lambda: asyncio.run(process.serve([sock])))
    thread.start()
    try:
        assert ready.wait(10)
        yield address
    finally:
        process.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
