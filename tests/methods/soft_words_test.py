"""Soft words: a prompt, and what is added to it in every further layer."""

import dataclasses

import jax
import numpy as np
import tiny

from prompt_tuning import methods
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

DEEP = network.Transformer(dataclasses.replace(tiny.CONFIG, num_encoder_layers=3))
FROZEN = tiny.params(DEEP)
RUN = Run(method="soft_words", prompt_length=2, prompt_init="string", prompt_string="a")
METHOD = methods.of(Settings(RUN))
START = methods.Start((), lambda text: [7, 9])


def trained():
    return METHOD.init(jax.random.key(0), FROZEN, START)


def encoded(extra, **changes):
    inputs = tiny.batch()["encoder_input_tokens"]
    return DEEP.apply({"params": FROZEN | changes}, inputs, extra, method="encode")[0]


def test_it_starts_as_the_text_with_shifts_that_have_no_effect():
    first = trained()
    table_VxD = FROZEN["token_embedder"]["embedding"]
    np.testing.assert_array_equal(first["vectors"], table_VxD[[7, 9]])
    _, extra = METHOD.bind(first, FROZEN)
    expected = encoded(tiny.extra(table_VxD[[7, 9]]))
    np.testing.assert_allclose(encoded(extra), expected, atol=1e-6)


def test_its_parameters_are_a_prompt_for_each_layer_of_the_encoder():
    sizes = [leaf.size for leaf in jax.tree.leaves(trained())]
    assert sum(sizes) == 3 * 2 * tiny.CONFIG.emb_dim


def test_with_one_layer_it_is_a_prompt():
    first = METHOD.init(jax.random.key(0), tiny.params(), START)
    assert first.keys() == {"vectors"} and METHOD.fold(first, None)[1].is_prompt


def test_a_shift_is_added_at_the_input_of_its_layer_alone():
    """Where the layers before add nothing, it is as if the vectors were shifted."""
    first, shift = trained(), np.full((2, 16), 0.5, np.float32)
    silent = jax.tree.map(np.copy, FROZEN["encoder"])
    for part in ("attention", "mlp"):
        layer = silent["layers_0"][part]
        name = "out" if part == "attention" else "wo"
        layer[name]["kernel"][:] = 0
    for layer, moved in ((0, first["vectors"] + shift), (1, first["vectors"])):
        own = first | {"shift": first["shift"].at[layer].set(shift)}
        _, extra = METHOD.bind(own, FROZEN)
        found = encoded(extra, encoder=silent)
        expected = encoded(tiny.extra(moved), encoder=silent)
        same = np.allclose(found, expected, atol=1e-5)
        assert same == (layer == 0), "layer 1's input is layer 0's output"
