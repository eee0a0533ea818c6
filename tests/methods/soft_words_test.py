"""Soft words: prompts, and what is added to them in every further layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import SoftWords
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import step

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


# Several


def several(count, **changes):
    run = dataclasses.replace(RUN, **{"prompt_init": "sampled_vocab"} | changes)
    return methods.of(Settings(run, soft_words=SoftWords(prompts=count)))


def begun(method, encode=START.encode):
    return method.init(jax.random.key(0), FROZEN, methods.Start(("a", "b"), encode))


def test_each_of_several_starts_as_a_line_of_the_text():
    ids = {"one": [7, 9], "another": [5, 6]}
    method = several(2, prompt_init="string", prompt_string="one\n another\n")
    first = begun(method, ids.__getitem__)
    table_VxD = FROZEN["token_embedder"]["embedding"]
    np.testing.assert_array_equal(first["vectors"], table_VxD[[[7, 9], [5, 6]]])
    np.testing.assert_array_equal(first["weights"], np.zeros(2))
    assert first["shift"].shape == (2, 2, 2, 16) and not first["shift"].any()


def test_without_a_text_each_is_drawn_for_itself():
    vectors_KxPxD = np.asarray(begun(several(3))["vectors"])
    assert len(np.unique(vectors_KxPxD.reshape(3, -1), axis=0)) == 3


def test_one_is_what_there_was_without_the_setting():
    first = begun(several(1))
    assert first.keys() == {"vectors", "shift"} and first["vectors"].ndim == 2
    assert several(1).fold(first, None)[1].prompt_weights is None


def test_each_of_several_is_what_one_alone_would_be():
    """The network's test says what it makes of them."""
    first = begun(several(3))
    trained = jax.tree.map(lambda x: x + jnp.arange(x.size).reshape(x.shape), first)
    _, found = several(3).bind(trained, FROZEN)
    for number in range(3):
        alone = {name: x[number] for name, x in trained.items() if name != "weights"}
        _, expected = METHOD.bind(alone, FROZEN)
        np.testing.assert_array_equal(
            found.prompt.vectors[number], expected.prompt.vectors
        )
        np.testing.assert_array_equal(
            found.encoder.shift[:, number], expected.encoder.shift
        )
    np.testing.assert_array_equal(found.prompt_weights, trained["weights"])
    assert found.encodings == 3 and found.prompt_length == 2 and not found.is_prompt


SGD = optax.sgd(0.1)
GIVEN = tiny.joint(tiny.batch()), jax.random.key(0)[None]


def begun_step(count):
    """A step, the states before it and the frozen model."""
    method = several(count)
    states = (step.new_state(begun(method), SGD),)
    states = jax.device_put(states, jax.devices()[0])
    return step.make_step(DEEP, method, [SGD]), states, jax.tree.map(jnp.array, FROZEN)


def test_a_step_trains_all_prompts_and_weights_and_leaves_the_model():
    made, states, frozen = begun_step(3)
    before = tiny.digest(frozen), jax.tree.map(np.array, states[0].trained)
    take = step.compile_step(made, states, frozen, *GIVEN)
    (after,), (metrics,) = take(states, frozen, *GIVEN)
    assert tiny.digest(frozen) == before[0] and metrics["ok"]
    for name, value in after.trained.items():
        changed = np.abs(value - before[1][name]).reshape(3, -1).max(axis=1)
        assert (changed > 0).all(), name


def test_a_step_costs_as_many_of_one():
    one, three = (
        jax.jit(made).lower(*rest, *GIVEN).cost_analysis()["flops"]
        for made, *rest in map(begun_step, (1, 3))
    )
    assert three == pytest.approx(3 * one, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_init": "string"}, r"is 3, and each .*which has 1, \['a'\]: give as"),
        ({"prompt_init": "string", "prompt_string": "a\nb\na"}, "has 3, .*different"),
        ({"prompt_init": "string", "prompt_string": "a\n\nb"}, "all different"),
        ({"prompt_init": "class_label"}, "2 class labels fill PROMPT_LENGTH=2: set"),
        ({"prompt_init": "transfer"}, "the same, as PROMPT_INIT is 'transfer'"),
        ({"prompt_init": "file", "prompt_file": "x.npy"}, "PROMPT_INIT is 'file'"),
    ],
)
def test_several_that_would_start_the_same_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        begun(several(3, **{"prompt_length": 2} | changes))
