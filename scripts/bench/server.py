"""How fast the server is over HTTP, and whether it stands 10,000 mixed requests.

    python scripts/bench/server.py --prompts kind=runs/kind mood=runs/mood

Starts `prompt-tuning serve` on a free port of 127.0.0.1 and asks it for completions of
the texts in the runs' predictions.jsonl, all prompts mixed. Every answer is compared
with the offline predictor's. The clients share the machine with the server.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

LEVELS = 1, 8, 64  # clients at a time
CLIENT_SECONDS = 2  # what the server of the mixed requests allows
# Of 100 mixed requests.
SHARES = {"right": 70, "wrong": 12, "oversized": 6, "slow": 4, "aborted": 8}


def main() -> None:
    args = arguments()
    texts = examples(args.prompts)
    expected, per_second = offline(args.prompts, texts)
    questions = list(zip(texts, expected, strict=True))
    print(f"offline, batches of 32: {per_second:.0f} texts/s\n", flush=True)
    print("batches  clients  requests/s  p50 ms  p95 ms  p99 ms", flush=True)
    for rows, levels in ((32, LEVELS), (1, (1, 64))):
        with server(args.prompts, f"--gin.BATCH_SIZE={rows}") as (port, _):
            asyncio.run(load(port, questions, 8, 3.0))  # what is left to warm up
            for clients in levels:
                found = asyncio.run(load(port, questions, clients, args.seconds))
                row = f"{rows:7d}  {clients:7d}  {len(found) / args.seconds:10.0f}"
                cells = 1000 * np.percentile(found, [50, 95, 99])
                print(row + "".join(f"  {x:6.1f}" for x in cells), flush=True)
    with server(args.prompts, f"--client_seconds={CLIENT_SECONDS}") as (port, pid):
        asyncio.run(load(port, questions, 64, 5.0))
        asyncio.run(mixed(port, pid, questions, args.requests))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", nargs="+", required=True, metavar="NAME=RUN")
    parser.add_argument("--seconds", type=float, default=10, help="of each level")
    parser.add_argument("--requests", type=int, default=10_000)
    return parser.parse_args()


def examples(prompts: list[str]) -> list[tuple[str, str]]:
    """(prompt's name, text) of all the runs, mixed."""
    found = []
    for one in prompts:
        name, _, run = one.partition("=")
        lines = Path(run, "predictions.jsonl").read_text().splitlines()
        found += [(name, json.loads(line)["inputs"]) for line in lines]
    random.Random(0).shuffle(found)
    return found


def offline(prompts: list[str], texts: list) -> tuple[list[str], float]:
    """(the answers without a server, how many of them a second)."""
    code = """
import json, sys, time
import prompt_tuning
prompts, texts = json.load(sys.stdin)
model = prompt_tuning.load("pocket_nano")
for one in prompts:
    model.add(*one.split("=", 1))
names, inputs = zip(*texts)
def answer():
    return [one[0].text for one in model.generate(list(inputs), list(names))]
answer()
start = time.monotonic()
told = answer()
print(json.dumps([told, len(texts) / (time.monotonic() - start)]))
"""
    given = json.dumps([prompts, texts])
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, input=given, capture_output=True, text=True)
    return json.loads(told.stdout.splitlines()[-1])


@contextlib.contextmanager
def server(prompts: list[str], *flags: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server, which must end cleanly."""
    command = [sys.executable, "-m", "prompt_tuning", "serve", "--port=0", *flags]
    process = subprocess.Popen(
        [*command, "--prompts", *prompts], stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    yield int(re.search(r":(\d+)$", line.strip())[1]), process.pid
    process.send_signal(signal.SIGTERM)
    if process.wait(30):
        sys.exit(f"the server ended with {process.returncode}")


def head(length: int, path: str = "/v1/completions") -> bytes:
    top = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{top}Content-Length: {length}\r\n\r\n".encode()


def completion(name: str, text: str, **more: object) -> bytes:
    body = json.dumps({"model": name, "prompt": text, **more}).encode()
    return head(len(body)) + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict]:
    top = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", top, re.I)[1])
    return int(top.split()[1]), json.loads(await reader.readexactly(length))


async def load(port: int, questions: list, clients: int, seconds: float) -> list[float]:
    """The seconds of each request of so many clients, who ask one after another."""
    found, end = [], time.monotonic() + seconds

    async def client(number: int) -> None:
        order = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            (name, text), expected = order.choice(questions)
            start = time.monotonic()
            writer.write(completion(name, text))
            status, told = await answer(reader)
            found.append(time.monotonic() - start)
            if status != 200 or told["choices"][0]["text"] != expected:
                sys.exit(f"{name}, {text!r}: {status}, {told}; expected {expected!r}")
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return found


async def mixed(port: int, pid: int, questions: list, count: int) -> None:
    """Asks all kinds of requests, and says what came of them and of the memory."""
    order = random.Random(1)
    kinds = order.choices(list(SHARES), list(SHARES.values()), k=count)
    left, outcomes, memory = iter(enumerate(kinds)), collections.Counter(), {}

    async def client() -> None:
        for number, kind in left:
            if number in (0, count // 2):
                memory[number] = resident(pid)
            try:
                outcome = await asyncio.wait_for(
                    KINDS[kind](port, order, questions), 60
                )
            except (OSError, asyncio.IncompleteReadError) as error:
                outcome = f"FAILED: {type(error).__name__}"
            except TimeoutError:
                outcome = "FAILED: no answer"
            outcomes[kind, outcome] += 1

    start = time.monotonic()
    await asyncio.gather(*(client() for _ in range(64)))
    took = time.monotonic() - start
    memory[count] = resident(pid)
    print(f"\n{count:,} mixed requests of 64 clients in {took:.0f} s")
    for (kind, outcome), times in sorted(outcomes.items()):
        print(f"  {kind:9}  {times:6,}  {outcome}")
    told = ", ".join(f"{mb:,.0f} MB at {n:,}" for n, mb in memory.items())
    print(f"  resident memory: {told}", flush=True)
    if any("FAILED" in outcome for _, outcome in outcomes):
        sys.exit(1)


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def right(port: int, order: random.Random, questions: list) -> str:
    (name, text), expected = order.choice(questions)
    async with connected(port) as (reader, writer):
        writer.write(completion(name, text))
        status, told = await answer(reader)
    if status == 200 and told["choices"][0]["text"] == expected:
        return "answered as offline"
    return f"FAILED: {status}"


async def refused(port: int, request: bytes, expected: int) -> str:
    async with connected(port) as (reader, writer):
        writer.write(request)
        status, told = await answer(reader)
    told_why = status == expected and told["error"]["message"]
    return f"refused, {status}" if told_why else f"FAILED: {status}"


async def wrong(port: int, order: random.Random, questions: list) -> str:
    (name, text), _ = order.choice(questions)
    request, status = order.choice(
        [
            (completion("nobody", text), 404),
            (completion(name, text, temperature="hot"), 400),
            (completion(name, text, beams=4), 400),
            (head(9) + b"{'model':", 400),
            (head(2, "/v2/completions") + b"{}", 404),
            (completion(name, [text] * 200), 400),
        ]
    )
    return await refused(port, request, status)


async def oversized(port: int, order: random.Random, questions: list) -> str:
    (name, _), _ = order.choice(questions)
    request, status = order.choice(
        [
            (completion(name, "word " * 3_000), 400),  # tokens
            (completion(name, "x" * 30_000), 400),  # characters
            (completion(name, "x" * 2**21), 413),  # bytes
        ]
    )
    return await refused(port, request, status)


async def slow(port: int, order: random.Random, questions: list) -> str:
    (name, text), _ = order.choice(questions)
    request = completion(name, text)
    async with connected(port) as (reader, writer):
        if order.random() < 0.5:  # headers that have no end: closed without a word
            writer.write(request[:40])
            told = await reader.read()
            return "cut off" if not told else f"FAILED: {told[:40]}"
        writer.write(request[:-10])
        status, _ = await answer(reader)
    return f"refused, {status}" if status == 408 else f"FAILED: {status}"


async def aborted(port: int, order: random.Random, questions: list) -> str:
    (name, text), _ = order.choice(questions)
    request = completion(name, text, stream=order.random() < 0.5)
    async with connected(port) as (_, writer):
        writer.write(request[: order.randrange(1, len(request) + 1)])
        await writer.drain()
        await asyncio.sleep(order.random() / 50)
    return "gone"


KINDS = {
    "right": right,
    "wrong": wrong,
    "oversized": oversized,
    "slow": slow,
    "aborted": aborted,
}


if __name__ == "__main__":
    main()
