"""PEZ: what the network sees are pieces, and their gradient is the vectors'."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from prompt_tuning import methods
from prompt_tuning.method_settings import Pez
from prompt_tuning.methods import pieces
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import layers, network
from prompt_tuning.training import losses, step

FROZEN = jax.tree.map(jnp.asarray, tiny.params())
TABLE_VxD = FROZEN["token_embedder"]["embedding"]
IDS = "3-34"
RUN = Run(method="pez", prompt_length=3, prompt_init="random_uniform")
METHOD = methods.of(Settings(RUN, pez=Pez(ids=IDS)))
START = methods.Start((), list)
RNGS = jax.random.key(0)[None]


def first():
    return METHOD.init(jax.random.key(0), FROZEN, START)


def seen(trained, frozen=FROZEN):
    return np.asarray(METHOD.bind(trained, frozen)[1].prompt.vectors)


def test_the_network_sees_rows_of_the_table_and_ships_them():
    trained = first()
    ids_P = pieces.nearest(trained["vectors"], FROZEN, pieces.allowed(IDS, 40))
    np.testing.assert_array_equal(seen(trained), TABLE_VxD[ids_P])
    np.testing.assert_array_equal(METHOD.tokens(trained, FROZEN), ids_P)
    params, extra = METHOD.fold(trained, FROZEN)
    assert params is None and extra.is_prompt
    np.testing.assert_array_equal(extra.prompt.vectors, seen(trained))


def test_of_rounded_embeddings_it_takes_what_they_stand_for():
    values, scale = layers.quantize(TABLE_VxD, 1)
    kept = {"token_embedder": {"embedding": values, "embedding_scale": scale}}
    ids_P = METHOD.tokens(first(), kept)
    expected = (values * scale[:, None])[ids_P]
    np.testing.assert_allclose(seen(first(), kept), expected, rtol=1e-6)


@jax.jit
@jax.grad
def gradient_at(prompt_PxD, batch):
    """Of the loss of prompt tuning, written out."""
    logits_BxSxV = tiny.MODEL.apply({"params": FROZEN}, batch, tiny.extra(prompt_PxD))
    targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    return losses.cross_entropy(logits_BxSxV, *targets)[0]


def test_a_step_applies_the_gradient_at_the_pieces_to_the_vectors():
    batch, trained, sgd = tiny.batch(), first(), optax.sgd(0.5)
    take = jax.jit(step.make_step(tiny.MODEL, METHOD, [sgd]))
    states = (step.new_state(trained, sgd),)
    ((state,), _) = take(states, FROZEN, tiny.joint(batch), RNGS)
    there = gradient_at(seen(trained), batch)
    expected = trained["vectors"] - 0.5 * there
    np.testing.assert_allclose(state.trained["vectors"], expected, atol=2e-5)
    assert np.abs(gradient_at(trained["vectors"], batch) - there).max() > 0.01


def test_it_learns_while_the_frozen_model_stays():
    batch, adam = tiny.joint(tiny.batch()), optax.adam(0.3)
    take = jax.jit(step.make_step(tiny.MODEL, METHOD, [adam]))
    states, before, told = (step.new_state(first(), adam),), tiny.digest(FROZEN), []
    for _ in range(30):
        states, (metrics,) = take(states, FROZEN, batch, RNGS)
        told.append(float(metrics["loss"]))
    assert min(told) < told[0] - 0.05
    assert tiny.digest(FROZEN) == before


def test_pieces_are_projected_the_same_on_a_table_with_rows_to_spare():
    wide = network.Transformer(dataclasses.replace(tiny.CONFIG, vocab_size=64))
    rows = np.concatenate([TABLE_VxD, 100 * np.ones((24, 16), np.float32)])
    frozen = tiny.params(wide) | {"token_embedder": {"embedding": rows}}
    np.testing.assert_array_equal(seen(first(), frozen), seen(first()))
