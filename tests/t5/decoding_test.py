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


def test_each_input_may_have_labels_of_its_own(params):
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    labels_CxS = np.array([[5, 1, 0], [5, 9, 1], [30, 31, 1]], np.int32)
    own_BxCxS = np.stack([labels_CxS[[i % 3, 0]] for i in range(8)])
    score = jax.jit(decoding.label_scores, static_argnums=0)
    given = tiny.MODEL, params, inputs_BxT, tiny.extra(tiny.prompt())
    all_BxC, own_BxC = score(*given, labels_CxS), score(*given, own_BxCxS)
    for row in range(8):
        expected = all_BxC[row, np.array([row % 3, 0])]
        np.testing.assert_allclose(own_BxC[row], expected, atol=1e-5)


# Sampling


def how(count, **wishes):
    """Sampling of `count` rows."""
    wishes = {"most": LENGTH, "temperature": 0, "top_p": 1, "seed": 0} | wishes
    kinds = [np.int32, np.float32, np.float32, np.uint32, np.uint32]
    values = *wishes.values(), np.arange(count)
    return decoding.Sampling(
        *(
            np.broadcast_to(np.asarray(value, kind), count)
            for value, kind in zip(values, kinds, strict=True)
        )
    )


@pytest.fixture(scope="module")
def sampled(params):
    compiled = jax.jit(decoding.sampled, static_argnums=(0, 5))

    def sample(inputs_BxT, sampling):
        extra = tiny.extra(tiny.prompt())
        found = compiled(tiny.MODEL, params, inputs_BxT, extra, sampling, LENGTH)
        return [np.asarray(x) for x in found]

    return sample


def test_without_temperature_the_likeliest_tokens_and_their_log_probs(
    params, forward, sampled
):
    inputs_BxT = tiny.batch(examples=32)["encoder_input_tokens"]
    tokens_BxS, log_probs_BxS = sampled(inputs_BxT, how(32))
    np.testing.assert_array_equal(tokens_BxS, greedy(params, inputs_BxT, tiny.prompt()))
    decoder_BxS = np.pad(tokens_BxS, ((0, 0), (1, 0)))[:, :-1]
    logits = forward(inputs_BxT, decoder_BxS, tiny.prompt()).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = np.take_along_axis(log_p, tokens_BxS[..., None], -1)[..., 0]
    written = (np.cumsum(tokens_BxS == 1, axis=1) - (tokens_BxS == 1)) == 0
    np.testing.assert_allclose(log_probs_BxS, np.where(written, own, 0), atol=1e-4)


def test_each_row_ends_after_its_own_most_tokens(sampled):
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    most = np.arange(8) % LENGTH + 1
    whole, _ = sampled(inputs_BxT, how(8))
    cut, log_probs = sampled(inputs_BxT, how(8, most=most))
    inside = np.arange(LENGTH) < most[:, None]
    np.testing.assert_array_equal(cut, np.where(inside, whole, 0))
    assert not log_probs[~inside].any()


def test_tokens_are_drawn_as_often_as_they_are_probable(forward, sampled):
    """By a chi-squared test of the first token, at two temperatures, in a nucleus."""
    count, inputs_T = 4_000, tiny.batch()["encoder_input_tokens"][0]
    inputs_BxT = np.tile(inputs_T, (count, 1))
    logits = forward(inputs_BxT[:8], np.zeros((8, LENGTH), np.int32), tiny.prompt())
    for temperature, top_p in ((1.0, 1.0), (2.0, 1.0), (1.5, 0.8)):
        wishes = how(count, temperature=temperature, top_p=top_p, seed=3)
        drawn = sampled(inputs_BxT, wishes)[0][:, 0]
        p_V = np.exp(logits[0, 0].astype(np.float64) / temperature)
        p_V /= p_V.sum()
        order = np.argsort(-p_V)
        size = np.searchsorted(np.cumsum(p_V[order]), top_p) + 1
        p_V[order[size:]] = 0
        expected = count * p_V / p_V.sum()
        assert set(drawn) <= set(order[:size])
        often = expected >= 5
        observed = np.bincount(drawn, minlength=len(p_V))
        statistic = ((observed - expected)[often] ** 2 / expected[often]).sum()
        # The 99.9% quantile by Wilson and Hilferty's formula.
        freedom = often.sum() - 1
        spread = 2 / (9 * freedom)
        assert statistic < freedom * (1 - spread + 3.09 * spread**0.5) ** 3


def test_what_is_drawn_does_not_depend_on_the_other_rows(sampled):
    inputs_BxT = tiny.batch()["encoder_input_tokens"]
    wishes = how(8, temperature=1.0, seed=np.arange(8) // 2)
    tokens, _ = sampled(inputs_BxT, wishes)
    order = np.arange(8)[::-1]
    turned = decoding.Sampling(*(wish[order] for wish in wishes))
    turned = turned._replace(temperature=np.where(order < 4, 1, 0).astype(np.float32))
    again, _ = sampled(inputs_BxT[order], turned)
    np.testing.assert_array_equal(again[order][:4], tokens[:4])
    other, _ = sampled(inputs_BxT, wishes._replace(number=wishes.number + 100))
    assert not np.array_equal(other, tokens)


def test_the_nucleus_is_the_fewest_tokens_that_suffice():
    p = np.array([[0.1, 0.5, 0.15, 0.25], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    kept = decoding.nucleus(np.log(p), np.array([0.7, 0.3, 1.0]))
    there = np.isfinite(np.asarray(kept)).tolist()
    assert there == [[False, True, False, True], [True] + [False] * 3, [True] * 4]


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
