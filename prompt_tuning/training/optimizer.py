"""Adafactor as the paper sets it, on optax, and learning-rate schedules (Table 6)."""

import jax.numpy as jnp
import optax

from prompt_tuning.settings import Adafactor, InverseSquareRoot, Schedule, Settings


def schedule(settings: Schedule) -> optax.Schedule:
    """Step (from 0) -> learning rate; constant unless warm-up or decay is set."""
    s = settings

    def rate(step):
        warmup = jnp.minimum(1.0, step / s.warmup_steps) if s.warmup_steps else 1.0
        decays = step // s.steps_per_decay if s.steps_per_decay else 0
        return s.learning_rate * warmup * s.decay_factor**decays

    return rate


def inverse_square_root(settings: InverseSquareRoot, steps: int) -> optax.Schedule:
    """Step (from 0) -> T5's pre-training rate, in a run of so many steps."""
    s = settings

    def rate(step):
        left = (steps - step) / s.cooldown_steps if s.cooldown_steps else 1.0
        cooldown = jnp.minimum(1.0, left)
        root = jnp.sqrt(jnp.maximum(step + s.first_step, s.constant_steps))
        return cooldown * s.scale / root

    return rate


def adafactor(
    learning_rate: optax.ScalarOrSchedule, settings: Adafactor
) -> optax.GradientTransformation:
    """Adafactor with the settings of the paper (section 3), no momentum.

    Args:
      learning_rate: a number, or a function of the step.

    Returns:
      The optax transformation. As in T5X, second moments are factored for arrays with
      both sides of at least 128: for a prompt of length 150, not for one of 100.
    """
    return optax.adafactor(
        learning_rate,
        decay_rate=settings.decay_rate,
        # optax subtracts its offset from the step.
        decay_offset=-settings.step_offset,
        multiply_by_parameter_scale=settings.parameter_scaling,
        clipping_threshold=settings.clipping_threshold,
        weight_decay_rate=settings.weight_decay,
    )


def of(settings: Settings) -> optax.GradientTransformation:
    """The optimizer of a run."""
    return adafactor(schedule(settings.schedule), settings.adafactor)


def chosen(
    settings: Settings, searches: bool
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a run and its learning rate; a search has neither."""
    if searches:
        return optax.identity(), optax.constant_schedule(0.0)
    return of(settings), schedule(settings.schedule)
