"""A prompt and the model are trained together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from prompt_tuning import methods
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training import step

RUN = Run(method="prepended", prompt_length=3, prompt_init="sampled_vocab")
PREPENDED = methods.of(Settings(RUN))
START = methods.Start(class_words=(), encode=list)
KEY = jax.random.key(0)


def test_it_starts_as_prompt_tuning_and_model_tuning_do():
    frozen = tiny.params()
    trained = PREPENDED.init(KEY, frozen, START)
    prompt = methods.of(Settings(Run(prompt_length=3, prompt_init="sampled_vocab")))
    np.testing.assert_array_equal(trained["prompt"], prompt.init(KEY, frozen, START))
    taken = map(jax.tree.leaves, (trained["params"], frozen))
    assert all(mine is theirs for mine, theirs in zip(*taken, strict=True))
    assert not jax.tree.leaves(methods.left_frozen(frozen, trained))


def test_the_prompt_stands_in_front_of_the_input():
    trained = {"params": tiny.params(), "prompt": tiny.prompt()}
    params, extra = PREPENDED.bind(trained, None)
    assert params is trained["params"] and extra.prompt.vectors is trained["prompt"]
    logits, expected = (
        tiny.MODEL.apply({"params": trained["params"]}, tiny.batch(), each)
        for each in (extra, tiny.extra(tiny.prompt()))
    )
    np.testing.assert_array_equal(logits, expected)


def test_both_learn_and_every_weight_changes():
    first = PREPENDED.init(KEY, jax.tree.map(jnp.asarray, tiny.params()), START)
    sgd, losses = optax.sgd(0.01), []
    take = jax.jit(step.make_step(tiny.MODEL, PREPENDED, [sgd]))
    states, batch = (step.new_state(first, sgd),), tiny.joint(tiny.batch())
    for _ in range(5):
        states, (metrics,) = take(states, None, batch, KEY[None])
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] and metrics["ok"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), first, states[0].trained)
    assert all(jax.tree.leaves(changed)), "every weight, and the prompt"
