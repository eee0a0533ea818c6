"""SuperPos: mixtures of embeddings, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import superpos
from prompt_tuning.settings import Run, Settings

START = methods.Start(class_words=(), encode=list)
FROZEN = tiny.params()
TABLE_VxD = FROZEN["token_embedder"]["embedding"]


def begun(length=4, rows=20, seed=0, init="sampled_vocab"):
    own = method_settings.Superpos(rows=rows)
    run = Run(method="superpos", prompt_length=length, prompt_init=init)
    method = methods.of(Settings(run, superpos=own))
    return method, method.init(jax.random.key(seed), FROZEN, START)


def prompt(method, trained, frozen=FROZEN):
    return np.asarray(method.fold(trained, frozen)[1].prompt.vectors)


def test_each_vector_starts_as_an_embedding_of_its_own():
    method, trained = begun()
    made = prompt(method, trained)
    same = (made[:, None] == TABLE_VxD[None]).all(-1)
    assert same.any(1).all() and len(set(same.argmax(1))) == 4
    other = prompt(*begun(seed=1))
    assert not np.array_equal(made, other), "SEED draws which"


def test_a_vector_is_a_mixture_of_the_sampled_embeddings():
    method, trained = begun()
    weights_PxM = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    assert trained["weights"].shape == weights_PxM.shape
    ids_M = superpos.sampled(method_settings.Superpos(rows=20), len(TABLE_VxD))
    expected = weights_PxM @ TABLE_VxD[ids_M]
    found = prompt(method, {"weights": weights_PxM})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_sample_is_of_common_tokens_once_and_the_same_for_every_seed():
    one, other = (method_settings.Superpos(sample=seed) for seed in (0, 1))
    ids_M = superpos.sampled(one, 32_128)
    assert len(set(ids_M)) == 128 and ids_M.min() >= 0 and ids_M.max() < 5_000
    np.testing.assert_array_equal(ids_M, superpos.sampled(one, 32_128))
    assert set(ids_M) != set(superpos.sampled(other, 32_128))


def test_more_vectors_than_rows_share_them():
    _, trained = begun(length=7, rows=2)
    np.testing.assert_array_equal(trained["weights"].sum(1), np.ones(7))


def test_of_rounded_embeddings_it_mixes_what_they_stand_for():
    ints = np.rint(TABLE_VxD * 10).astype(np.int8)
    kept = {"embedding": jnp.asarray(ints), "embedding_scale": jnp.full(40, 0.1)}
    method, trained = begun()
    found = prompt(method, trained, {"token_embedder": kept})
    float_ = {"token_embedder": {"embedding": ints * np.float32(0.1)}}
    np.testing.assert_allclose(found, prompt(method, trained, float_), rtol=1e-6)


def test_another_start_and_too_small_a_table_are_refused():
    with pytest.raises(UserError, match="set PROMPT_INIT=sampled_vocab"):
        begun(init="random_uniform")
    with pytest.raises(UserError, match=r"superpos\.rows is 41.* 40 embeddings"):
        begun(rows=41)
