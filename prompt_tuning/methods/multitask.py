"""Multitask prompt tuning (Wang et al., 2023): a prompt for each task of a mixture.

    P_k = S * (u_k v_k^T)

of S [P, D], which the tasks share, and a task's own u_k [P] and v_k [D]: for K tasks
P D + K (P + D) values. Each example has the prompt of its task. With one task this is
decomposed.kind=mpt. What the paper has besides is not done: teachers, tuned on one task
each, whose answers and prompts are distilled.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.method_settings import Decomposed
from prompt_tuning.methods import decomposed, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra

RANK = 1  # the paper's, of a task's matrix
ONE_TASK = Decomposed(kind="mpt", rank=RANK)
OWN = "columns", "rows"  # of decomposed's tree; the rest is shared

Tree = dict[str, jax.Array]


def method(settings: Settings) -> methods.Method:
    """Trains {"shared": [P, D], "columns": [K, P, 1], "rows": [K, 1, D]}.

    All tasks start with the prompt of PROMPT_INIT.
    """
    run, kind = settings.run, decomposed.KINDS[ONE_TASK.kind]

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        of_prompt, of_factors = jax.random.split(key)
        first_PxD = prompt.first_prompt(run, of_prompt, frozen, start)
        one = kind.init(of_factors, first_PxD, RANK, ONE_TASK)
        tasks = max(1, len(start.tasks))
        return one | {name: jnp.stack([one[name]] * tasks) for name in OWN}

    def made(trained: Tree, frozen: Any) -> Extra:
        del frozen
        prompts_KxPxD = jax.vmap(
            lambda *own: kind.made(trained | dict(zip(OWN, own, strict=True)), ONE_TASK)
        )(*(trained[name] for name in OWN))
        if len(prompts_KxPxD) == 1:
            return prompt.placed(run, prompts_KxPxD[0])
        return Extra(bank=prompt.placed(run, prompts_KxPxD).prompt)

    return prompt.folding(init, made)
