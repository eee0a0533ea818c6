"""Which examples a batch holds, how long it is, and that a step number finds it."""

import itertools

import numpy as np
import pytest

from prompt_tuning.training import batching


def examples(sizes=(20,), rates=(1.0,), inputs=None, length=8):
    """Tasks whose examples are told apart by their one target, from 2 up."""
    count = sum(sizes)
    names = [f"task_{number}" for number in range(len(sizes))]
    inputs = inputs or [3] * count
    return batching.Examples(
        split="train",
        inputs=[np.full(size, 2, np.int32) for size in inputs],
        targets=[np.array([2 + row], np.int32) for row in range(count)],
        lengths={"inputs": length, "targets": 1},
        cut={"inputs": 0, "targets": 0},
        sizes=dict(zip(names, sizes, strict=True)),
        rates=dict(zip(names, rates, strict=True)),
    )


def take(stream, count):
    return list(itertools.islice(stream, count))


def batches(split, batch_size, seed, *args, **options):
    """The batches of one seed, without their axis of seeds."""
    for batch in batching.batches(split, batch_size, [seed], *args, **options):
        assert {value.shape[1] for value in batch.values()} == {1}
        yield {key: value[:, 0] for key, value in batch.items()}


def drawn(split, batch_size, seed, count):
    """The rows of the first batches, in order."""
    found = take(batches(split, batch_size, seed), count)
    return np.concatenate([b["decoder_target_tokens"][:, 0] - 2 for b in found])


def test_a_batch_is_as_long_as_the_bucket_of_its_longest_input():
    found = [batching.bucket(longest, 200) for longest in (1, 64, 65, 192, 193, 200)]
    assert found == [64, 64, 96, 192, 200, 200] and batching.bucket(9, 20) == 20
    split = examples(inputs=[5] * 19 + [70], length=512)
    for batch in take(batches(split, batch_size=4, seed=0), 5):
        tokens = batch["encoder_input_tokens"]
        longest = (tokens != 0).sum(axis=1).max()
        assert tokens.shape == (4, 96 if longest > 64 else 64)


def test_coming_lengths_are_those_of_the_batches_in_their_order():
    sizes = np.random.default_rng(0).integers(1, 300, 40).tolist()
    split = examples(sizes=(40,), inputs=sizes, length=512)
    coming = batches(split, batch_size=2, seed=7, start_step=3)
    lengths = [b["encoder_input_tokens"].shape[1] for b in take(coming, 15)]
    expected = sorted(set(lengths), key=lengths.index)
    assert len(expected) > 2
    assert batching.input_lengths(split, 2, [7], start_step=3, steps=15) == expected


def test_joint_batches_are_those_of_each_seed_side_by_side():
    sizes = np.random.default_rng(0).integers(1, 300, 40).tolist()
    split = examples(sizes=(40,), inputs=sizes, length=512)
    seeds, rows = [7, 8, 7], [2, 0]
    joint = take(batching.batches(split, 3, seeds, 2, rows), 9)
    alone = [take(batches(split, 3, seed, 2, rows), 9) for seed in seeds]
    for step, batch in enumerate(joint):
        longest = max(each[step]["encoder_input_tokens"].shape[1] for each in alone)
        assert batch["encoder_input_tokens"].shape == (2, 3, longest)
        for n, each in enumerate(alone):
            for name, value in each[step].items():
                padded = np.zeros((2, batch[name].shape[-1]), np.int32)
                padded[:, : value.shape[1]] = value
                np.testing.assert_array_equal(batch[name][:, n], padded)
    expected = dict.fromkeys(b["encoder_input_tokens"].shape[-1] for b in joint)
    assert len(expected) > 1
    assert batching.input_lengths(split, 3, seeds, 2, 9) == list(expected)


@pytest.mark.parametrize("sizes", [(96,), (60, 36)])
def test_a_window_exchanges_examples_so_that_lengths_meet(sizes):
    inputs = np.random.default_rng(0).integers(1, 300, 96).tolist()
    rates = (1.0,) * len(sizes)
    split = examples(sizes=sizes, rates=rates, inputs=inputs, length=512)

    def windows(window, start=0):
        made = take(batches(split, 4, 3, start, window=window), 24 - start)
        return [(b["encoder_input_tokens"] != 0).sum(1) for b in made]

    random, sorted_ = windows(1), windows(8)
    for first in (0, 8, 16):
        of = slice(first, first + 8)
        before, after = (np.array(w[of]) for w in (random, sorted_))
        assert sorted(before.flat) == sorted(after.flat), "the same examples"
        order = after[np.argsort(after.max(1))]
        assert (order[:-1].max(1) <= order[1:].min(1)).all(), "of like lengths"
        assert (np.diff(after.max(1)) < 0).any(), "in an order of no meaning"
    later = windows(8, start=13)
    np.testing.assert_array_equal(later, sorted_[13:], "a resumed run's are the same")
    lengths = batching.input_lengths(split, 4, [3], 0, 24, window=8)
    assert set(lengths) == {batching.bucket(max(b), 512) for b in sorted_}


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    # Batches of 8 do not divide 20: three epochs make 7.5 of them.
    rows = drawn(examples(), batch_size=8, seed=3, count=8).tolist()
    epochs = [rows[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert drawn(examples(), batch_size=8, seed=4, count=8).tolist() != rows


def test_a_batch_may_be_larger_than_an_epoch():
    rows = drawn(examples(sizes=(3,)), batch_size=9, seed=0, count=1)
    assert sorted(rows) == sorted(3 * [0, 1, 2])


def test_targets_are_moved_right_and_weigh_nothing_where_padded():
    split = examples(sizes=(2,))
    split.targets[:] = [np.array([5, 1], np.int32), np.array([6, 7, 1], np.int32)]
    split.lengths["targets"] = 4
    (batch,) = take(batches(split, batch_size=2, seed=0), 1)
    order = np.argsort(batch["decoder_target_tokens"][:, 0])
    for key, expected in {
        "decoder_target_tokens": [[5, 1, 0, 0], [6, 7, 1, 0]],
        "decoder_input_tokens": [[0, 5, 1, 0], [0, 6, 7, 1]],
        "decoder_loss_weights": [[1, 1, 0, 0], [1, 1, 1, 0]],
    }.items():
        np.testing.assert_array_equal(batch[key][order], expected)
        assert batch[key].dtype == np.int32


@pytest.mark.parametrize("sizes", [(11,), (11, 5)])
def test_starting_at_a_step_equals_dropping_the_batches_before(sizes):
    split = examples(sizes=sizes, rates=(2.0, 1.0)[: len(sizes)])
    whole = take(batches(split, 4, seed=1), 9)
    rest = take(batches(split, 4, seed=1, start_step=5), 4)
    for before, after in zip(whole[5:], rest, strict=True):
        for key in before:
            np.testing.assert_array_equal(before[key], after[key])


def test_hosts_rows_make_up_the_batch():
    split = examples(inputs=[5] * 19 + [70], length=512)
    whole = take(batches(split, 4, seed=1), 5)
    parts = [
        take(batches(split, 4, seed=1, host_rows=rows), 5)
        for rows in (slice(0, 2), [2, 3])
    ]
    for batch, *halves in zip(whole, *parts, strict=True):
        for key in batch:  # each host pads to the length of all
            together = np.concatenate([half[key] for half in halves])
            np.testing.assert_array_equal(batch[key], together)


def test_a_mixture_is_drawn_by_its_rates():
    split = examples(sizes=(2, 3), rates=(4.0, 1.0))
    rows = drawn(split, batch_size=50, seed=0, count=40)
    shares = np.bincount(rows, minlength=5) / len(rows)
    # 2,000 draws: a standard deviation is at most 0.011.
    assert shares == pytest.approx([0.4, 0.4, 1 / 15, 1 / 15, 1 / 15], abs=0.05)


def test_a_mixture_says_each_example_s_task():
    """By its row, in whole batches and in parts, for each seed."""
    split = examples(sizes=(2, 3, 1), rates=(1.0, 1.0, 1.0))
    assert split.task_ids(range(6)).tolist() == [0, 0, 1, 1, 1, 2]
    assert split.task_ids(np.arange(6)).dtype == np.int32
    (whole,) = take(batching.batches(split, 8, [0, 1]), 1)
    (parts,) = take(batching.in_parts(split, 8, [0, 1], 0, (8,), part_size=4), 1)
    for batch in (whole, *parts):
        rows = batch["decoder_target_tokens"][..., 0] - 2
        np.testing.assert_array_equal(batch["task_ids"], split.task_ids(rows))
        assert batch["task_ids"].dtype == np.int32
    (alone,) = take(batches(examples(), 8, 0), 1)
    assert "task_ids" not in alone


def test_parts_hold_the_batch_by_length_each_in_its_bucket():
    sizes = np.random.default_rng(0).integers(1, 300, 40).tolist()
    split = examples(sizes=(40,), inputs=sizes, length=512)
    seeds, buckets = [7, 8], (64, 160, 304)
    parts = take(batching.in_parts(split, 8, seeds, 3, buckets, part_size=4), 6)
    whole = take(batching.batches(split, 8, seeds, 3), 6)
    for batch, expected in zip(parts, whole, strict=True):
        assert [len(part["encoder_input_tokens"]) for part in batch] == [4, 4]
        for seed in range(2):
            lengths = [
                (part["encoder_input_tokens"][:, seed] != 0).sum(1) for part in batch
            ]
            assert (np.diff(np.concatenate(lengths)) >= 0).all()
            for key in ("decoder_target_tokens", "decoder_input_tokens"):
                got = np.concatenate([part[key][:, seed] for part in batch])
                assert sorted(got.ravel()) == sorted(expected[key][:, seed].ravel())
        for part in batch:
            tokens = part["encoder_input_tokens"]
            longest = (tokens != 0).sum(axis=2).max()
            assert tokens.shape[2] == min(b for b in buckets if b >= longest)


def waste(sizes, buckets):
    return sum(min(b for b in buckets if b >= size) - size for size in sizes)


def test_buckets_are_those_that_pad_least():
    """Against every choice of three lengths."""
    sizes = np.random.default_rng(1).integers(1, 250, 24).clip(max=200).tolist()
    split = examples(sizes=(24,), inputs=sizes, length=200)
    found = batching.best_buckets(split, 4, [0], part_size=1, count=3)
    cut = [max(64, min(size, 200)) for size in sizes]
    possible = [*range(64, 200, 8), 200]
    least = min(
        waste(cut * 16, (*chosen, max(found)))
        for chosen in itertools.combinations(possible, 2)
    )
    drawn_sizes = [
        max(64, len(split.inputs[row])) for row in drawn(split, 4, seed=0, count=96)
    ]
    assert len(found) == 3 and max(found) >= max(cut)
    assert waste(drawn_sizes, found) == least, "16 epochs of 24"


def test_parts_are_made_only_where_lengths_differ():
    short = examples(sizes=(40,), inputs=[30, 60] * 20, length=64)
    assert batching.part_buckets(short, 8, [0]) == ()
    long = examples(sizes=(40,), inputs=[400, 380] * 20, length=400)
    assert batching.part_buckets(long, 8, [0]) == ()
    mixed = examples(sizes=(40,), inputs=([70] * 9 + [500]) * 4, length=512)
    assert batching.part_buckets(mixed, 8, [0]) == (72, 504)
    assert batching.part_buckets(mixed, 6, [0]) == (), "not in parts of four"
