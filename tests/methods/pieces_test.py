"""Which pieces a prompt may be made of, and the nearest of them, by NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.method_settings import Pez
from prompt_tuning.methods import pieces
from prompt_tuning.settings import Run, Settings

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
FROZEN = tiny.params()
TABLE_VxD = FROZEN["token_embedder"]["embedding"]
SETTINGS = Settings(Run(method="pez"))


@pytest.mark.parametrize("vocabulary", [VOCABULARY, load_vocabulary("byt5")])
def test_a_run_fills_in_the_ids_that_are_text(vocabulary):
    found = methods.worded(SETTINGS, vocabulary)
    mask_V = pieces.allowed(found.pez.ids, vocabulary.vocab_size)
    every = range(vocabulary.vocab_size)
    assert [i for i in every if mask_V[i]] == [*filter(vocabulary.is_text, every)]
    assert mask_V.any() and not mask_V[:3].any(), "no padding, EOS, unknown"
    assert methods.worded(found, vocabulary) == found
    rows_to_spare = pieces.allowed(found.pez.ids, vocabulary.vocab_size + 7)
    assert not rows_to_spare[-7:].any()


def test_other_ids_than_those_are_refused():
    own = dataclasses.replace(SETTINGS, pez=Pez(ids="3-9"))
    with pytest.raises(UserError, match=r"pez\.ids is '3-9', but .* leave it out"):
        methods.worded(own, VOCABULARY)


def test_ids_in_short():
    np.testing.assert_array_equal(
        np.flatnonzero(pieces.allowed("2-4,7", 9)), [2, 3, 4, 7]
    )
    for wrong in ("2-9", "2-", "x", "3,,4"):
        with pytest.raises(UserError, match="must be as the run fills them in"):
            pieces.allowed(wrong, 9)
    with pytest.raises(ValueError, match=r"see methods\.worded"):
        pieces.allowed("", 9)


def nearest(vectors, frozen, ids):
    return np.asarray(pieces.nearest(vectors, frozen, pieces.allowed(ids, 40)))


def test_the_nearest_by_cosine_among_those_allowed():
    vectors, among = tiny.prompt(6), np.arange(5, 30)
    rows = TABLE_VxD[among].astype(np.float64)
    cosine = vectors @ rows.T / np.linalg.norm(rows, axis=1)
    expected = among[cosine.argmax(1)]
    np.testing.assert_array_equal(nearest(vectors, FROZEN, "5-29"), expected)
    longer = vectors * np.float32(7)
    np.testing.assert_array_equal(nearest(longer, FROZEN, "5-29"), expected)
    assert set(nearest(vectors, FROZEN, "8")) == {8}


def test_a_row_is_nearest_to_itself_and_a_zero_row_to_nothing():
    table_VxD = TABLE_VxD.copy()
    table_VxD[30:] = 0
    ids = np.array([29, 7, 11])
    frozen = {"token_embedder": {"embedding": jnp.asarray(table_VxD)}}
    found = nearest(table_VxD[ids] / 3, frozen, "3-39")
    np.testing.assert_array_equal(found, ids)


def test_a_text_to_start_from_must_be_text():
    run = Run(prompt_length=2, prompt_init="string", prompt_string="a text")
    key, words = jax.random.key(0), [9, 4, 0]
    start = methods.Start((), lambda text: words if text else [])
    found = pieces.first_prompt(run, key, FROZEN, start, "3-39")
    np.testing.assert_array_equal(found, TABLE_VxD[[9, 4]])
    with pytest.raises(UserError, match="'a text', of whose pieces 4 is no text"):
        pieces.first_prompt(run, key, FROZEN, start, "5-39")
