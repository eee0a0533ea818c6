"""What every method keeps to: three pure functions, and a frozen model left alone."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import (
    Adapters,
    AutoPrompt,
    Dept,
    Lora,
    Pez,
    PrefixTuning,
    PTuning,
    Residual,
    Superpos,
)
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import step

RNGS = jax.random.key(0)[None]
SGD = optax.sgd(0.01)
# Words that are their ids.
START = methods.Start((), list, label_words=((5, 9), (7,)))


# Names that take more than the settings below: small options.
OPTIONS = {
    "residual": Residual(bottleneck=4),
    "p_tuning": PTuning(hidden=3),
    "superpos": Superpos(rows=20),
    "autoprompt": AutoPrompt(candidates=4, ids="3-39"),
    "pez": Pez(ids="3-39"),
    "prefix_tuning": PrefixTuning(hidden=5),
    "adapters": Adapters(width=5),
    "dept": Dept(rank=2, positions=4),
}
# prompt_design has no step to take.
TRAINING = [name for name in methods.NAMES if name != "prompt_design"]
INIT = {"superpos": "sampled_vocab"}
# To a prompt:
FOLDING = "residual", "p_tuning", "decomposed", "superpos", "autoprompt", "pez"
FOLDING += ("multitask",)  # with one task


def settings(name):
    init = INIT.get(name, "random_uniform")
    run = Run(method=name, prompt_length=3, prompt_init=init)
    return Settings(run, **{name: OPTIONS[name]} if name in OPTIONS else {})


def begun(name, seed=0):
    """A method, a frozen model of its own, and what is trained of it."""
    method, frozen = (
        methods.of(settings(name)),
        jax.tree.map(jnp.asarray, tiny.params()),
    )
    return method, frozen, method.init(jax.random.key(seed), frozen, START)


def logits(params, extra):
    return np.asarray(tiny.MODEL.apply({"params": params}, tiny.batch(), extra))


@pytest.mark.parametrize(
    "name", ["whole", "lora", "ia3", "adapters", "prompt", "prefix_tuning", "dept"]
)
def test_a_method_says_whether_it_reads_the_settings_of_prompts(name):
    _, frozen, trained = begun(name)
    its = settings(name)
    longer = dataclasses.replace(its, run=dataclasses.replace(its.run, prompt_length=4))
    again = methods.of(longer).init(jax.random.key(0), frozen, START)
    same = jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, trained)
    assert same == ("PROMPT_" in methods.unread(name))


class Trained(NamedTuple):
    """What some steps made: `left` is what stayed frozen, with its hashes."""

    name: str
    method: methods.Method
    left: Any
    tree: Any
    changed: bool
    losses: list
    hashes: list


@pytest.fixture(scope="module", params=TRAINING)
def trained(request):
    method, frozen, first = begun(request.param)
    left, batch = methods.left_frozen(frozen, first), tiny.joint(tiny.batch())
    before, hashes = tiny.digest(first), [tiny.digest(left)]
    states = jax.device_put((step.new_state(first, SGD),), jax.devices()[0])
    made, losses = step.make_step(tiny.MODEL, method, [SGD]), []
    take = step.compile_step(made, states, left, batch, RNGS)
    for _ in range(6):
        states, (metrics,) = take(states, left, batch, RNGS)
        losses.append(float(metrics["loss"]))
    hashes.append(tiny.digest(left))
    tree = states[0].trained
    changed = tiny.digest(tree) != before
    return Trained(request.param, method, left, tree, changed, losses, hashes)


def test_steps_change_what_is_trained_and_lower_the_loss(trained):
    assert trained.changed
    if trained.name != "pez":  # whose pieces so few small steps leave; see its own test
        assert trained.losses[-1] < trained.losses[0] - 1e-3


def test_steps_leave_what_is_frozen(trained):
    """A compiled step takes the trained arrays over, and no other."""
    before, after = trained.hashes
    assert before == after
    assert bool(jax.tree.leaves(trained.left)) == trained.method.shares


def test_binding_what_was_folded_changes_no_logit(trained):
    params, extra = trained.method.fold(trained.tree, trained.left)
    bound = logits(*trained.method.bind(trained.tree, trained.left))
    kept = trained.left if params is None else params
    np.testing.assert_array_equal(logits(kept, extra), bound)
    assert (params is None) == trained.method.shares
    if trained.name in FOLDING:
        assert extra.is_prompt
        assert extra.prompt.vectors.shape == (3, tiny.CONFIG.emb_dim)


@pytest.mark.parametrize("name", TRAINING)
def test_what_is_trained_is_a_float32_tree_that_the_key_draws(name):
    """Of a search, ids."""
    method, _, first = begun(name)
    kind = jnp.dtype("int32" if method.search else "float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(first)} == {kind}
    assert tiny.digest(first) == tiny.digest(begun(name)[2])
    other = tiny.digest(begun(name, seed=1)[2])
    draws = name not in ("whole", "ia3")
    assert (other != tiny.digest(first)) == draws


@pytest.mark.parametrize("name", [x for x in TRAINING if x != "autoprompt"])
def test_bind_is_pure_and_can_be_differentiated(name):
    method, frozen, first = begun(name)

    @jax.jit
    def gradient(trained, frozen):
        def total(trained):
            params, extra = method.bind(trained, frozen)
            return tiny.MODEL.apply({"params": params}, tiny.batch(), extra).sum()

        return jax.grad(total)(trained)

    left = methods.left_frozen(frozen, first)
    # What starts at zero may hide the gradient of what it is multiplied with.
    first = jax.tree.map(lambda x: x + 0.1, first)
    found = gradient(first, left)
    assert jax.tree.structure(found) == jax.tree.structure(first)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(
        UserError, match=r"METHOD is 'both'; .*prompt, whole, prepended"
    ):
        methods.of(Settings(Run(method="both")))


def test_an_option_of_another_method_is_refused():
    with pytest.raises(UserError, match=r"lora.rank is 4, but METHOD is 'ia3'"):
        methods.of(Settings(Run(method="ia3"), lora=Lora(rank=4)))
    methods.of(Settings(Run(method="lora"), lora=Lora(rank=4)))


def test_t5_has_no_biases_to_train():
    with pytest.raises(UserError, match="'bitfit', which trains biases, and T5 has no"):
        methods.of(Settings(Run(method="bitfit")))


def test_what_is_trained_is_not_held_as_frozen():
    frozen = {"a": jnp.ones(2), "b": {"c": jnp.zeros(3), "d": jnp.zeros(3)}}
    left = methods.left_frozen(frozen, {"own": jnp.ones(2), "taken": frozen["b"]["c"]})
    assert left["b"]["c"] is None
    assert left["a"] is frozen["a"] and left["b"]["d"] is frozen["b"]["d"]
    assert jax.tree.leaves(methods.left_frozen(frozen, frozen)) == []


@pytest.mark.parametrize("name", TRAINING)
def test_a_method_says_whether_it_leaves_the_frozen_model_whole(name):
    method, frozen, first = begun(name)
    left = jax.tree.leaves(methods.left_frozen(frozen, first))
    assert method.shares == (len(left) == len(jax.tree.leaves(frozen)))


WIDE = network.Transformer(
    dataclasses.replace(tiny.CONFIG, vocab_size=41, emb_dim=18, head_dim=5, mlp_dim=23)
)


@functools.cache
def computed(name):
    """(shapes of frozen kernels that a step computes, its FLOPs)"""
    frozen, method = tiny.params(WIDE), methods.of(settings(name))
    kernels = {leaf.shape for leaf in jax.tree.leaves(frozen) if leaf.ndim == 2}
    state = step.new_state(method.init(jax.random.key(0), frozen, START), SGD)
    batch = tiny.joint(tiny.batch(examples=7))
    take = step.make_step(WIDE, method, [SGD])
    arguments = (state,), frozen, batch, RNGS
    found = kernels & set(tiny.shapes_computed(jax.make_jaxpr(take)(*arguments).jaxpr))
    return found, jax.jit(take).lower(*arguments).cost_analysis()["flops"]


SHARING = [name for name in TRAINING if name not in ("whole", "prepended")]


@pytest.mark.parametrize("name", SHARING)
def test_no_gradient_of_a_frozen_weight_is_computed(name):
    """Nothing in a step has a kernel's shape, and it costs what prompt tuning does.

    Keys in front, adapters and changes cost a little beside the frozen products; a
    search's further losses have no gradient.
    """
    kernels, flops = computed(name)
    assert not kernels
    if methods.of(settings(name)).search:
        return
    assert flops < 1.3 * computed("prompt")[1]
    _, both = computed("prepended")
    assert flops < 0.85 * both
