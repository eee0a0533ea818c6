"""A prefix is made by an MLP, as PEFT's PrefixEncoder does, or trained itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.method_settings import PrefixTuning
from prompt_tuning.reproduce.experiments import parameters
from prompt_tuning.runs.parameters import size
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5.network import Transformer

START = methods.Start(class_words=(), encode=list)
FROZEN, LENGTH = tiny.params(), 3


def begun(frozen=FROZEN, length=LENGTH, **options):
    run = Run(method="prefix_tuning", prompt_length=length)
    method = methods.of(Settings(run, prefix_tuning=PrefixTuning(**options)))
    init = lambda params: method.init(jax.random.key(0), params, START)  # noqa: E731
    return method, init(frozen) if frozen is FROZEN else jax.eval_shape(init, frozen)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", ["base", "xxl"])
def test_its_parameters_are_those_of_figure_4(name):
    """Trained, with an MLP of 800; shipped, and trained without the MLP."""
    config = dataclasses.replace(size(name), scan_layers=True)
    shapes = partitioning.param_shapes(Transformer(config))
    method, trained = begun(shapes, 100)
    assert count(trained) == parameters.prefix_trained(config, 100)
    expected = parameters.prefix(config, 100)
    assert count(jax.eval_shape(method.fold, trained, None)) == expected
    assert count(begun(shapes, 100, mlp=False)[1]) == expected


def test_keys_and_values_are_the_mlps():
    """tanh(e W + a) U + b by hand, in PEFT's order: layer by layer, key and value."""
    method, trained = begun(hidden=7)
    rng = np.random.default_rng(0)
    trained = jax.tree.map(lambda x: np.float32(rng.normal(0, 0.5, x.shape)), trained)
    _, extra = method.fold(trained, None)
    hidden = trained["hidden"]
    h_PxM = np.tanh(trained["rows"] @ hidden["kernel"] + hidden["bias"])
    for stack, layers in (("encoder", 1), ("decoder", 2)):
        out, own = trained[stack], getattr(extra, stack)
        flat = h_PxM @ out["kernel"].reshape(7, -1) + out["bias"].reshape(-1)
        made = flat.reshape(LENGTH, layers * 2, 2, 4).transpose(1, 0, 2, 3)
        np.testing.assert_allclose(own.keys, made[0::2], atol=1e-5)
        np.testing.assert_allclose(own.values, made[1::2], atol=1e-5)


@pytest.mark.parametrize("mlp", [True, False])
def test_it_may_start_with_keys_and_values_of_zero(mlp):
    method, trained = begun(mlp=mlp, hidden=7, zero=True)
    made = jax.tree.leaves(method.fold(trained, None))
    assert len(made) == 4 and all((leaf == 0).all() for leaf in made)
    grad = jax.grad(
        lambda trained: jnp.sum(
            tiny.MODEL.apply(
                {"params": FROZEN}, tiny.batch(), method.bind(trained, FROZEN)[1]
            )[..., 3]
        )
    )(trained)
    assert all(
        np.abs(grad[stack]["kernel"] if mlp else grad[stack]).max() > 0
        for stack in ("encoder", "decoder")
    )
