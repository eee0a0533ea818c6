"""Where the rows of a prompt come from."""

import jax
import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.methods import initializers

RNG = jax.random.key(0)
# Row i of the embedding is i in every column, so a row tells its token.
EMBEDDING_VxD = np.repeat(np.arange(50, dtype=np.float32)[:, None], 3, axis=1)


def made(init, length, width=3):
    prompt_PxD = np.asarray(init(RNG, (length, width)))
    assert prompt_PxD.shape == (length, width) and prompt_PxD.dtype == np.float32
    return prompt_PxD


def tokens_of(prompt_PxD):
    np.testing.assert_array_equal(prompt_PxD, prompt_PxD[:, :1].repeat(3, axis=1))
    return prompt_PxD[:, 0].tolist()


def test_random_uniform_fills_the_papers_interval():
    values = made(initializers.random_uniform(), 100, 64)
    assert -0.5 <= values.min() < -0.499 and 0.499 < values.max() < 0.5
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1 / np.sqrt(12)) < 0.01
    assert np.abs(made(initializers.random_uniform(0.1), 100)).max() <= 0.1


def test_sampled_vocab_takes_common_tokens_once():
    drawn = tokens_of(
        made(initializers.sampled_vocab(EMBEDDING_VxD, population=20), 20)
    )
    assert sorted(drawn) == list(range(20)) and drawn != list(range(20))
    drawn = tokens_of(made(initializers.sampled_vocab(EMBEDDING_VxD), 50))
    assert sorted(drawn) == list(range(50)), "5,000 is cut to the vocabulary"


def test_sampled_vocab_repeats_only_beyond_the_population():
    drawn = tokens_of(made(initializers.sampled_vocab(EMBEDDING_VxD, population=4), 30))
    assert set(drawn) == {0, 1, 2, 3}


def test_another_seed_draws_another_prompt():
    init = initializers.sampled_vocab(EMBEDDING_VxD)
    same = [tokens_of(np.asarray(init(jax.random.key(s), (9, 3)))) for s in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


def test_class_labels_are_means_of_pieces_and_the_rest_is_sampled():
    init = initializers.class_labels(EMBEDDING_VxD, [[40], [41, 44], [45, 46, 49]], 20)
    drawn = tokens_of(made(init, 12))
    assert drawn[:3] == pytest.approx([40, 42.5, 140 / 3])
    assert len(set(drawn[3:])) == 9 and max(drawn[3:]) < 20


def test_labels_beyond_the_prompt_are_left_out():
    init = initializers.class_labels(EMBEDDING_VxD, [[40], [41], [42]])
    assert tokens_of(made(init, 2)) == [40, 41]


@pytest.mark.parametrize("labels", [[], [[3], []]])
def test_no_words_for_a_label_is_an_error(labels):
    with pytest.raises(UserError, match="CLASS_LABELS"):
        initializers.class_labels(EMBEDDING_VxD, labels)


def test_a_string_keeps_its_order_and_is_cut_or_filled():
    init = initializers.string(EMBEDDING_VxD, [30, 45, 30, 31], population=20)
    assert tokens_of(made(init, 3)) == [30, 45, 30]
    drawn = tokens_of(made(init, 7))
    assert drawn[:4] == [30, 45, 30, 31] and max(drawn[4:]) < 20


def test_from_array_is_that_array_and_must_fit():
    array = np.random.default_rng(0).normal(size=(4, 3))
    init = initializers.from_array(array)
    np.testing.assert_array_equal(made(init, 4), array.astype(np.float32))
    for shape in ((5, 3), (4, 2)):
        with pytest.raises(UserError, match=r"\(4, 3\).*PROMPT_LENGTH"):
            init(RNG, shape)


def test_an_embedding_of_another_width_is_an_error():
    for init in (
        initializers.sampled_vocab(EMBEDDING_VxD),
        initializers.class_labels(EMBEDDING_VxD, [[1]]),
    ):
        with pytest.raises(UserError, match="4 wide, the embedding 3"):
            init(RNG, (5, 4))
