"""Adafactor against the same written out in NumPy, and the schedules of Table 6."""

import jax
import numpy as np
import optax
import pytest

from prompt_tuning.settings import Adafactor, InverseSquareRoot, Schedule, Settings
from prompt_tuning.training import optimizer

RNG = np.random.default_rng(0)


def adafactor(rate=0.3, **options):
    return optimizer.adafactor(rate, Adafactor(**options))


def schedule(rate=0.3, **options):
    return optimizer.schedule(Schedule(rate, **options))


def steps_taken(transformation, prompt, grads):
    state = transformation.init(prompt)
    for grad in grads:
        updates, state = transformation.update(grad, state, prompt)
        prompt = optax.apply_updates(prompt, updates)
    return prompt, state


@pytest.mark.parametrize("step_offset", [0, 1_100_000])
def test_adafactor_is_the_papers(step_offset):
    """Decay 0.8, clip 1.0, weight decay not scaled by the rate, no scaling by size."""
    start = RNG.normal(size=(4, 3)).astype(np.float32) * 50
    grads = RNG.normal(size=(5, 4, 3)).astype(np.float32)
    transformation = adafactor(0.3, step_offset=step_offset)
    got, _ = steps_taken(transformation, start, grads)
    expected, v = start.astype(np.float64), 0.0
    for step, grad in enumerate(grads.astype(np.float64)):
        new = (step + 1 + step_offset) ** -0.8
        v = (1 - new) * v + new * (grad**2 + 1e-30)
        update = grad / np.sqrt(v)
        update /= max(1.0, np.sqrt(np.mean(update**2)) / 1.0)
        expected -= 0.3 * update + 1e-5 * expected
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-4)


def test_weight_decay_does_not_follow_the_learning_rate():
    start = np.full((2, 2), 8.0, np.float32)
    zeros = np.zeros((1, 2, 2), np.float32)
    for rate in (0.3, 0.001):
        transformation = adafactor(rate, weight_decay=0.25)
        got, _ = steps_taken(transformation, start, zeros)
        np.testing.assert_allclose(got, 6.0)


def test_parameter_scaling_and_clipping_are_options():
    start, grads = np.full((2, 2), 8.0, np.float32), np.ones((1, 2, 2), np.float32)

    def moved(**options):
        transformation = adafactor(0.5, weight_decay=0.0, **options)
        return float((start - steps_taken(transformation, start, grads)[0])[0, 0])

    assert moved() == pytest.approx(0.5)
    assert moved(parameter_scaling=True) == pytest.approx(0.5 * 8)
    assert moved(clipping_threshold=0.1) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize(("length", "kept"), [(100, 100 * 128), (150, 150 + 128)])
def test_only_a_long_prompt_has_factored_moments(length, kept):
    state = adafactor(0.3).init(np.zeros((length, 128), np.float32))
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(state)]
    assert kept <= sum(sizes) <= kept + 4
    assert max(sizes) == (128 * 100 if length == 100 else 150)


def rates(rate, *steps):
    return [float(rate(np.int32(step))) for step in steps]


def test_the_rate_is_constant_unless_told():
    assert rates(schedule(), 0, 1, 29_999) == pytest.approx([0.3] * 3)


def test_warm_up_grows_from_zero_in_a_line():
    got = rates(schedule(0.4, warmup_steps=2_000), 0, 500, 1_000, 2_000, 9_000)
    assert got == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.4])


def test_decay_falls_by_steps():
    falling = schedule(0.4, decay_factor=0.5, steps_per_decay=4_000)
    got = rates(falling, 0, 3_999, 4_000, 7_999, 8_000)
    assert got == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1])


def test_warm_up_and_decay_together():
    both = schedule(0.4, warmup_steps=200, decay_factor=0.1, steps_per_decay=100)
    assert rates(both, 50, 150, 250) == pytest.approx([0.1, 0.03, 0.004])


def test_a_schedule_drives_adafactor():
    grads = np.ones((2, 2, 2), np.float32)
    start = np.zeros((2, 2), np.float32)
    transformation = adafactor(schedule(0.5, warmup_steps=2))
    assert not steps_taken(transformation, start, grads[:1])[0].any()
    np.testing.assert_allclose(steps_taken(transformation, start, grads)[0], -0.25)


def test_inverse_square_root_goes_on_where_pre_training_ended():
    def rate(**options):
        return optimizer.inverse_square_root(InverseSquareRoot(**options), 10**6)

    assert rates(rate(), 0, 10_000, 40_000) == pytest.approx([0.01, 0.01, 0.005])
    adaptation = rate(first_step=1_000_000)
    assert rates(adaptation, 0, 100_000) == pytest.approx([1e-3, 9.535e-4], rel=1e-4)
    assert rates(rate(scale=2.0, constant_steps=4), 16) == pytest.approx([0.5])


def test_a_cooldown_leads_to_a_rate_of_0_behind_the_last_step():
    options = InverseSquareRoot(constant_steps=4, cooldown_steps=4)
    found = rates(optimizer.inverse_square_root(options, 100), 0, 63, 96, 98, 99, 100)
    roots = [96**-0.5, 98**-0.5 / 2, 99**-0.5 / 4, 0]
    assert found == pytest.approx([0.5, 63**-0.5, *roots])


def test_a_runs_optimizer_follows_its_schedule_and_its_options():
    start, grads = np.full((2, 2), 8.0, np.float32), np.ones((2, 2, 2), np.float32)
    settings = Settings(
        schedule=Schedule(0.5, warmup_steps=2), adafactor=Adafactor(weight_decay=0.25)
    )
    got, _ = steps_taken(optimizer.of(settings), start, grads)
    # The rate is 0 and then 0.25; a quarter of each value goes at each step.
    np.testing.assert_allclose(got, 8.0 * 0.75 * 0.75 - 0.25, rtol=1e-5)
    got, _ = steps_taken(optimizer.of(Settings()), start, grads[:1])
    np.testing.assert_allclose(got, 8.0 * (1 - 1e-5) - 0.3, rtol=1e-6)
