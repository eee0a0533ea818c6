"""Predictions of any number of inputs, compiled once for every prompt."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.t5 import decoding, network, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import batching, predictor

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
MODEL = network.Transformer(
    dataclasses.replace(tiny.CONFIG, vocab_size=VOCABULARY.vocab_size)
)
LABELS = ("food", "bird", "tool")
LABELS_LxS = batching.pad([[*VOCABULARY.encode(word), 1] for word in LABELS], 3)


@pytest.fixture(scope="module")
def mesh():
    return partitioning.mesh(4, 2)


@pytest.fixture(scope="module")
def params(mesh):
    shardings = partitioning.param_shardings(MODEL, mesh)
    return jax.device_put(tiny.params(MODEL), shardings)


def inputs(count, length=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(3, 2_000, (count, length)).astype(np.int32)


# One batch


def test_greedy_predictions_are_as_long_as_asked(mesh, params):
    same = np.full((8, 5), 7, np.int32)
    predict = predictor.make_predict_fn(MODEL, mesh, length=3)
    first, second = tiny.prompt(), -9 * tiny.prompt()
    tokens = predict(params, tiny.extra(first))(same)
    assert isinstance(tokens, np.ndarray)
    assert tokens.shape == (8, 3) and (tokens == tokens[0]).all()
    # Compiled for all prompts, not with the first one in it.
    other = predict(params, tiny.extra(second))(same)
    assert not np.array_equal(tokens, other)
    assert np.array_equal(predict(params, tiny.extra(first))(same), tokens)


def test_predictions_are_greedy_decodings_on_one_device(mesh, params):
    extra, batch = tiny.extra(tiny.prompt()), inputs(8)
    got = predictor.make_predict_fn(MODEL, mesh, 4)(params, extra)(batch)
    alone = jax.jit(decoding.greedy, static_argnums=(0, 4))
    expected = alone(MODEL, tiny.params(MODEL), batch, extra, 4)
    np.testing.assert_array_equal(got, expected)


def test_one_program_serves_every_prompt_and_tuned_model(mesh, params):
    predict, batch = predictor.make_predict_fn(MODEL, mesh, length=2), inputs(8)
    prompts = [tiny.extra(tiny.prompt(seed=seed)) for seed in (1, 2)]
    tuned = jax.tree.map(lambda x: 2 * x, params)
    with tiny.compilations() as compilations:
        predict(params, prompts[0])(batch)
        first = len(compilations)
        predict(params, prompts[1])(batch)
        predict(tuned, prompts[0])(batch)
    assert len(compilations) == first > 0


def test_a_tuned_model_predicts_without_a_prompt(mesh, params):
    predict = predictor.make_predict_fn(MODEL, mesh, length=3)
    batch = inputs(8)
    without = predict(params, Extra())(batch)
    prompted = predict(params, tiny.extra(9 * tiny.prompt()))(batch)
    assert without.shape == (8, 3) and not np.array_equal(without, prompted)


def test_label_predictions_are_labels_whatever_the_input(mesh, params):
    predict = predictor.make_predict_fn(MODEL, mesh, 3, LABELS_LxS)
    fn = predict(params, tiny.extra(tiny.prompt()))
    texts = predictor.predict_texts(fn, inputs(64), 8, VOCABULARY)
    assert set(texts) <= set(LABELS) and len(set(texts)) > 1


def test_the_label_predicted_is_the_likeliest(mesh, params):
    extra, batch = tiny.extra(tiny.prompt()), inputs(16)
    predict = predictor.make_predict_fn(MODEL, mesh, 3, LABELS_LxS)
    got = predict(params, extra)(batch)
    scored = jax.jit(decoding.label_scores, static_argnums=0)
    scores_BxL = scored(MODEL, tiny.params(MODEL), batch, extra, LABELS_LxS)
    np.testing.assert_array_equal(got, LABELS_LxS[np.argmax(scores_BxL, axis=1)])


def test_each_input_is_given_the_likeliest_of_its_own_labels(mesh, params):
    extra, batch = tiny.extra(tiny.prompt()), inputs(19)
    own_NxL = np.arange(19)[:, None] % 3 != np.arange(3)  # two labels each
    predict = predictor.make_predict_fn(MODEL, mesh, 3, LABELS_LxS)(params, extra)
    texts = predictor.predict_texts(predict, batch, 8, VOCABULARY, own_NxL)
    scored = jax.jit(decoding.label_scores, static_argnums=0)
    scores_NxL = scored(MODEL, tiny.params(MODEL), batch, extra, LABELS_LxS)
    for text, scores, own in zip(texts, scores_NxL, own_NxL, strict=True):
        allowed = {LABELS[i]: float(scores[i]) for i in np.flatnonzero(own)}
        assert text == max(allowed, key=allowed.__getitem__)


@pytest.mark.parametrize("labels_LxS", [None, LABELS_LxS])
def test_each_input_is_given_the_prompt_of_its_task(mesh, params, labels_LxS):
    """Whatever the order and the batches that they are predicted in."""
    batch, tasks_N = inputs(19), np.arange(19, dtype=np.int32) % 3
    prompts_KxPxD = np.stack([tiny.prompt(seed=seed) for seed in range(3)])
    make = predictor.make_predict_fn(MODEL, mesh, 3, labels_LxS)
    predict = make(params, Extra(bank=placing.prefix(prompts_KxPxD)))
    found = predictor.predict_in_batches(predict, batch, 8, tasks_N=tasks_N)
    each = [
        predictor.predict_in_batches(make(params, tiny.extra(own)), batch, 8)
        for own in prompts_KxPxD
    ]
    assert any((own != each[0]).any() for own in each)
    np.testing.assert_array_equal(found, np.stack(each)[tasks_N, np.arange(19)])


# Any number of inputs


def test_predictions_keep_their_order_across_batches():
    inputs_NxT = np.arange(14, dtype=np.int32).reshape(7, 2)
    found = predictor.predict_in_batches(lambda x: x + 1, inputs_NxT, batch_size=3)
    np.testing.assert_array_equal(found, inputs_NxT + 1)


def test_inputs_of_like_lengths_are_predicted_together_and_cut():
    inputs_NxT = np.zeros((6, 512), np.int32)
    for row, size in enumerate((400, 10, 64, 70, 0, 120)):
        inputs_NxT[row, :size] = row + 1
    seen = []

    def predict(batch_BxT):
        seen.append(batch_BxT.shape)
        return batch_BxT[:, :1]

    found = predictor.predict_in_batches(predict, inputs_NxT, batch_size=2)
    np.testing.assert_array_equal(found, inputs_NxT[:, :1])
    assert seen == [(2, 64), (2, 96), (2, 512)]


def test_the_model_sees_batches_of_one_size_and_every_example_once():
    seen = []

    def predict(batch_BxT):
        seen.append(batch_BxT[:, 0].tolist())
        return batch_BxT

    inputs_NxT = np.array([[3], [4], [5]], np.int32)
    predictor.predict_in_batches(predict, inputs_NxT, batch_size=2)
    assert seen == [[3, 4], [5, 5]], "the last is repeated, and dropped"


def test_predictions_become_texts_in_the_order_of_their_inputs():
    words = ["food", "a bird", "tool", "the bird sang"]
    tokens = [[*VOCABULARY.encode(word), 1] for word in words]
    inputs_NxT = batching.pad(tokens, max(map(len, tokens)))
    echo = predictor.predict_texts(lambda x: x, inputs_NxT, 4, VOCABULARY)
    assert echo == words
