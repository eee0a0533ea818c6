"""A mixture of prompts against its formula, from an application for each prompt."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.t5 import beams, decoding, mixing, network
from prompt_tuning.t5.extra import END, Adapter, Extra, LayerExtra, Prompt
from prompt_tuning.training import losses

CONFIG = dataclasses.replace(tiny.CONFIG, num_encoder_layers=2, num_decoder_layers=1)
BATCH, PROMPTS, LENGTH = 4, 3, 5
ROWS = tiny.batch(BATCH, targets=LENGTH, seed=4)
INPUTS = ROWS["encoder_input_tokens"]


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WEIGHTS = np.array([0.3, -1.0, 0.8], np.float32)
MIXED = Extra(
    Prompt(random(0, PROMPTS, 2, 16), np.array([0, END])),
    LayerExtra(shift=random(1, 2, PROMPTS, 2, 16)),
    LayerExtra(mlp_adapter=Adapter(random(2, 1, 16, 3), random(3, 1, 3, 16))),
    prompt_weights=WEIGHTS,
)


def one(extra, number):
    """A prompt of the mixture alone."""
    vectors, shift = extra.prompt.vectors[number], extra.encoder.shift[:, number]
    return extra._replace(
        prompt=extra.prompt._replace(vectors=vectors),
        encoder=extra.encoder._replace(shift=shift),
        prompt_weights=None,
    )


@functools.cache
def kept(way):
    """A model, its parameters, and their mesh."""
    meshed = way == "scanned, on a mesh"
    model = network.Transformer(dataclasses.replace(CONFIG, scan_layers=meshed))
    params = tiny.params(model, seed=3)
    shape, auto = (4, 2) if meshed else (1, 1), jax.sharding.AxisType.Auto
    mesh = jax.make_mesh(
        shape, ("data", "model"), (auto, auto), devices=jax.devices()[: np.prod(shape)]
    )
    places = partitioning.param_shardings(model, mesh)
    return model, jax.device_put(params, places), mesh


@functools.cache
def compiled(way, fn):
    return jax.jit(functools.partial(fn, kept(way)[0]))


def run(way, fn, batch, extra):
    """fn(model, params, batch, extra) on the mesh."""
    _, params, mesh = kept(way)
    with jax.set_mesh(mesh):
        batch = partitioning.shard_batch(batch, mesh)
        return jax.device_get(compiled(way, fn)(params, batch, extra))


def logits(model, params, batch, extra):
    return model.apply({"params": params}, batch, extra)


def each(way, fn, batch, extra):
    """What `fn` gives with each prompt by itself, [N, ...] in float64."""
    alone = [run(way, fn, batch, one(extra, number)) for number in range(PROMPTS)]
    return jax.tree.map(lambda *x: np.stack(x).astype(np.float64), *alone)


SHARES = np.exp(WEIGHTS.astype(np.float64)) / np.exp(WEIGHTS.astype(np.float64)).sum()


def log_p_by_hand(way, decoder_BxS, inputs_BxT=INPUTS):
    """log p(v | y_<t, x) [B, S, V] of the mixture, from probabilities of beginnings."""
    batch = {"encoder_input_tokens": inputs_BxT, "decoder_input_tokens": decoder_BxS}
    p = np.exp(each(way, logits, batch, MIXED))
    p /= p.sum(-1, keepdims=True)
    found = np.zeros(p.shape[1:])
    for row in range(BATCH):
        before = SHARES
        for t in range(LENGTH):
            found[row, t] = np.log(before @ p[:, row, t] / before.sum())
            if t + 1 < LENGTH:
                before = before * p[:, row, t, decoder_BxS[row, t + 1]]
    return found


WAYS = ["plain", "scanned, on a mesh"]
# Greedy decoding encodes, decodes and mixes on a mesh among the quick ones.
SOME = ["plain", pytest.param(WAYS[1], marks=pytest.mark.slow)]


def loss(model, params, batch, extra):
    """Of one prompt, too; with gradients of what is trained."""

    def of(trained):
        vectors, shift, weights = trained
        own = extra._replace(
            prompt=extra.prompt._replace(vectors=vectors),
            encoder=LayerExtra(shift=shift),
            prompt_weights=weights,
        )
        targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        found = jax.nn.log_softmax(logits(model, params, batch, own))
        return losses.cross_entropy(found, *targets)[0]

    trained = extra.prompt.vectors, extra.encoder.shift, extra.prompt_weights
    return jax.value_and_grad(of)(trained)


@pytest.mark.parametrize("way", SOME)
def test_the_loss_and_its_gradients_are_those_of_the_formula(way):
    """-log sum_n w_n exp(-loss_n), of which w_n exp(-loss_n) is a share."""
    sizes_B = ROWS["decoder_loss_weights"].sum(1, keepdims=True)
    of_one = ROWS["decoder_loss_weights"] * (sizes_B == sizes_B.max())
    assert of_one.sum() == LENGTH, "one target of several tokens"
    rows = ROWS | {"decoder_loss_weights": of_one}
    value, (vectors, shift, weights) = run(way, loss, rows, MIXED)
    losses_N, (vectors_N, shift_N, _) = each(way, loss, rows, MIXED)
    parts_N = SHARES * np.exp(-losses_N)
    r_N = parts_N / parts_N.sum()
    np.testing.assert_allclose(value, -np.log(parts_N.sum()), rtol=1e-5)
    assert r_N.max() < 0.99, "no prompt has it all"
    for found, expected in (
        (vectors, np.einsum("n,npd->npd", r_N, vectors_N)),
        (shift, np.einsum("n,nlpd->lnpd", r_N, shift_N)),
        (weights, SHARES - r_N),
    ):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=2e-4 * largest)


def test_each_token_s_probability_is_that_of_what_came_before():
    found = run("plain", logits, ROWS, MIXED)
    expected = log_p_by_hand("plain", ROWS["decoder_input_tokens"])
    there = ROWS["decoder_loss_weights"] > 0
    np.testing.assert_allclose(found[there], expected[there], atol=1e-4)
    for alone in each("plain", logits, ROWS, MIXED):
        assert np.abs(found - jax.nn.log_softmax(alone))[there].mean() > 0.1


def greedy(model, params, batch, extra):
    tokens_BxT = batch["encoder_input_tokens"]
    return decoding.greedy(model, params, tokens_BxT, extra, LENGTH)


@pytest.mark.parametrize("way", WAYS)
def test_greedy_decoding_is_the_loop_without_a_cache(way):
    found = run(way, greedy, {"encoder_input_tokens": INPUTS}, MIXED)
    tokens_BxS, done_B = np.zeros((BATCH, LENGTH), np.int32), np.zeros(BATCH, bool)
    for t in range(LENGTH):
        decoder_BxS = np.pad(tokens_BxS, ((0, 0), (1, 0)))[:, :-1]
        best_B = log_p_by_hand(way, decoder_BxS)[:, t].argmax(-1)
        tokens_BxS[:, t] = np.where(done_B, 0, best_B)
        done_B |= tokens_BxS[:, t] == 1
    np.testing.assert_array_equal(found, tokens_BxS)
    assert len(set(map(tuple, found.tolist()))) > 1, "rows must differ"


def check_log_probs(tokens_BxS, log_probs_BxS, inputs_BxT=INPUTS):
    """They are those of the tokens by hand, up to a row's end."""
    decoder_BxS = np.pad(tokens_BxS, ((0, 0), (1, 0)))[:, :-1]
    log_p = log_p_by_hand("plain", decoder_BxS, inputs_BxT)
    own = np.take_along_axis(log_p, tokens_BxS[..., None], -1)[..., 0]
    ends_BxS = tokens_BxS == 1
    written_BxS = np.cumsum(ends_BxS, axis=1) - ends_BxS == 0
    np.testing.assert_allclose(log_probs_BxS, own * written_BxS, atol=2e-4)


def search(model, params, batch, extra):
    most = jnp.full(BATCH, LENGTH)
    tokens_BxT = batch["encoder_input_tokens"]
    return beams.search(model, params, tokens_BxT, extra, most, 3, LENGTH)


def test_beams_take_each_hypothesis_s_prompts_with_them():
    found = run("plain", search, {"encoder_input_tokens": INPUTS}, MIXED)
    for place in range(3):
        check_log_probs(*(x[:, place] for x in found))
    assert (np.diff(found[1].sum(-1), axis=1) <= 0).all()


def drawn(model, params, batch, extra):
    how = [np.full(BATCH, x) for x in (LENGTH, 1.0, 1.0)]
    seeds = np.zeros(BATCH, np.uint32), np.arange(BATCH, dtype=np.uint32)
    given = batch["encoder_input_tokens"], extra, decoding.Sampling(*how, *seeds)
    return decoding.sampled(model, params, *given, LENGTH, INPUTS.shape[1] + 1)


def test_what_is_drawn_has_the_mixture_s_probability():
    """With the encodings cut, as no row is full."""
    short = {"encoder_input_tokens": np.where(INPUTS[:, -1:] > 0, 0, INPUTS)}
    check_log_probs(*run("plain", drawn, short, MIXED), short["encoder_input_tokens"])


LABELS_CxS = np.array([[5, 1, 0], [7, 9, 1], [0, 0, 0]], np.int32)


def scores(model, params, batch, extra):
    tokens_BxT = batch["encoder_input_tokens"]
    return decoding.label_scores(model, params, tokens_BxT, extra, LABELS_CxS)


@pytest.mark.parametrize("way", SOME)
def test_a_label_s_score_is_the_logarithm_of_the_sum(way):
    inputs = {"encoder_input_tokens": INPUTS}
    found = run(way, scores, inputs, MIXED)
    p = np.exp(each(way, scores, inputs, MIXED))
    np.testing.assert_allclose(found, np.log(np.tensordot(SHARES, p, 1)), atol=1e-4)


def test_equal_prompts_give_what_one_gives():
    alone = one(MIXED, 1)
    same = alone._replace(
        prompt=alone.prompt._replace(vectors=np.stack([alone.prompt.vectors] * 3)),
        encoder=LayerExtra(shift=np.stack([alone.encoder.shift] * 3, axis=1)),
        prompt_weights=WEIGHTS,
    )
    found, expected = (run("plain", logits, ROWS, extra) for extra in (same, alone))
    np.testing.assert_allclose(found, jax.nn.log_softmax(expected), atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        MIXED._replace(prompt=None),
        MIXED._replace(prompt=one(MIXED, 0).prompt),
        MIXED._replace(encoder=LayerExtra(shift=MIXED.encoder.shift[:, :1])),
        MIXED._replace(prompt_weights=WEIGHTS[:, None]),
    ],
)
def test_there_is_a_prompt_for_each_weight(wrong):
    with pytest.raises(ValueError, match=r"extra\.prompt_weights has the shape"):
        mixing.check(wrong)
