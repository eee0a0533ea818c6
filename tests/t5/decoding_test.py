"""The cache changes the cost of decoding, not what is decoded."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.t5 import decoding, network

LENGTH = 6


@pytest.fixture(scope="module")
def params():
    """Weights with which rows end at different times, and some never."""
    params = tiny.params(seed=3)
    params["decoder"]["logits_dense"]["kernel"][:, 1] *= 3
    return params


@pytest.fixture(scope="module")
def forward(params):
    """Teacher-forced logits of padded decoder inputs [B, LENGTH], compiled once."""

    @jax.jit
    def apply(inputs_BxT, decoder_BxS, prompt):
        batch = {"encoder_input_tokens": inputs_BxT}
        batch["decoder_input_tokens"] = decoder_BxS
        return tiny.MODEL.apply({"params": params}, batch, tiny.extra(prompt))

    return lambda *args: np.asarray(apply(*args))


def naive_greedy(forward, inputs_BxT, prompt):
    tokens_BxS = np.zeros((len(inputs_BxT), LENGTH), np.int32)
    done_B = np.zeros(len(inputs_BxT), bool)
    for i in range(LENGTH):
        decoder_BxS = np.pad(tokens_BxS, ((0, 0), (1, 0)))[:, :-1]
        best_B = forward(inputs_BxT, decoder_BxS, prompt)[:, i].argmax(-1)
        tokens_BxS[:, i] = np.where(done_B, 0, best_B)
        done_B |= tokens_BxS[:, i] == 1
    return tokens_BxS


def greedy(params, inputs_BxT, prompt, length=LENGTH, model=tiny.MODEL):
    compiled = jax.jit(decoding.greedy, static_argnums=(0, 4))
    return np.asarray(compiled(model, params, inputs_BxT, tiny.extra(prompt), length))


@pytest.mark.parametrize("with_prompt", [False, True])
def test_greedy_is_the_loop_without_a_cache(params, forward, with_prompt):
    inputs_BxT = tiny.batch(examples=32)["encoder_input_tokens"]
    prompt = tiny.prompt() if with_prompt else None
    got = greedy(params, inputs_BxT, prompt)
    np.testing.assert_array_equal(got, naive_greedy(forward, inputs_BxT, prompt))
    ends = (got == 1).argmax(1)[(got == 1).any(1)]
    assert len(set(ends)) > 1 and len(ends) < 32, "rows must end at different times"
    for row in got:
        assert not row[(np.cumsum(row == 1) - (row == 1)) > 0].any(), "0 after EOS"


def test_a_shorter_length_gives_the_beginning(params):
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    whole = greedy(params, inputs_BxT, tiny.prompt())
    short = greedy(params, inputs_BxT, tiny.prompt(), length=2)
    np.testing.assert_array_equal(short, whole[:, :2])


def test_greedy_in_bfloat16_keeps_the_caches_type(params):
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, dtype="bfloat16"))
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    got = greedy(params, inputs_BxT, tiny.prompt(), model=model)
    assert got.shape == (8, LENGTH) and got.dtype == np.int32
    expected = greedy(params, inputs_BxT, tiny.prompt())
    assert (got[:, 0] == expected[:, 0]).mean() > 0.7


def test_label_scores_are_sums_of_the_full_forward_pass(params, forward):
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    labels_CxS = np.array(
        [[5, 1, 0, 0, 0, 0], [5, 9, 7, 1, 0, 0], [30, 31, 32, 33, 34, 1]], np.int32
    )
    compiled = jax.jit(decoding.label_scores, static_argnums=0)
    got = compiled(
        tiny.MODEL, params, inputs_BxT, tiny.extra(tiny.prompt()), labels_CxS
    )
    assert got.shape == (8, 3)
    for column, label_S in zip(np.asarray(got).T, labels_CxS, strict=True):
        decoder_BxS = np.tile(np.pad(label_S, (1, 0))[:-1], (8, 1))
        logits_BxSxV = forward(inputs_BxT, decoder_BxS, tiny.prompt())
        p_BxSxV = np.exp(logits_BxSxV.astype(np.float64))
        log_p_BxSxV = np.log(p_BxSxV / p_BxSxV.sum(-1, keepdims=True))
        size = np.count_nonzero(label_S)
        expected = log_p_BxSxV[:, range(size), label_S[:size]].sum(1)
        np.testing.assert_allclose(column, expected, atol=1e-4)


def test_scanned_layers_decode_the_same(params):
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, scan_layers=True))
    shapes = partitioning.param_shapes(model)
    stacked = jax.tree_util.tree_map_with_path(
        lambda path, x: _stacked(params, [key.key for key in path]), shapes
    )
    inputs_BxT = tiny.batch(examples=16)["encoder_input_tokens"]
    got = greedy(stacked, inputs_BxT, tiny.prompt(), model=model)
    np.testing.assert_array_equal(got, greedy(params, inputs_BxT, tiny.prompt()))


def _stacked(params, path):
    """The layers' arrays as one, found by names alone."""
    if "layers" not in path:
        return functools.reduce(dict.__getitem__, path, params)
    at = path.index("layers")
    stack = functools.reduce(dict.__getitem__, path[:at], params)
    names = sorted(name for name in stack if name.startswith("layers_"))
    return np.stack(
        [functools.reduce(dict.__getitem__, path[at + 1 :], stack[n]) for n in names]
    )
