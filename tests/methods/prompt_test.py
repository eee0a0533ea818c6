"""Where a prompt comes from, and that the frozen model is passed on as it is."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.methods import prompt
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
MODEL = network.Transformer(
    dataclasses.replace(tiny.CONFIG, vocab_size=VOCABULARY.vocab_size)
)
FROZEN = tiny.params(MODEL)
TABLE_VxD = np.asarray(FROZEN["token_embedder"]["embedding"])
LABELS = ("food", "bird", "tool")


def first_prompt(array=None, **changes):
    run = Run(**{"prompt_length": 4} | changes)
    start = methods.Start(LABELS, VOCABULARY.encode, array)
    key = jax.random.key(run.seed)
    made = np.asarray(prompt.first_prompt(run, key, FROZEN, start))
    again = methods.of(Settings(run)).init(key, FROZEN, start)
    np.testing.assert_array_equal(made, again)
    return made


def rows_of(prompt_PxD):
    """The ids of the embeddings that a prompt is made of; -1 is none."""
    same = (prompt_PxD[:, None] == TABLE_VxD[None]).all(-1)
    return np.where(same.any(1), same.argmax(1), -1).tolist()


def ids(word):
    return VOCABULARY.encode(word)


# Where it comes from


def test_class_labels_come_first_and_are_the_tasks_own():
    found = rows_of(first_prompt(prompt_init="class_label"))
    assert found[:3] == [id for (id,) in map(ids, LABELS)] and found[3] >= 0
    changed = first_prompt(class_labels=("unheard", "bird"))
    mean = TABLE_VxD[ids("unheard")].mean(0)
    assert len(ids("unheard")) > 1
    np.testing.assert_allclose(changed[0], mean, rtol=1e-6)
    assert rows_of(changed)[1:2] == ids("bird")


def test_the_other_initialisers():
    sampled = rows_of(first_prompt(prompt_init="sampled_vocab"))
    assert min(sampled) >= 0 and len(set(sampled)) == 4
    uniform = first_prompt(prompt_init="random_uniform", prompt_length=50)
    assert uniform.shape == (50, 16) and 0.45 < np.abs(uniform).max() <= 0.5
    text = {"prompt_init": "string", "prompt_string": "the bird sang"}
    words = ids("the bird sang")
    found = rows_of(first_prompt(prompt_length=9, **text))
    assert found[: len(words)] == words and min(found) >= 0
    file = {"prompt_init": "file", "prompt_file": "p.npy"}
    np.testing.assert_array_equal(
        first_prompt(uniform, prompt_length=50, **file), uniform
    )
    with pytest.raises(
        UserError, match=r"\(50, 16\) .*needs \(4, 16\): set PROMPT_LEN"
    ):
        first_prompt(uniform, **file)


def test_a_task_without_label_words_needs_another_start():
    run, none = Run(prompt_length=4), methods.Start((), VOCABULARY.encode)
    with pytest.raises(UserError, match="set CLASS_LABELS, or another PROMPT_INIT"):
        prompt.first_prompt(run, jax.random.key(0), FROZEN, none)


def test_the_seed_draws_the_prompt():
    drawn = [first_prompt(prompt_init="random_uniform", seed=s) for s in (5, 5, 6)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_of_rounded_weights_the_prompt_starts_from_what_they_stand_for():
    kept = dict(FROZEN["token_embedder"])
    ints = np.rint(kept["embedding"] * 10).astype(np.int8)
    scales = np.full(len(ints), 0.1, np.float32)
    table = {"embedding": jax.numpy.asarray(ints), "embedding_scale": scales}
    start = methods.Start(LABELS, VOCABULARY.encode)
    made = prompt.first_prompt(
        Run(prompt_length=4), jax.random.key(0), {"token_embedder": table}, start
    )
    (bird,) = ids("bird")
    np.testing.assert_allclose(made[1], ints[bird] * np.float32(0.1), rtol=1e-6)


# How it is bound


def test_the_frozen_model_is_passed_on_as_it_is():
    method = methods.of(Settings())
    params, extra = method.bind(tiny.prompt(), FROZEN)
    assert params is FROZEN and method.fold(tiny.prompt(), FROZEN)[0] is None
    assert extra.encoder is extra.decoder is extra.label_rows is None
    np.testing.assert_array_equal(extra.prompt.vectors, tiny.prompt())


@pytest.mark.parametrize("place", ["prefix", "suffix"])
def test_the_prompt_stands_where_prompt_place_says(place):
    """A prompt of embeddings is as good as their tokens in the input."""
    bound = methods.of(Settings(Run(prompt_place=place))).bind(
        TABLE_VxD[[20, 21]], FROZEN
    )
    inputs = [20, 21, 7, 8] if place == "prefix" else [7, 8, 20, 21]
    encoded = [
        MODEL.apply(
            {"params": params}, np.array([[*tokens, 1]]), extra, method="encode"
        )
        for params, extra, tokens in ((*bound, [7, 8]), (FROZEN, tiny.extra(), inputs))
    ]
    (soft, soft_mask), (hard, hard_mask) = encoded
    assert soft_mask.all() and hard_mask.all()
    np.testing.assert_allclose(soft, hard, atol=1e-5)
