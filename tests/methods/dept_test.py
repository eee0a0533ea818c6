"""DePT: a shorter prompt and a shift of the input, with a learning rate of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.method_settings import Dept
from prompt_tuning.runs.parameters import size
from prompt_tuning.settings import Adafactor, Run, Settings
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import optimizer, step

FROZEN = tiny.params()
START = methods.Start(class_words=(), encode=list)
RATE = 0.01


def begun(frozen=FROZEN, length=3, **options):
    run = Run(method="dept", prompt_length=length, prompt_init="random_uniform")
    method = methods.of(Settings(run, dept=Dept(**options)))
    start = lambda params: method.init(jax.random.key(0), params, START)  # noqa: E731
    return method, start(frozen) if frozen is FROZEN else jax.eval_shape(start, frozen)


SMALL = {"rank": 2, "positions": 4, "rate": RATE}


def test_the_defaults_are_as_many_parameters_as_a_prompt_of_100_on_base():
    """The paper's split: 40 D + (256 + D) 45 = 100 D."""
    shapes = partitioning.param_shapes(Transformer(size("base")))
    _, trained = begun(shapes, 40)
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == 100 * 768


def test_it_starts_as_prompt_tuning_does():
    method, trained = begun(**SMALL)
    logits = [
        tiny.MODEL.apply({"params": FROZEN}, tiny.batch(), extra)
        for extra in (method.bind(trained, FROZEN)[1], tiny.extra(trained["vectors"]))
    ]
    np.testing.assert_array_equal(*logits)


def test_a_token_is_shifted_by_its_position():
    """As if the frozen model's embedding of it were another."""
    method, trained = begun(**SMALL)
    trained["up"] = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16)) / RATE)
    shift_SxD = method.fold(trained, None)[1].input_shift
    expected = np.asarray(trained["down"] @ trained["up"]) * RATE**2
    np.testing.assert_allclose(shift_SxD, expected, rtol=1e-5)
    assert shift_SxD.shape == (4, 16) and np.abs(expected).max() > 0.1


def test_a_step_changes_the_pair_by_its_own_rate():
    """Adafactor moves each value by about the learning rate, times `rate` here."""
    method, trained = begun(**SMALL)
    trained["up"] += 1.0
    adafactor = optimizer.adafactor(0.3, Adafactor(weight_decay=0))
    take = step.make_step(tiny.MODEL, method, [adafactor])
    state, batch = step.new_state(trained, adafactor), tiny.joint(tiny.batch())
    ((state,), _) = jax.jit(take)((state,), FROZEN, batch, jax.random.key(0)[None])
    moved = jax.tree.map(
        lambda a, b: np.sqrt(np.mean((a - b) ** 2)), state.trained, trained
    )
    np.testing.assert_allclose(moved["vectors"], 0.3, rtol=0.05)
    for name in ("down", "up"):
        np.testing.assert_allclose(moved[name] * RATE, 0.3 * RATE, rtol=0.05)
