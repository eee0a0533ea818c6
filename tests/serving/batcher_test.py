"""The queue: who shares a batch, how long rows wait, what is refused."""

import asyncio
import time

import pytest

from prompt_tuning.serving.batcher import Batcher, Busy, Watcher, _Row, best_batch

SIZES = 1, 2, 4


def run(scenario, compute, longest_wait=0.02, most_waiting=100, **more):
    """What a coroutine function of a started Batcher returns."""

    async def main():
        batcher = Batcher(compute, SIZES, longest_wait, most_waiting, 10, **more)
        batcher.start()
        try:
            return await scenario(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(main())


def recorder(seconds=0.0, bad=()):
    """(compute, the works of each of its batches)."""
    batches = []

    def compute(kind, works):
        batches.append(list(works))
        time.sleep(seconds)
        if set(bad) & set(works):
            raise ValueError(f"bad in {works}")
        return [f"{kind} {work}" for work in works]

    return compute, batches


def test_rows_of_many_requests_share_a_batch_and_each_gets_its_own():
    compute, batches = recorder()

    async def scenario(batcher):
        asked = [batcher.submit("a", [i], [1]) for i in range(4)]
        return [await one for (one,) in asked]

    assert run(scenario, compute, longest_wait=60) == ["a 0", "a 1", "a 2", "a 3"]
    assert batches == [[0, 1, 2, 3]], "full, so that it did not wait"


def test_a_row_waits_for_others_no_longer_than_is_said():
    compute, batches = recorder()

    async def scenario(batcher):
        start = time.monotonic()
        (one,) = batcher.submit("a", ["x"], [1])
        await asyncio.sleep(0.05)
        (two,) = batcher.submit("a", ["y"], [1])
        await asyncio.gather(one, two)
        return time.monotonic() - start

    assert 0.1 <= run(scenario, compute, longest_wait=0.1) < 1
    assert batches == [["x", "y"]]


def test_rows_of_different_kinds_do_not_share_a_batch():
    compute, batches = recorder()

    async def scenario(batcher):
        rows = [*batcher.submit("a", [1, 2], [1, 1]), *batcher.submit("b", [3], [1])]
        return await asyncio.gather(*rows)

    assert run(scenario, compute) == ["a 1", "a 2", "b 3"]
    assert batches == [[1, 2], [3]]


def rows_of(*sizes):
    return [_Row("a", number, size, 0.0, None) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "overhead", "taken"),
    [
        ([64], 10, [0]),
        ([64, 640, 64, 640], 10, [0, 2]),  # padding the short ones would cost more
        ([64, 640, 64, 640], 10_000, [0, 1, 3, 2]),  # but a pass of its own, far more
        ([640, 64, 640, 64], 10, [0, 2]),
        ([640, 64, 640, 640], 1_000, [0, 2, 3, 1]),  # a place that costs nothing more
        ([64] * 7, 10, [0, 1, 2, 3]),
        ([64] * 3, 10, [0, 1]),  # a fourth place, for nothing, is dearer than a pass
        ([128, 64, 128], 10, [0, 2]),
    ],
)
def test_the_oldest_row_leaves_with_those_that_save_most(sizes, overhead, taken):
    batch = best_batch(rows_of(*sizes), [1, 2, 4], overhead)
    assert [row.work for row in batch] == taken


def test_every_row_is_in_one_batch():
    compute, batches = recorder()

    async def scenario(batcher):
        sizes = [10, 90, 11, 80, 12, 13, 90]
        await asyncio.gather(*batcher.submit("a", range(7), sizes))

    run(scenario, compute)
    assert sorted(row for batch in batches for row in batch) == [*range(7)]
    assert len(batches) < 7


def test_what_arrives_while_the_model_computes_is_in_the_next_batch():
    compute, batches = recorder(seconds=0.1)

    async def scenario(batcher):
        first = batcher.submit("a", [0, 1, 2, 3], [1] * 4)
        await asyncio.sleep(0.05)
        later = [row for i in (4, 5, 6) for row in batcher.submit("a", [i], [1])]
        await asyncio.gather(*first, *later)

    run(scenario, compute)
    assert batches == [[0, 1, 2, 3], [4, 5, 6]]


def test_a_full_queue_refuses_the_whole_request_and_says_when_to_come_back():
    compute, batches = recorder(seconds=0.3)

    async def scenario(batcher):
        running = batcher.submit("a", [0, 1, 2, 3], [1] * 4)
        await asyncio.sleep(0.05)
        waiting = batcher.submit("a", [4, 5, 6], [1] * 3)
        with pytest.raises(Busy) as refused:
            batcher.submit("a", [7, 8, 9], [1] * 3)
        assert refused.value.retry_after >= 1
        assert batcher.waiting() == 3
        await asyncio.gather(*running, *waiting, *batcher.submit("a", [10, 11], [1, 1]))

    run(scenario, compute, most_waiting=5)
    rows = [row for batch in batches for row in batch]
    assert rows == [0, 1, 2, 3, 4, 5, 6, 10, 11]


def test_a_row_whose_client_has_gone_is_not_computed_and_makes_room():
    compute, batches = recorder(seconds=0.1)

    async def scenario(batcher):
        running = batcher.submit("a", [0, 1, 2, 3], [1] * 4)
        await asyncio.sleep(0.05)
        (gone,) = batcher.submit("a", [4], [1])
        gone.cancel()
        (stays,) = batcher.submit("a", [5], [1])
        await asyncio.gather(*running, stays)

    run(scenario, compute, most_waiting=4)
    assert batches == [[0, 1, 2, 3], [5]]


def test_a_row_at_fault_does_not_fail_the_others():
    compute, batches = recorder(bad={1})

    async def scenario(batcher):
        rows = batcher.submit("a", [0, 1, 2], [1] * 3)
        return await asyncio.gather(*rows, return_exceptions=True)

    first, second, third = run(scenario, compute)
    assert (first, third) == ("a 0", "a 2")
    assert isinstance(second, ValueError) and "[1]" in str(second)
    assert batches == [[0, 1, 2], [0], [1], [2]]


def test_stopping_answers_what_was_submitted():
    compute, _ = recorder(seconds=0.05)
    rows = []

    async def scenario(batcher):
        rows.extend(batcher.submit("a", list(range(10)), [1] * 10))

    run(scenario, compute)
    assert [row.result() for row in rows] == [f"a {i}" for i in range(10)]


def test_the_watcher_hears_of_sizes_and_waits():
    compute, _ = recorder(seconds=0.05)
    batches, waits = [], []
    watcher = Watcher(
        lambda rows, seconds: batches.append((rows, seconds)), waits.append
    )

    async def scenario(batcher):
        await asyncio.gather(*batcher.submit("a", range(3), [1] * 3))

    run(scenario, compute, watcher=watcher)
    ((rows, seconds),) = batches
    assert rows == 3 and 0.05 <= seconds < 1
    assert len(waits) == 3 and all(0.01 < wait < 1 for wait in waits)
