"""Adafactor as the paper sets it, on optax, and learning-rate schedules (Table 6)."""

import math

import gin
import jax.numpy as jnp
import optax

from prompt_tuning.errors import UserError


@gin.configurable
def schedule(
    learning_rate: float = 0.3,
    warmup_steps: int = 0,
    decay_factor: float = 1.0,
    steps_per_decay: int = 0,
) -> optax.Schedule:
    """A constant learning rate, with the options of the paper's search (Table 6).

    Args:
      learning_rate: 0.3 in the paper (section 3).
      warmup_steps: steps of linear growth from 0; 0 for none.
      decay_factor: what the rate is multiplied by at every `steps_per_decay` steps.
      steps_per_decay: 0 for no decay.

    Returns:
      step (from 0) -> learning rate.

    Raises:
      UserError: the rate is no finite number.
    """
    if type(learning_rate) not in (int, float) or not math.isfinite(learning_rate):
        raise UserError(
            f"schedule.learning_rate is {learning_rate!r}; it must be a finite number, "
            "0.3 in the paper"
        )

    def rate(step):
        warmup = jnp.minimum(1.0, step / warmup_steps) if warmup_steps else 1.0
        decays = step // steps_per_decay if steps_per_decay else 0
        return learning_rate * warmup * decay_factor**decays

    return rate


@gin.configurable
def inverse_square_root(
    scale: float = 1.0, constant_steps: int = 10_000, first_step: int = 0
) -> optax.Schedule:
    """T5's pre-training rate: scale / sqrt(max(step, constant_steps)).

    LM adaptation goes on where pre-training ended: `first_step` is 1,000,000 for the
    public T5 1.1 (paper section 2.2).
    """

    def rate(step):
        return scale / jnp.sqrt(jnp.maximum(step + first_step, constant_steps))

    return rate


@gin.configurable
def adafactor(
    learning_rate: optax.ScalarOrSchedule,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    weight_decay: float = 1e-5,
    parameter_scaling: bool = False,
    clipping_threshold: float = 1.0,
) -> optax.GradientTransformation:
    """Adafactor with the settings of the paper (section 3), no momentum.

    Args:
      learning_rate: a number, or a function of the step.
      decay_rate: the second moment mixes in step^-decay_rate of the newest square.
      step_offset: the step that the second moment's clock starts from. 0 is the paper's
        text; 1,100,000 what the released code did, which kept the clock of the restored
        checkpoint, so that early gradients weigh as much as late ones.
      weight_decay: taken off each value at each step, not scaled by the learning rate.
      parameter_scaling: updates relative to the parameter's own scale, as T5's
        pre-training has it and prompt tuning does not.
      clipping_threshold: the largest root mean square of an update before the rate.

    Returns:
      The optax transformation. Arrays with both sides of 128 or more keep factored
      second moments, as in T5X: a prompt of 150 does, one of 100 does not.
    """
    return optax.adafactor(
        learning_rate,
        decay_rate=decay_rate,
        # optax subtracts its offset from the step.
        decay_offset=-step_offset,
        multiply_by_parameter_scale=parameter_scaling,
        clipping_threshold=clipping_threshold,
        weight_decay_rate=weight_decay,
    )
