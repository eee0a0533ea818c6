"""Where the vectors of a prompt go, against lists of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_tuning import partitioning
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import END, Prompt

# Row i of the embedding is i in every column, so a row tells its token.
EMBEDDING_VxD = np.repeat(np.arange(50, dtype=np.float32)[:, None], 3, axis=1)
# Rows with EOS and padding, without EOS, full with and without EOS, and an empty one.
ROWS = [[7, 8, 1], [7, 8, 9], [5, 6, 7, 8, 1], [5, 6, 7, 8, 9], []]
TOKENS_BxT = np.array([row + [0] * (5 - len(row)) for row in ROWS], np.int32)
SOFT = [20, 21, 22]


def combined(prompt):
    """Tokens of each row after `combine`, and what stands where vectors should be."""
    x_BxLxD, mask_BxL, positions_BxP = jax.jit(placing.combine)(
        prompt, EMBEDDING_VxD[TOKENS_BxT], TOKENS_BxT
    )
    assert x_BxLxD.shape == (5, 8, 3) and mask_BxL.shape == (5, 8)
    tokens_BxL = np.asarray(x_BxLxD)[..., 0].astype(int)
    sizes = np.asarray(mask_BxL).sum(1)
    np.testing.assert_array_equal(mask_BxL, np.arange(8) < sizes[:, None])
    rows = [row[:size].tolist() for row, size in zip(tokens_BxL, sizes, strict=True)]
    return rows, np.take_along_axis(tokens_BxL, np.asarray(positions_BxP), 1).tolist()


def by_hand(tokens, vectors, before, mask):
    """Vectors among tokens, one after the other."""
    end = len(tokens) - (tokens[-1:] == [1])
    before = [i if 0 <= i < len(tokens) else end for i in before]
    out = []
    for i in range(len(tokens) + 1):
        here = zip(vectors, before, mask, strict=True)
        out += [vector for vector, place, there in here if there and place == i]
        out += tokens[i : i + 1]
    return out


def test_a_prefix_is_in_front():
    expected = [SOFT + row for row in ROWS], [SOFT] * 5
    assert combined(placing.prefix(EMBEDDING_VxD[SOFT])) == expected


def test_a_suffix_is_before_the_eos():
    expected = [
        [7, 8, *SOFT, 1],
        [7, 8, 9, *SOFT],
        [5, 6, 7, 8, *SOFT, 1],
        [5, 6, 7, 8, 9, *SOFT],
        SOFT,
    ]
    assert combined(placing.suffix(EMBEDDING_VxD[SOFT])) == (expected, [SOFT] * 5)


@pytest.mark.parametrize(
    "before", [(0, 1, 2), (2, 2, 0), (END, 1, END), (3, 4, 5), (END, 9, 0)]
)
def test_vectors_stand_before_their_tokens(before):
    prompt = Prompt(EMBEDDING_VxD[SOFT], np.array(before))
    expected = [by_hand(row, SOFT, before, [True] * 3) for row in ROWS]
    assert combined(prompt) == (expected, [SOFT] * 5)


def test_each_example_may_have_its_own_vectors_places_and_length():
    rng = np.random.default_rng(0)
    for _ in range(20):
        vectors_BxP = rng.integers(10, 50, (5, 3))
        before_BxP, mask_BxP = rng.integers(-1, 6, (5, 3)), rng.random((5, 3)) < 0.6
        got, at = combined(Prompt(EMBEDDING_VxD[vectors_BxP], before_BxP, mask_BxP))
        each = zip(ROWS, vectors_BxP, before_BxP, mask_BxP, strict=True)
        assert got == [by_hand(*row) for row in each]
        assert at == vectors_BxP.tolist(), "those that are not there, behind the rest"


def test_one_mask_may_be_that_of_all():
    prompt = placing.prefix(EMBEDDING_VxD[SOFT])._replace(mask=np.arange(3) != 1)
    assert combined(prompt)[0] == [[20, 22, *row] for row in ROWS]


def test_a_prompt_takes_the_activations_type_and_may_hold_the_pad_embedding():
    x = EMBEDDING_VxD[TOKENS_BxT].astype("bfloat16")
    for place in (placing.prefix, placing.suffix):
        prompt = place(np.zeros((2, 3), np.float32))
        got, mask, _ = placing.combine(prompt, x, TOKENS_BxT)
        assert got.dtype == "bfloat16"
        np.testing.assert_array_equal(mask.sum(1), (TOKENS_BxT > 0).sum(1) + 2)


BEFORE = np.array([END, 1, 0])


def test_the_gradient_is_what_stands_where_each_vector_and_token_went():
    """Alone, and mapped over several prompts as a joint step may."""
    rng = np.random.default_rng(1)
    weight_NxBxLxD = rng.normal(size=(2, 5, 8, 3)).astype(np.float32)
    vectors_NxPxD = rng.normal(size=(2, 3, 3)).astype(np.float32)

    def loss(vectors_PxD, x_BxTxD, weight_BxLxD):
        prompt = Prompt(vectors_PxD, BEFORE)
        x_BxLxD, _, _ = placing.combine(prompt, x_BxTxD, TOKENS_BxT)
        return jnp.sum(x_BxLxD * weight_BxLxD)

    gradient = jax.grad(loss, argnums=(0, 1))
    x_BxTxD = EMBEDDING_VxD[TOKENS_BxT]
    mapped = jax.jit(jax.vmap(gradient, (0, None, 0)))
    got = mapped(vectors_NxPxD, x_BxTxD, weight_NxBxLxD)
    for n in range(2):
        expected_PxD, expected_BxTxD = np.zeros((3, 3)), np.zeros((5, 5, 3))
        for b, row in enumerate(ROWS):
            marks = by_hand(row, "abc", BEFORE, [True] * 3)
            where = [i for i, mark in enumerate(marks) if not isinstance(mark, str)]
            where += range(len(marks), 8)  # padding stays behind
            for p, name in enumerate("abc"):
                expected_PxD[p] += weight_NxBxLxD[n, b, marks.index(name)]
            expected_BxTxD[b] = weight_NxBxLxD[n, b, where]
        np.testing.assert_allclose(got[0][n], expected_PxD, rtol=1e-5)
        np.testing.assert_allclose(got[1][n], expected_BxTxD, rtol=1e-5)
        alone = gradient(vectors_NxPxD[n], x_BxTxD, weight_NxBxLxD[n])
        for one, of_all in zip(alone, got, strict=True):
            np.testing.assert_allclose(one, of_all[n], rtol=1e-5)


def test_a_shift_is_added_where_the_prompt_is():
    rng = np.random.default_rng(2)
    x_BxLxD = rng.normal(size=(2, 5, 3)).astype(np.float32)
    positions_BxP = np.array([[0, 3], [4, 1]])
    for shift in (rng.normal(size=(2, 3)), rng.normal(size=(2, 2, 3))):
        expected = x_BxLxD.copy()
        for b, p in np.ndindex(2, 2):
            expected[b, positions_BxP[b, p]] += np.broadcast_to(shift, (2, 2, 3))[b, p]
        got = placing.shifted(x_BxLxD, jnp.asarray(shift), positions_BxP)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_split_batch_stays_where_it_is():
    mesh = partitioning.mesh(8, 1)
    split, whole = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in (("data",), ())
    )
    x, tokens, vectors = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        for shape, dtype, sharding in (
            ((16, 5, 4), jnp.float32, split),
            ((16, 5), jnp.int32, split),
            ((3, 4), jnp.float32, whole),
        )
    )

    def loss(vectors_PxD, x_BxTxD, tokens_BxT):
        prompt = Prompt(vectors_PxD, BEFORE)
        x_BxLxD, mask_BxL, positions_BxP = placing.combine(prompt, x_BxTxD, tokens_BxT)
        x_BxLxD = placing.shifted(x_BxLxD, vectors_PxD, positions_BxP)
        return jnp.sum(jnp.square(x_BxLxD) * mask_BxL[..., None])

    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.grad(loss)).lower(vectors, x, tokens).compile()
    text = compiled.as_text()
    assert "f32[2,8,4]" in text and "f32[16,8,4]" not in text
    assert not any(name in text for name in ("all-gather", "all-to-all", "permute("))
