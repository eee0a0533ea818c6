"""A prompt for each task of a mixture: by its formula, and each row by its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5.extra import Extra, Prompt
from prompt_tuning.training import step

FIRST = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)
TASKS = np.array([2, 0, 0, 2, 1, 2, 0, 2], np.int32)
BATCH = tiny.batch() | {"task_ids": TASKS}
RNGS = jax.random.key(0)[None]


def begun(*names, name="multitask", place="prefix", **sections):
    run = Run(method=name, prompt_length=4, prompt_init="file", prompt_file="p.npy")
    run = Run(**vars(run) | {"prompt_place": place})
    method = methods.of(Settings(run, **sections))
    start = methods.Start((), list, FIRST, tasks=names)
    return method, method.init(jax.random.key(0), tiny.params(), start)


def drawn(trained, seed=2):
    """Any values, in place of those that it starts with."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), trained)


def by_hand(trained):
    """The formula, written out: [K, P, D]."""
    u_KxP, v_KxD = trained["columns"][:, :, 0], trained["rows"][:, 0]
    return np.stack(
        [trained["shared"] * np.outer(u, v) for u, v in zip(u_KxP, v_KxD, strict=True)]
    )


def logits(extra, batch=BATCH):
    return np.asarray(tiny.MODEL.apply({"params": tiny.params()}, batch, extra))


@pytest.mark.parametrize("place", ["prefix", "suffix"])
def test_each_task_has_the_shared_prompt_times_its_own(place):
    method, trained = begun("a", "b", "c", place=place)
    assert sum(x.size for x in jax.tree.leaves(trained)) == 4 * 16 + 3 * (4 + 16)
    trained = drawn(trained)
    params, extra = method.fold(trained, None)
    assert params is None and extra.prompt is None and not extra.is_prompt
    np.testing.assert_allclose(extra.bank.vectors, by_hand(trained), rtol=1e-6)


def test_all_start_with_the_first_prompt():
    method, trained = begun("a", "b", "c")
    first = np.stack([FIRST] * 3)
    np.testing.assert_array_equal(method.fold(trained, None)[1].bank.vectors, first)


def test_with_one_task_it_is_mpt():
    """Where it starts, the prompt it makes, and how that changes."""
    options = method_settings.Decomposed(kind="mpt")
    theirs = begun("a", name="decomposed", decomposed=options)
    trees, found = [], []
    for method, first in (begun("a"), theirs):

        def moved(trained, method=method):
            extra = method.bind(trained, tiny.params())[1]
            return jnp.square(logits_of(extra)).sum()

        leaves = [x.reshape(-1) for x in jax.tree.leaves(first)]
        tree = jax.tree.map(lambda x: x + 0.1, first)
        extra = method.fold(tree, None)[1]
        assert extra.is_prompt
        trees.append(jnp.concatenate(leaves))
        slopes = jax.tree.leaves(jax.grad(moved)(tree))
        found.append([extra.prompt.vectors, *(x.reshape(-1) for x in slopes)])
    np.testing.assert_array_equal(*trees)
    for own, its in zip(*found, strict=True):
        np.testing.assert_allclose(own, its, rtol=1e-5, atol=1e-5)


def logits_of(extra, batch=BATCH):
    return tiny.MODEL.apply({"params": tiny.params()}, batch, extra)


def test_each_example_is_answered_with_its_task_s_prompt():
    """As with that prompt alone; and what is folded is what was bound."""
    method, trained = begun("a", "b", "c")
    trained = drawn(trained)
    params, bound = method.bind(trained, tiny.params())
    found = logits(bound)
    np.testing.assert_array_equal(logits(method.fold(trained, params)[1]), found)
    for task, prompt_PxD in enumerate(by_hand(trained)):
        alone = logits(Extra(Prompt(prompt_PxD, np.zeros(4, np.int32))))
        rows = task == TASKS
        np.testing.assert_allclose(found[rows], alone[rows], rtol=1e-3, atol=1e-4)


def test_its_gradient_is_the_formula_s():
    """From the gradient of each example's prompt, by the product rule."""
    method, trained = begun("a", "b", "c", "d")
    trained = drawn(trained)
    weights = np.random.default_rng(3).normal(size=logits(Extra()).shape)

    def total(extra):
        return jnp.sum(logits_of(extra) * weights)

    prompts_BxPxD = jnp.asarray(by_hand(trained)[TASKS])
    places = np.zeros(4, np.int32)
    slope_BxPxD = jax.grad(lambda x: total(Extra(Prompt(x, places))))(prompts_BxPxD)
    found = jax.grad(lambda x: total(method.bind(x, tiny.params())[1]))(trained)

    u_KxP, v_KxD = trained["columns"][:, :, 0], trained["rows"][:, 0]
    expected = jax.tree.map(lambda x: np.zeros(x.shape), trained)
    for task, slope_PxD in zip(TASKS, np.asarray(slope_BxPxD), strict=True):
        own_PxD = np.outer(u_KxP[task], v_KxD[task])
        expected["shared"] += slope_PxD * own_PxD
        shared_PxD = slope_PxD * trained["shared"]
        expected["columns"][task, :, 0] += shared_PxD @ v_KxD[task]
        expected["rows"][task, 0] += u_KxP[task] @ shared_PxD
    assert not np.any(expected["rows"][3]), "no example is of the fourth"
    for name, slope in expected.items():
        np.testing.assert_allclose(found[name], slope, rtol=1e-3, atol=1e-2)


def test_steps_on_a_mixture_leave_the_frozen_model_and_each_other_alone():
    """Two states in one step are each as alone, in microbatches too."""
    method, frozen = begun()[0], jax.tree.map(jnp.asarray, tiny.params())
    sgd, before = optax.sgd(1e-3), tiny.digest(frozen)
    both = [drawn(begun("a", "b", "c")[1], seed) for seed in (4, 5)]
    other = BATCH | {"task_ids": TASKS[::-1]}
    states = tuple(step.new_state(tree, sgd) for tree in both)
    rngs = jax.random.split(jax.random.key(0), 2)
    take = step.make_step(tiny.MODEL, method, [sgd, sgd], num_microbatches=2)
    joint, _ = jax.jit(take)(states, frozen, tiny.joint(BATCH, other), rngs)
    for state, first, batch in zip(joint, both, (BATCH, other), strict=True):
        one = step.make_step(tiny.MODEL, method, [sgd])
        own = (step.new_state(first, sgd),), frozen, tiny.joint(batch), RNGS
        ((alone,), _) = jax.jit(one)(*own)
        for a, b in zip(*map(jax.tree.leaves, (state, alone)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert tiny.digest(frozen) == before


def test_it_costs_what_a_prompt_costs():
    def flops(method, trained):
        take = step.make_step(tiny.MODEL, method, [optax.sgd(1.0)])
        state = step.new_state(trained, optax.sgd(1.0))
        arguments = (state,), tiny.params(), tiny.joint(BATCH), RNGS
        return jax.jit(take).lower(*arguments).cost_analysis()["flops"]

    own = flops(*begun("a", "b", "c"))
    assert own < 1.05 * flops(*begun("a", "b", "c", name="prompt"))
