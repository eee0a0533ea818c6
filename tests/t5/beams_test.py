"""Beam search finds what trying every answer finds; the cache changes nothing."""

import itertools

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning.t5 import beams

LENGTH, EOS = 5, 1


@pytest.fixture(scope="module")
def params():
    """Weights with which answers end at different positions."""
    params = tiny.params(seed=3)
    params["decoder"]["logits_dense"]["kernel"][:, EOS] *= 3
    return params


@pytest.fixture(scope="module")
def log_p(params):
    """(inputs [B, T], decoder inputs [B, S]) -> log-probabilities [B, S, V]."""

    @jax.jit
    def apply(inputs_BxT, decoder_BxS):
        batch = {"encoder_input_tokens": inputs_BxT}
        batch["decoder_input_tokens"] = decoder_BxS
        extra = tiny.extra(tiny.prompt())
        logits = tiny.MODEL.apply({"params": params}, batch, extra)
        return jax.nn.log_softmax(logits)

    return lambda *args: np.asarray(apply(*args), np.float64)


def searched(params, inputs_BxT, most, beams_, length=LENGTH):
    found = jax.jit(beams.search, static_argnums=(0, 5, 6))(
        *(tiny.MODEL, params, inputs_BxT, tiny.extra(tiny.prompt())),
        *(np.asarray(most, np.int32), beams_, length),
    )
    return [np.asarray(x) for x in found]


def test_with_beams_for_all_the_best_of_all_answers_is_found(params, log_p):
    inputs_BxT = tiny.batch()["encoder_input_tokens"][:2]
    size = tiny.CONFIG.vocab_size
    tokens, log_probs = searched(params, inputs_BxT, [2, 2], size, length=2)
    starts = np.arange(size)
    for row, inputs_T in enumerate(inputs_BxT):
        decoder = np.stack([np.zeros(size, np.int32), starts.astype(np.int32)], 1)
        p_NxSxV = log_p(np.tile(inputs_T, (size, 1)), decoder)
        totals = {
            (a, b): p_NxSxV[a, 0, a] + p_NxSxV[a, 1, b]
            for a, b in itertools.product(range(size), repeat=2)
            if a != EOS
        } | {(EOS, 0): p_NxSxV[0, 0, EOS]}
        best = sorted(totals, key=totals.__getitem__, reverse=True)[:5]
        assert [tuple(answer) for answer in tokens[row, :5].tolist()] == best
        np.testing.assert_allclose(
            log_probs[row, :5].sum(-1), [totals[x] for x in best], atol=1e-4
        )


def naive(log_p, inputs_T, count, most):
    """The same search as a loop without a cache, of one text."""
    kept = [((), 0.0)]
    for index in range(most):
        coming = []
        for tokens, total in kept:
            if tokens[-1:] == (EOS,):
                coming.append((tokens, total))
                continue
            decoder = np.zeros((1, LENGTH), np.int32)
            decoder[0, 1 : 1 + index] = tokens
            p_V = log_p(inputs_T[None], decoder)[0, index]
            coming += [((*tokens, v), total + p_V[v]) for v in range(len(p_V))]
        kept = sorted(coming, key=lambda one: -one[1])[:count]
    return kept


def test_the_search_is_the_loop_without_a_cache(params, log_p):
    inputs_BxT = tiny.batch(examples=6)["encoder_input_tokens"]
    most = [LENGTH] * 5 + [2]
    tokens, log_probs = searched(params, inputs_BxT, most, 3)
    ends = set()
    for row, inputs_T in enumerate(inputs_BxT):
        for place, (answer, total) in enumerate(naive(log_p, inputs_T, 3, most[row])):
            assert tuple(tokens[row, place, : len(answer)].tolist()) == answer
            assert not tokens[row, place, len(answer) :].any()
            assert not log_probs[row, place, len(answer) :].any()
            assert log_probs[row, place].sum() == pytest.approx(total, abs=1e-4)
            ends.add(len(answer))
    assert len(ends) > 2, "answers must end at different positions"
