"""Where the vectors of a prompt go."""

import numpy as np
import pytest

from prompt_tuning.t5 import placing

# Row i of the embedding is i in every column, so a row tells its token.
EMBEDDING_VxD = np.repeat(np.arange(50, dtype=np.float32)[:, None], 3, axis=1)
# Rows with EOS and padding, without EOS, full with and without EOS, and an empty one.
TOKENS_BxT = np.array(
    [[7, 8, 1, 0, 0], [7, 8, 9, 0, 0], [5, 6, 7, 8, 1], [5, 6, 7, 8, 9], [0] * 5]
)
PROMPT = [20, 21]


def combined(combine, prompt):
    """Tokens of each row after `combine`, None where the mask says padding."""
    x_BxLxD, mask_BxL = combine(prompt, EMBEDDING_VxD[TOKENS_BxT], TOKENS_BxT)
    assert x_BxLxD.shape == (5, 7, 3) and mask_BxL.shape == (5, 7)
    tokens_BxL = np.asarray(x_BxLxD)[..., 0].astype(int)
    return [
        [int(t) if seen else None for t, seen in zip(row, mask, strict=True)]
        for row, mask in zip(tokens_BxL, mask_BxL, strict=True)
    ]


def padded(rows):
    return [row + [None] * (7 - len(row)) for row in rows]


def test_prefix_puts_the_prompt_in_front():
    rows = [[7, 8, 1], [7, 8, 9], [5, 6, 7, 8, 1], [5, 6, 7, 8, 9], []]
    expected = padded([PROMPT + row for row in rows])
    assert combined(placing.prefix, EMBEDDING_VxD[PROMPT]) == expected


def test_suffix_puts_the_prompt_before_the_eos():
    expected = padded(
        [
            [7, 8, 20, 21, 1],
            [7, 8, 9, 20, 21],
            [5, 6, 7, 8, 20, 21, 1],
            [5, 6, 7, 8, 9, 20, 21],
            [20, 21],
        ]
    )
    assert combined(placing.suffix, EMBEDDING_VxD[PROMPT]) == expected


@pytest.mark.parametrize("combine", [placing.prefix, placing.suffix])
def test_each_example_may_have_its_own_prompt(combine):
    prompt_BxP = np.arange(10, 20).reshape(5, 2)
    got = combined(combine, EMBEDDING_VxD[prompt_BxP])
    for row, prompt_P in enumerate(prompt_BxP):
        assert got[row] == combined(combine, EMBEDDING_VxD[prompt_P])[row]


@pytest.mark.parametrize("combine", [placing.prefix, placing.suffix])
def test_a_prompt_takes_the_activations_type_and_may_hold_the_pad_embedding(combine):
    x = EMBEDDING_VxD[TOKENS_BxT].astype("bfloat16")
    got, mask = combine(np.zeros((2, 3), np.float32), x, TOKENS_BxT)
    assert got.dtype == "bfloat16"
    np.testing.assert_array_equal(mask.sum(1), (TOKENS_BxT > 0).sum(1) + 2)
