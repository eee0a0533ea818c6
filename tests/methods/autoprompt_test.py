"""AutoPrompt against a search written out by hand, which tries every piece."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import AutoPrompt
from prompt_tuning.methods import autoprompt
from prompt_tuning.settings import Run, Schedule, Settings
from prompt_tuning.t5 import layers
from prompt_tuning.training import losses, step

FROZEN = jax.tree.map(jnp.asarray, tiny.params())
TABLE_VxD = FROZEN["token_embedder"]["embedding"]
START = methods.Start((), list)
RNGS = jax.random.key(3)[None]
TEXT = np.arange(3, 35)  # the others are no text
NONE = optax.identity()


def made(candidates=4, length=3):
    run = Run(method="autoprompt", prompt_length=length, prompt_init="random_uniform")
    own = AutoPrompt(candidates=candidates, ids="3-34")
    return methods.of(Settings(run, autoprompt=own))


METHOD = made()


def first(method=METHOD, seed=0):
    return method.init(jax.random.key(seed), FROZEN, START)


@functools.cache
def taker(candidates=4, parts=1):
    return jax.jit(step.make_step(tiny.MODEL, made(candidates), [NONE], parts))


def taken(state, batch, candidates=4, parts=1, rngs=RNGS):
    ((state,), (metrics,)) = taker(candidates, parts)(
        (state,), FROZEN, tiny.joint(batch), rngs
    )
    return state, jax.tree.map(float, metrics)


@jax.jit
def loss(prompt_PxD, batch):
    """What a step minimises, written out."""
    logits_BxSxV = tiny.MODEL.apply({"params": FROZEN}, batch, tiny.extra(prompt_PxD))
    targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    return losses.cross_entropy(logits_BxSxV, *targets)[0]


gradient_at = jax.jit(jax.grad(loss))
each_loss = jax.jit(jax.vmap(loss, (0, None)))


def by_hand(ids, place, batch, candidates):
    """Every piece's loss in this place; the best of those with the highest gain."""
    gradient = np.asarray(gradient_at(TABLE_VxD[ids], batch))[place]
    gain = [-float((TABLE_VxD[i] - TABLE_VxD[ids[place]]) @ gradient) for i in TEXT]
    order = [i for _, i in sorted(zip(gain, TEXT, strict=True), reverse=True)]
    tried = [int(i) for i in order if i != ids[place]][:candidates]
    swapped = np.array([[*ids[:place], i, *ids[place + 1 :]] for i in range(40)])
    every = np.asarray(each_loss(TABLE_VxD[swapped], batch))
    best = min(tried, key=lambda i: every[i])
    return best if every[best] < every[ids[place]] else int(ids[place])


@pytest.mark.parametrize("candidates", [4, 31])
def test_a_step_takes_the_best_of_the_pieces_that_gain_most(candidates):
    """And with all of them tried, the best there is in that place."""
    state, places = step.new_state(first(), NONE), set()
    for number in range(6):
        batch = tiny.batch(seed=number)
        before = np.asarray(state.trained["ids"])
        state, _ = taken(state, batch, candidates)
        after = np.asarray(state.trained["ids"])
        (changed,) = np.nonzero(before != after)
        assert len(changed) <= 1
        for place in changed:
            places.add(int(place))
            assert after[place] == by_hand(before, place, batch, candidates)
        if not len(changed):
            kept = [by_hand(before, place, batch, candidates) for place in range(3)]
            assert (kept == before).any(), "in the place it took, nothing was better"
    assert len(places) > 1, "at random, all have their turn"


def test_gains_are_first_order():
    """The linear formula, and how the loss falls a small way towards a piece."""
    batch, ids = tiny.batch(), np.asarray(first()["ids"])
    vectors = TABLE_VxD[ids]
    gradient = gradient_at(vectors, batch)
    found = np.asarray(autoprompt.gains(FROZEN, gradient[1], vectors[1]))
    away = np.asarray(TABLE_VxD) - np.asarray(vectors[1])
    np.testing.assert_allclose(found, -away @ np.asarray(gradient[1]), atol=1e-4)
    for piece in (5, 20, 33):
        step_PxD = np.zeros_like(vectors)
        step_PxD[1] = 1e-2 * away[piece]
        ahead, behind = (loss(vectors + sign * step_PxD, batch) for sign in (1, -1))
        slope = float(behind - ahead) / 2e-2
        assert found[piece] == pytest.approx(slope, rel=0.05, abs=0.05)


def test_on_one_batch_the_loss_never_rises_and_falls():
    batch, before = tiny.batch(), tiny.digest(FROZEN)
    state, told = step.new_state(first(), NONE), []
    for _ in range(25):
        state, metrics = taken(state, batch)
        told.append(metrics["loss"])
        assert metrics["ok"] and metrics["grad_norm"] > 0
        assert np.isin(state.trained["ids"], TEXT).all()
    assert (np.diff(told) < 1e-5).all() and told[-1] < told[0] - 0.1
    assert tiny.digest(FROZEN) == before and int(state.step) == 25


def test_what_it_tells_is_prompt_tunings_of_the_same_prompt():
    batch, trained = tiny.batch(), first()
    prompt = methods.of(Settings(Run(prompt_length=3)))
    sgd = optax.sgd(0.1)
    own = step.new_state(TABLE_VxD[trained["ids"]], sgd)
    take = jax.jit(step.make_step(tiny.MODEL, prompt, [sgd]))
    (_, (expected,)) = take((own,), FROZEN, tiny.joint(batch), RNGS)
    _, found = taken(step.new_state(trained, NONE), batch)
    assert found == pytest.approx(jax.tree.map(float, expected), rel=1e-5)


def test_microbatches_take_the_same_steps():
    whole = parts = step.new_state(first(), NONE)
    for number in range(4):
        batch = tiny.batch(seed=number)
        whole, expected = taken(whole, batch)
        parts, found = taken(parts, batch, parts=2)
        assert found == pytest.approx(expected, rel=1e-4)
        np.testing.assert_array_equal(whole.trained["ids"], parts.trained["ids"])


def test_together_each_takes_the_steps_that_it_would_take_alone():
    alone = [step.new_state(first(seed=seed), NONE) for seed in (0, 1)]
    joint, rngs = tuple(alone), jnp.stack([jax.random.key(seed) for seed in (4, 5)])
    take = jax.jit(step.make_step(tiny.MODEL, METHOD, [NONE, NONE]))
    for number in range(4):
        batches = [tiny.batch(seed=2 * number + n) for n in range(2)]
        joint, _ = take(joint, FROZEN, tiny.joint(*batches), rngs)
        alone = [taken(alone[n], batches[n], rngs=rngs[n : n + 1])[0] for n in range(2)]
        for one, other in zip(joint, alone, strict=True):
            np.testing.assert_array_equal(one.trained["ids"], other.trained["ids"])


def test_the_prompt_is_rows_of_the_table_of_whatever_type():
    trained = first()
    assert trained["ids"].dtype == jnp.int32
    _, extra = METHOD.fold(trained, FROZEN)
    np.testing.assert_array_equal(extra.prompt.vectors, TABLE_VxD[trained["ids"]])
    np.testing.assert_array_equal(METHOD.tokens(trained, FROZEN), trained["ids"])
    values, scale = layers.quantize(TABLE_VxD, 1)
    kept = {"token_embedder": {"embedding": values, "embedding_scale": scale}}
    _, extra = METHOD.fold(trained, kept)
    np.testing.assert_allclose(
        extra.prompt.vectors, TABLE_VxD[trained["ids"]], atol=0.02
    )


def test_it_is_what_the_model_reads_where_its_tokens_are_written():
    """In front of the input, with no prompt at all."""
    trained, batch = first(), tiny.batch()
    _, extra = METHOD.bind(trained, FROZEN)
    inputs, read = batch["encoder_input_tokens"], jax.jit(tiny.MODEL.apply)
    ids = np.broadcast_to(trained["ids"], (len(inputs), 3))
    written = batch | {"encoder_input_tokens": np.concatenate([ids, inputs], axis=1)}
    found = read({"params": FROZEN}, batch, extra)
    expected = read({"params": FROZEN}, written)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_too_many_candidates_and_an_optimizers_options_are_refused():
    first(made(candidates=31))
    with pytest.raises(UserError, match=r"candidates is 32, but there are 32 pieces"):
        first(made(candidates=32))
    with pytest.raises(UserError, match=r"option of schedule is set.* no optimizer"):
        methods.of(Settings(Run(method="autoprompt"), schedule=Schedule(0.1)))
