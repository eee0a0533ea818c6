"""Learned tokens in front of the input, trained together with the model.

After Logeswaran et al. (2020), with which the paper compares (section 4).
"""

from typing import Any

import jax

from prompt_tuning import methods
from prompt_tuning.methods import prompt, whole
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra


def method(settings: Settings) -> methods.Method:
    """Trains {"params": the parameter tree, "prompt": [P, D]}."""
    run = settings.run

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, Any]:
        first = prompt.first_prompt(run, key, frozen, start)
        return {"params": whole.trainable(frozen), "prompt": first}

    def bind(trained: dict[str, Any], frozen: Any) -> tuple[Any, Extra]:
        del frozen
        return trained["params"], prompt.placed(run, trained["prompt"])

    return methods.Method(init, bind, bind, shares=False)
