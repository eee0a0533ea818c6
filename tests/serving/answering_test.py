"""Between the queue's rows and the model's calls."""

import asyncio

import numpy as np
import pytest
from fake_model import FakeModel

from prompt_tuning.errors import UserError
from prompt_tuning.serving import answering
from prompt_tuning.serving.answering import GENERATE, SCORE, Drawn, Scored
from prompt_tuning.serving.refusals import Refusal


def test_rows_of_different_prompts_are_one_call():
    model = FakeModel()
    rows = [Drawn("a", "kind", 64, 0.0, 1.0, 0), Drawn("b", "mood", 4, 1.0, 0.5, 3)]
    told = answering.compute(model, GENERATE, rows)
    assert [one.text for one in told] == ["kind: a", "mood"]
    assert model.batches == [["kind", "mood"]]


def test_each_row_gets_the_scores_of_its_own_labels():
    rows = [Scored("a", ("x", "y", "z"), "kind"), Scored("b", ("x", "y"), "mood")]
    told = answering.compute(FakeModel(), SCORE, rows)
    assert [len(scores) for scores in told] == [3, 2]
    assert np.isfinite(np.concatenate(told)).all()


async def _futures(*results):
    futures = [asyncio.get_running_loop().create_future() for _ in results]
    for future, result in zip(futures, results, strict=True):
        if isinstance(result, Exception):
            future.set_exception(result)
        elif result is not None:
            future.set_result(result)
    return futures


def test_what_the_model_refuses_of_one_row_refuses_the_request_and_frees_the_rest():
    async def main():
        futures = await _futures(1, UserError("too odd"), None)
        with pytest.raises(Refusal, match="too odd"):
            await answering.all_of(futures)
        return futures[2].cancelled()

    assert asyncio.run(main())


def test_answers_come_as_they_are_ready():
    async def main():
        first, _, third = futures = await _futures(None, 2, None)
        told = []
        async for index, value in answering.as_they_come(futures):
            told.append((index, value))
            if len(told) == 1:
                third.set_result(3)
            elif len(told) == 2:
                first.set_result(1)
        return told

    assert asyncio.run(main()) == [(1, 2), (2, 3), (0, 1)]


def test_rows_nobody_takes_any_more_are_cancelled():
    async def main():
        futures = await _futures(1, None)
        taking = answering.as_they_come(futures)
        await anext(taking)
        await taking.aclose()
        return futures[1].cancelled()

    assert asyncio.run(main())
