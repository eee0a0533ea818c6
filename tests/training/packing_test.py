import itertools

import numpy as np
import pytest

from prompt_tuning.training import objectives, packing

TOKENS = np.arange(100, 1_100).astype(np.uint16)  # each id tells its place


def test_an_epoch_has_every_row_once_and_the_next_is_cut_and_ordered_anew():
    take = packing.rows(TOKENS, 30, (3,))
    per_epoch = 1_000 // 30 - 1
    rows = take(0, 2 * per_epoch)
    assert rows.shape == (64, 30) and rows.dtype == np.int32
    np.testing.assert_array_equal(np.diff(rows, axis=1), 1)
    firsts = rows[:, 0].reshape(2, per_epoch)
    for epoch in np.sort(firsts, axis=1):
        np.testing.assert_array_equal(np.diff(epoch), 30)  # side by side
    offsets = firsts.min(axis=1)
    assert offsets[0] != offsets[1] and (np.diff(firsts) < 0).any()
    assert rows.min() >= 100 and rows.max() < 1_100


@pytest.mark.parametrize("length", [30, 499, 500, 501, 999, 1_000])
def test_rows_stay_inside_the_text_and_reach_both_ends(length):
    take = packing.rows(TOKENS, length, (0,))
    rows = np.concatenate([take(first, 97) for first in range(0, 9_700, 97)])
    assert rows.min() == 100 and rows.max() == 1_099
    with pytest.raises(ValueError, match="there are 1000 tokens, but a row has 1001"):
        packing.rows(TOKENS, 1_001, (0,))


def batches(start=0, seed=(5,), tokens=TOKENS):
    def objective(rows, rng):
        return objectives.prefix_lm_of_rows(rows, rng, input_length=16)

    take = packing.rows(tokens, 22, seed)
    return packing.batches(take, objective, (6, 16, 8), seed, start)


def test_a_batch_depends_on_the_seed_and_its_number_alone():
    first = list(itertools.islice(batches(), 12))
    for start in (1, 7, 11):  # one epoch is 44 rows
        for batch, same in zip(batches(start), first[start:], strict=False):
            for name, value in batch.items():
                np.testing.assert_array_equal(value, same[name], err_msg=name)
    key = "encoder_input_tokens"
    assert (first[0][key] != first[1][key]).any()
    assert (first[0][key] != next(batches(seed=(6,)))[key]).any()


def test_batches_have_the_keys_shapes_and_types_of_t5x():
    batch = next(batches())
    assert {name: value.shape for name, value in batch.items()} == {
        "encoder_input_tokens": (6, 16),
        **dict.fromkeys(
            ("decoder_input_tokens", "decoder_target_tokens", "decoder_loss_weights"),
            (6, 8),
        ),
    }
    assert {value.dtype for value in batch.values()} == {np.dtype(np.int32)}


def test_only_the_ids_of_a_row_are_read(tmp_path):
    path = tmp_path / "ids.bin"
    with path.open("wb") as file:
        file.truncate(2**40)  # a sparse file of half a tera of ids
    tokens = np.memmap(path, "<u2", mode="r")[: 2**24]
    assert next(batches(10**6, tokens=tokens))["encoder_input_tokens"].shape == (6, 16)
