"""Model tuning trains the weights themselves, all of them, in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.t5.extra import Extra

WHOLE = methods.of(Settings(Run(method="whole")))
START = methods.Start(class_words=(), encode=list)


def kept_as(param_dtype):
    """A parameter tree that is kept in another type, of zeros."""
    config = dataclasses.replace(tiny.CONFIG, param_dtype=param_dtype)
    shapes = partitioning.param_shapes(network.Transformer(config))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def test_the_frozen_arrays_are_taken_over_and_none_is_left():
    frozen = tiny.params()
    trained = WHOLE.init(jax.random.key(0), frozen, START)
    taken = zip(jax.tree.leaves(trained), jax.tree.leaves(frozen), strict=True)
    assert all(mine is theirs for mine, theirs in taken), "they are not there twice"
    assert not jax.tree.leaves(methods.left_frozen(frozen, trained))


def test_there_is_nothing_but_the_parameters():
    params = tiny.params()
    assert WHOLE.bind(params, None) == (params, Extra()) == WHOLE.fold(params, None)


@pytest.mark.parametrize("kept", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", ["whole", "prepended"])
def test_weights_are_trained_in_float32_alone(name, kept):
    run = Run(method=name, prompt_length=3, prompt_init="random_uniform")
    expected = f"METHOD trains the weights, but T5Config.param_dtype is {kept}: "
    with pytest.raises(UserError, match=expected):
        methods.of(Settings(run)).init(jax.random.key(0), kept_as(kept), START)
