"""Dynamic batching: rows of many requests, and of many prompts, in one pass.

Rows wait in one bounded queue. A batch leaves when it is full, or when its oldest row
has waited `longest_wait`; what arrives while the model computes is in the next one.
"""

import asyncio
import collections
import concurrent.futures
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

# The work of rows of one kind, side by side -> a result for each of them.
Compute = Callable[[Hashable, Sequence[Any]], Sequence[Any]]


class Busy(Exception):
    """The queue is full. retry_after: seconds until there should be room again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many texts are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class _Row(NamedTuple):
    """kind: rows of one kind may share a batch. size: the length it is padded to."""

    kind: Hashable
    work: Any
    size: int
    arrived: float
    result: asyncio.Future[Any]


class Watcher(NamedTuple):
    """What is told about batches; seconds. waited is each row's, in the queue."""

    batch: Callable[[int, float], None] = lambda rows, seconds: None
    waited: Callable[[float], None] = lambda seconds: None


def best_batch(
    rows: Sequence[_Row], sizes: Sequence[int], overhead: float
) -> list[_Row]:
    """The batch with the first row for which batching saves the largest share.

    A batch costs `overhead`, and its size times the length that its longest row is
    padded to, whatever the others are. The saving is beside each row computed alone.

    Args:
      sizes: that a batch may have, ascending.
    """
    first, best, best_share = rows[0], [rows[0]], 0.0
    for length in sorted({row.size for row in rows if row.size >= first.size}):
        fits = [row for row in rows[1:] if row.size <= length]
        fits.sort(key=lambda row: -row.size)  # stable: of like rows the oldest
        batch = [first, *fits]
        for size in sizes:
            some = batch[:size]
            alone = sum(row.size + overhead for row in some)
            share = alone / (size * length + overhead)
            if share > best_share:
                best, best_share = some, share
            if size >= len(batch):
                break
    return best


class Batcher:
    """Gathers rows into batches and computes these in a thread, one at a time.

    All methods are for the event loop's own thread.

    Args:
      sizes: of batches, rows; what is missing is computed for nothing.
      overhead: what a batch costs beside its rows times the length they are padded to.
      longest_wait: seconds that a row waits for others, where the model is idle.
      most_waiting: rows in the queue, beside the batch being computed.
    """

    def __init__(
        self,
        compute: Compute,
        sizes: Sequence[int],
        longest_wait: float,
        most_waiting: int,
        overhead: float = 0.0,
        watcher: Watcher | None = None,
    ) -> None:
        self._compute, self._watcher = compute, watcher or Watcher()
        self._sizes, self._overhead = sorted(sizes), overhead
        self._longest_wait = longest_wait
        self._most_waiting = most_waiting
        self._waiting: collections.deque[_Row] = collections.deque()
        self._arrived = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "model")
        self._seconds_per_row = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to compute what is submitted."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends when every row submitted so far has its result."""
        if self._task:
            rows = [row.result for row in self._waiting]
            await asyncio.gather(*rows, return_exceptions=True)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    def waiting(self) -> int:
        """The rows in the queue."""
        return len(self._waiting)

    def submit(
        self, kind: Hashable, works: Sequence[Any], sizes: Sequence[int]
    ) -> list[asyncio.Future[Any]]:
        """Puts all of these rows into the queue, or none of them.

        A row whose future is cancelled before its batch leaves is not computed.

        Raises:
          Busy: the queue has no room for them.
        """
        self._forget_cancelled()
        if len(self._waiting) + len(works) > self._most_waiting:
            raise Busy(max(1, math.ceil(len(self._waiting) * self._seconds_per_row)))
        futures = [asyncio.get_running_loop().create_future() for _ in works]
        now = time.monotonic()
        for work, size, future in zip(works, sizes, futures, strict=True):
            self._waiting.append(_Row(kind, work, size, now, future))
        self._arrived.set()
        return futures

    def _forget_cancelled(self) -> None:
        if any(row.result.done() for row in self._waiting):
            there = [row for row in self._waiting if not row.result.done()]
            self._waiting = collections.deque(there)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            if batch := self._take():
                await self._answer(batch)
            if not self._waiting:
                self._arrived.clear()

    async def _gather(self) -> None:
        """Waits until the oldest row's batch is full, or has waited long enough."""
        while self._waiting:
            oldest = self._waiting[0]
            alike = sum(row.kind == oldest.kind for row in self._waiting)
            left = oldest.arrived + self._longest_wait - time.monotonic()
            if alike >= self._sizes[-1] or left <= 0:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                self._arrived.set()

    def _take(self) -> list[_Row]:
        """Takes the oldest row out, and others of its kind that are best beside it."""
        self._forget_cancelled()
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        alike = [row for row in self._waiting if row.kind == oldest.kind]
        batch = best_batch(alike, self._sizes, self._overhead)
        taken = {id(row) for row in batch}
        left = [row for row in self._waiting if id(row) not in taken]
        self._waiting = collections.deque(left)
        return batch

    async def _answer(self, batch: list[_Row]) -> None:
        start = time.monotonic()
        for row in batch:
            self._watcher.waited(start - row.arrived)
        try:
            results = await self._computed(batch)
        except Exception as error:
            if len(batch) == 1:
                _set(batch[0], error)
                return
            for row in batch:  # one of them may be at fault: the others are answered
                await self._answer([row])
            return
        seconds = time.monotonic() - start
        self._seconds_per_row += 0.2 * (seconds / len(batch) - self._seconds_per_row)
        self._watcher.batch(len(batch), seconds)
        for row, result in zip(batch, results, strict=True):
            _set(row, result)

    async def _computed(self, batch: list[_Row]) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        works = [row.work for row in batch]
        return await loop.run_in_executor(
            self._thread, self._compute, batch[0].kind, works
        )


def _set(row: _Row, result: Any) -> None:
    if row.result.done():  # its client has gone
        return
    if isinstance(result, Exception):
        row.result.set_exception(result)
    else:
        row.result.set_result(result)
