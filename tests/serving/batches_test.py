"""Rows become batches of few shapes, each row in one of them."""

import numpy as np
import pytest

from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.serving import batches


def row(vectors=0, tokens=1, most=1):
    return batches.Row(np.ones(tokens, np.int32), "p", vectors, most=most)


def test_lengths_are_rounded_up_to_a_few():
    found = {n: batches.length_of(n) for n in (1, 64, 65, 513, 1_024, 1_025, 1_281)}
    assert found == {
        **{1: 64, 64: 64, 65: 96, 513: 640},
        **{1_024: 1_024, 1_025: 1_280, 1_281: 1_536},
    }
    assert [batches.answer_length(n) for n in (1, 8, 9, 64)] == [8, 8, 16, 64]


def test_a_long_prompt_and_a_long_text_share_a_batch_with_what_is_as_long():
    rows = [row(150, 20), row(5, 5), row(20, 150), row(3, 8)]
    found = list(batches.in_batches(rows, [2]))
    assert [places.tolist() for places, _ in found] == [[1, 3], [0, 2]]
    assert [len(batch) for _, batch in found] == [2, 2]


def test_every_row_is_in_one_batch_and_answers_of_one_length_are_together():
    rng = np.random.default_rng(0)
    rows = [
        row(*(int(n) for n in rng.integers(1, 150, 2)), most=int(rng.integers(1, 40)))
        for _ in range(101)
    ]
    seen = []
    for places, batch in batches.in_batches(rows, [1, 8]):
        assert len(batch) in (1, 8) and len(places) in (1, *range(2, 9))
        assert len({batches.answer_length(one.most) for one in batch}) == 1
        assert all(
            rows[place] is one for place, one in zip(places, batch, strict=False)
        )
        assert all(one is batch[len(places) - 1] for one in batch[len(places) :])
        seen += places.tolist()
    assert sorted(seen) == list(range(101))
    assert not list(batches.in_batches([], [8]))


@pytest.mark.parametrize("words", [[["a"]], [["a", "b c d e f"], ["b", "a", "d"]]])
def test_labels_of_all_rows_have_one_shape(words):
    vocabulary = load_vocabulary("byt5")
    found = batches.label_ids_of_rows(words, vocabulary)
    shapes = {ids.shape for ids in found}
    assert shapes == {(2, 4)} if len(words) == 1 else {(4, 16)}
    for own, ids_CxS in zip(words, found, strict=True):
        texts = [vocabulary.decode(ids.tolist()) for ids in ids_CxS]
        assert [text for text in texts if text] == own
