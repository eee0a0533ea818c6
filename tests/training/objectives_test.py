import functools
import itertools

import numpy as np
import pytest

from prompt_tuning.training import objectives

VOCAB_SIZE = 2048
FIRST_SENTINEL = VOCAB_SIZE - 1
LENGTHS = [2, 3, 7, 20, 43, 64, 200]


def rng(*seed):
    return np.random.default_rng(seed)


def text(length, seed=0):
    """Ids of ordinary pieces, no two the same, so that a misplaced one shows."""
    return 100 + rng(length, seed).permutation(length)


def corrupt(tokens, seed=0, **settings):
    inputs, targets = objectives.span_corruption(
        tokens, rng(7, seed), VOCAB_SIZE, **settings
    )
    return inputs.tolist(), targets.tolist()


def is_sentinel(token):
    return token > VOCAB_SIZE - 100


def spans_by_sentinel(targets):
    """Reads targets without EOS: {sentinel: [tokens]}, in order."""
    spans = {}
    for token in targets:
        if is_sentinel(token):
            spans[token] = []
            current = spans[token]
        else:
            current.append(token)
    return spans


@pytest.mark.parametrize("length", LENGTHS)
def test_span_corruption_can_be_undone(length):
    for seed in range(20):
        tokens = text(length, seed)
        inputs, targets = corrupt(tokens, seed)
        assert inputs.pop() == targets.pop() == objectives.EOS_ID
        spans = spans_by_sentinel(targets)
        filled = [spans.pop(t) if is_sentinel(t) else [t] for t in inputs]
        assert list(itertools.chain(*filled)) == tokens.tolist()
        assert not spans, "a span of the targets has no place in the inputs"


@pytest.mark.parametrize("length", LENGTHS)
def test_sentinels_count_down_from_the_last_id_in_inputs_and_targets(length):
    for seed in range(20):
        for side in corrupt(text(length, seed), seed):
            sentinels = [t for t in side if is_sentinel(t)]
            expected = range(FIRST_SENTINEL, FIRST_SENTINEL - len(sentinels), -1)
            assert sentinels == list(expected)


@pytest.mark.parametrize(
    "length, settings, lost, spans",
    [
        (100, {}, 15, 5),  # 0.15 * 100 tokens in spans of 3
        (40, {}, 6, 2),
        (10, {}, 2, 1),
        (2, {}, 1, 1),  # never nothing
        (100, {"noise_density": 0.5}, 50, 17),
        (100, {"noise_density": 0.3, "mean_noise_span_length": 10.0}, 30, 3),
        (10, {"noise_density": 0.9, "mean_noise_span_length": 1.0}, 9, 1),  # one kept
    ],
)
def test_as_many_tokens_and_spans_are_lost_as_the_settings_say(
    length, settings, lost, spans
):
    for seed in range(10):
        inputs, targets = corrupt(text(length), seed, **settings)
        assert len([t for t in targets if is_sentinel(t)]) == spans
        assert len(targets) == lost + spans + 1
        assert len(inputs) == length - lost + spans + 1


def test_every_span_length_can_be_drawn_and_every_place_can_be_lost():
    tokens, lengths, lost = text(40), set(), set()
    for seed in range(300):
        spans = spans_by_sentinel(corrupt(tokens, seed)[1][:-1]).values()
        lengths.update(map(len, spans))
        lost.update(itertools.chain(*spans))
    assert lengths == {1, 2, 3, 4, 5}  # 6 tokens in 2 spans
    assert lost == set(tokens.tolist()[1:])  # a kept run is first


def test_prefix_lm_continues_the_text_and_both_sides_end():
    for seed in range(50):
        tokens = text(30, seed)
        inputs, targets = objectives.prefix_lm(tokens, rng(seed), 31)
        assert inputs[-1] == targets[-1] == objectives.EOS_ID
        assert len(inputs) > 1 and len(targets) > 1
        assert [*inputs[:-1], *targets[:-1]] == tokens.tolist()


def test_prefix_lm_splits_everywhere_equally_often():
    tokens, draws = text(5), rng(0)
    lengths = [len(objectives.prefix_lm(tokens, draws, 9)[0]) - 1 for _ in range(4000)]
    counts = np.bincount(lengths, minlength=5)
    assert counts[0] == 0 and len(counts) == 5
    np.testing.assert_allclose(counts[1:], 1000, atol=100)  # 3.6 sigma


@pytest.mark.parametrize("tokens", [[], [9]])
def test_a_text_too_short_to_split_is_an_error(tokens):
    for objective in (continuation, corruption):
        with pytest.raises(ValueError, match=f"{len(tokens)} tokens"):
            objective(np.array(tokens), rng(0))


# Rows of packed text.


def test_the_raw_length_is_t5s():
    assert objectives.raw_length(512, 114) == 568  # as T5's random_spans_helper says
    for inputs, targets in ((512, 114), (256, 64), (256, 20), (24, 16), (4, 4)):
        length = objectives.raw_length(inputs, targets)
        sides = corrupt(text(length))
        assert len(sides[0]) <= inputs and len(sides[1]) <= targets
        assert length == 2 or len(sides[0]) == inputs or len(sides[1]) == targets
    assert len(corrupt(text(objectives.raw_length(4_000, 4_000)))[1]) < 500
    with pytest.raises(ValueError, match="hold no text"):
        objectives.raw_length(2, 2)


def rows_of(length, count=40):
    return np.stack([text(length, seed) for seed in range(count)])


@pytest.mark.parametrize("length", LENGTHS)
def test_rows_are_corrupted_as_documents_are(length):
    rows = rows_of(length)
    sides = objectives.span_corruption_of_rows(rows, rng(1), VOCAB_SIZE)
    of_one = corrupt(text(length))
    for tokens, inputs, targets in zip(
        rows, *map(np.ndarray.tolist, sides), strict=True
    ):
        assert (len(inputs), len(targets)) == (len(of_one[0]), len(of_one[1]))
        assert inputs.pop() == targets.pop() == objectives.EOS_ID
        assert [t for t in inputs if is_sentinel(t)] == [
            t for t in targets if is_sentinel(t)
        ]
        spans = spans_by_sentinel(targets)
        filled = [spans[t] if is_sentinel(t) else [t] for t in inputs]
        assert list(itertools.chain(*filled)) == tokens.tolist()


def test_rows_lose_spans_of_every_length_as_often_as_documents_do():
    def lengths_of(many_targets):
        spans = (spans_by_sentinel(t[:-1]).values() for t in many_targets)
        return np.bincount([len(span) for each in spans for span in each], minlength=6)

    tokens, count = text(40), 4_000
    rows = np.tile(tokens, (count, 1))
    _, targets = objectives.span_corruption_of_rows(rows, rng(2), VOCAB_SIZE)
    found = lengths_of(targets.tolist())
    expected = lengths_of(corrupt(tokens, seed)[1] for seed in range(count))
    np.testing.assert_allclose(found, expected, atol=160)  # 1,600 of each; 4 sigma
    lost = {one for row in targets.tolist() for one in row if not is_sentinel(one)}
    assert lost - {objectives.EOS_ID} == set(tokens.tolist()[1:])


def test_rows_are_continued_from_every_place_and_targets_are_full():
    rows = rows_of(12 + 5 - 2, count=2_000)
    inputs, targets = objectives.prefix_lm_of_rows(rows, rng(3), input_length=12)
    assert inputs.shape == (2_000, 12) and targets.shape == (2_000, 5)
    splits = (inputs != 0).sum(axis=1) - 1
    for row, split, before, after in zip(rows, splits, inputs, targets, strict=True):
        assert before[split] == after[-1] == objectives.EOS_ID
        np.testing.assert_array_equal(before[:split], row[:split])
        np.testing.assert_array_equal(after[:-1], row[split : split + 4])
    counts = np.bincount(splits)[1:]
    assert len(counts) == 11 and counts.min() > 130  # 182 of each


corruption = functools.partial(objectives.span_corruption, vocab_size=VOCAB_SIZE)
continuation = functools.partial(objectives.prefix_lm, input_length=64)
DOCUMENTS = [text(10 + i % 50, seed=i) for i in range(40)]


def batches(objective=continuation, seed=3, documents=DOCUMENTS, **settings):
    shape = {"batch_size": 8, "input_length": 64, "target_length": 24} | settings
    return objectives.batches(
        documents, objective, seed=seed, **{"longest": 64} | shape
    )


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


@pytest.mark.parametrize("objective", [continuation, corruption])
def test_a_batch_depends_on_the_seed_and_its_number_alone(objective):
    first = list(itertools.islice(batches(objective), 6))
    resumed = list(itertools.islice(batches(objective, start_step=4), 2))
    for left, right in zip(first[4:], resumed, strict=True):
        assert_same(left, right)
    other_seed = next(batches(objective, seed=4))
    for other in (first[1], other_seed):
        key = "encoder_input_tokens"
        assert (first[0][key] != other[key]).any()


def test_batches_have_the_keys_shapes_and_shift_of_t5x():
    batch = next(batches())
    targets = batch["decoder_target_tokens"]
    assert batch["encoder_input_tokens"].shape == (8, 64)
    assert {v.dtype for v in batch.values()} == {np.dtype(np.int32)}
    assert targets.shape == (8, 24)
    np.testing.assert_array_equal(batch["decoder_input_tokens"][:, 0], 0)
    np.testing.assert_array_equal(batch["decoder_input_tokens"][:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(batch["decoder_loss_weights"], targets > 0)
    assert (targets == 0).any(), "no padding: the test shows nothing"


def test_of_a_long_text_the_continuation_follows_the_prefix():
    """Texts of 500 numbers that go up by one; 62 and 30 of them are room enough."""
    documents = [np.arange(3 + i, 503 + i) for i in range(5)]
    shape = {"batch_size": 64, "target_length": 32, "longest": 94}
    batch = next(batches(documents=documents, **shape))
    firsts = set()
    for source, target in zip(
        batch["encoder_input_tokens"], batch["decoder_target_tokens"], strict=True
    ):
        end = np.flatnonzero(source == objectives.EOS_ID)[-1]
        assert target[0] == source[end - 1] + 1, "a gap between prefix and target"
        assert (np.diff(source[:end]) == 1).all() and not source[end + 1 :].any()
        own = target[target > objectives.EOS_ID]
        assert (np.diff(own) == 1).all()
        firsts.add(source[0])
    assert max(firsts) > 300, "all of a text is read"


def test_of_a_long_text_each_span_that_is_lost_is_in_the_target():
    longest = objectives.raw_length(64, 24)
    documents = [np.arange(2, 402)]
    shape = {"batch_size": 32, "longest": longest}
    batch = next(batches(corruption, documents=documents, **shape))
    sentinel = VOCAB_SIZE - objectives.SENTINELS
    for source, target in zip(
        batch["encoder_input_tokens"], batch["decoder_target_tokens"], strict=True
    ):
        marks = [[t for t in side if t >= sentinel] for side in (source, target)]
        assert marks[0] == marks[1] and len(marks[0]) > 1
        assert objectives.EOS_ID in source and objectives.EOS_ID in target
        own = [t for side in (source, target) for t in side if 1 < t < sentinel]
        assert len(own) == longest == max(own) - min(own) + 1


def test_a_cut_target_has_no_end():
    whole = next(batches(batch_size=64, target_length=80))
    cut = next(batches(batch_size=64, target_length=3))
    key = "decoder_target_tokens"
    np.testing.assert_array_equal(cut[key], whole[key][:, :3])
    over = whole["decoder_target_tokens"][:, 3] != 0
    assert over.any()
    assert (cut["decoder_target_tokens"][over] != objectives.EOS_ID).all()
    np.testing.assert_array_equal(cut["decoder_loss_weights"][over], 1)


def test_batches_reach_every_document():
    firsts = {document[0] for document in DOCUMENTS}
    seen = {
        row[0]
        for batch in itertools.islice(batches(), 60)
        for row in batch["encoder_input_tokens"]
    }
    assert seen == firsts
