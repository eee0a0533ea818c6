"""Between the queue and the model: a batch's rows to calls, futures to answers."""

import asyncio
from collections.abc import AsyncIterator, Collection, Hashable, Sequence
from typing import Any, NamedTuple

from prompt_tuning.errors import UserError
from prompt_tuning.serving.refusals import Refusal

GENERATE, SCORE = "generate", "score"  # rows of one of these kinds share a batch


class Drawn(NamedTuple):
    """A row of kind GENERATE: one answer to be given."""

    text: str
    prompt: str
    most: int
    temperature: float
    top_p: float
    seed: int


class Scored(NamedTuple):
    """A row of kind SCORE: one text whose labels are scored."""

    text: str
    labels: tuple[str, ...]
    prompt: str


def compute(model: Any, kind: Hashable, rows: Sequence[Any]) -> Sequence[Any]:
    """What the model makes of rows of one kind: Answers, or the scores of labels."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if kind == SCORE:
        scores_NxL = model.score(*columns)
        sizes = [len(row.labels) for row in rows]
        return [each[:size] for each, size in zip(scores_NxL, sizes, strict=True)]
    texts, prompts, most, temperature, top_p, seed = columns
    answers = model.generate(
        texts, prompts, most=most, temperature=temperature, top_p=top_p, seed=seed
    )
    return [of_text[0] for of_text in answers]


async def all_of(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Their results; a text that the model refuses is the request's fault."""
    try:
        return await asyncio.gather(*futures)
    except UserError as error:
        raise Refusal(400, str(error)) from None
    finally:
        for future in futures:  # the client has gone, or one of them failed
            future.cancel()


async def as_they_come(
    futures: Sequence[asyncio.Future[Any]],
) -> AsyncIterator[tuple[int, Any]]:
    """Each result with its index, the first ready first."""
    index = {future: at for at, future in enumerate(futures)}
    left = set(futures)
    try:
        while left:
            ready, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for future in sorted(ready, key=index.__getitem__):
                yield index[future], future.result()
    finally:
        for future in futures:
            future.cancel()


async def settled(futures: Collection[asyncio.Future[Any]]) -> None:
    """Ends when each of them has a result, or an error, or nobody who waits for it."""
    await asyncio.gather(*futures, return_exceptions=True)
