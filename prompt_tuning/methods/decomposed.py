"""Prompts that are made of fewer values than P x D, or of shared ones.

    dpt   A B, of A [P, R] and B [R, D] (Xiao et al., 2023): R (P + D) values
    ulpt  Z M * scale + shift, of codes Z [P, R], and of M [R, D], which is random and
          not trained (Wu et al., 2025): P R + 2 D values
    mpt   S * (U V), of the prompt S [P, D] that tasks share and a task's own U [P, R]
          and V [R, D] (Wang et al., 2023): P D + R (P + D) values

Each starts as near to the prompt of PROMPT_INIT as it can be, and folds to a prompt.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import Decomposed
from prompt_tuning.methods import perceptron, prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra

FACTORS_STD = 0.02  # of mpt's further columns, as PEFT draws them

Tree = dict[str, jax.Array]


class Kind(NamedTuple):
    """A way to make a prompt of less.

    rank: R of the paper.
    init: (key, the first prompt [P, D], R, options) -> what is trained.
    made: (trained, options) -> the prompt [P, D].
    """

    rank: int
    init: Callable[[jax.Array, jax.Array, int, Decomposed], Tree]
    made: Callable[[Tree, Decomposed], jax.Array]


def method(settings: Settings) -> methods.Method:
    """Trains the factors of decomposed.kind."""
    run, options = settings.run, settings.decomposed
    kind = KINDS[options.kind]

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        of_prompt, of_factors = jax.random.split(key)
        first_PxD = prompt.first_prompt(run, of_prompt, frozen, start)
        rank = options.rank or min(kind.rank, *first_PxD.shape)
        if rank > min(first_PxD.shape):
            raise UserError(
                f"decomposed.rank is {rank}, but the prompt is {first_PxD.shape} "
                "(PROMPT_LENGTH, emb_dim), of which no product has so high a rank: "
                f"give a decomposed.rank of at most {min(first_PxD.shape)}"
            )
        return kind.init(of_factors, first_PxD, rank, options)

    def made(trained: Tree, frozen: Any) -> Extra:
        del frozen
        return prompt.placed(run, kind.made(trained, options))

    return prompt.folding(init, made)


def _dpt_init(
    key: jax.Array, first_PxD: jax.Array, rank: int, options: Decomposed
) -> Tree:
    """The product nearest to the first prompt, from its singular values."""
    del key, options
    left_PxN, values_N, right_NxD = jnp.linalg.svd(first_PxD, full_matrices=False)
    root_R = jnp.sqrt(values_N[:rank])
    return {
        "left": left_PxN[:, :rank] * root_R[None],
        "right": root_R[:, None] * right_NxD[:rank],
    }


def _dpt(trained: Tree, options: Decomposed) -> jax.Array:
    del options
    return perceptron.product(trained["left"], trained["right"])


def projection(rank: int, width: int, options: Decomposed) -> np.ndarray:
    """ulpt's matrix [R, D], from N(0, 1/R); the same in every run and version."""
    drawn = np.random.RandomState(options.projection).standard_normal((rank, width))
    return (drawn * rank**-0.5).astype(np.float32)


def _ulpt_init(
    key: jax.Array, first_PxD: jax.Array, rank: int, options: Decomposed
) -> Tree:
    """The mean of the first prompt's vectors, and the codes of least squares."""
    del key
    shift_D = first_PxD.mean(axis=0)
    inverse_DxR = np.linalg.pinv(projection(rank, len(shift_D), options))
    codes_PxR = perceptron.product(first_PxD - shift_D[None], jnp.asarray(inverse_DxR))
    return {"codes": codes_PxR, "scale": jnp.ones_like(shift_D), "shift": shift_D}


def _ulpt(trained: Tree, options: Decomposed) -> jax.Array:
    codes_PxR, scale_D = trained["codes"], trained["scale"]
    matrix_RxD = projection(codes_PxR.shape[1], len(scale_D), options)
    x_PxD = perceptron.product(codes_PxR, jnp.asarray(matrix_RxD))
    return x_PxD * scale_D[None] + trained["shift"][None]


def _mpt_init(
    key: jax.Array, first_PxD: jax.Array, rank: int, options: Decomposed
) -> Tree:
    """The first prompt times ones: its further factors have no effect at first."""
    del options
    length, width = first_PxD.shape
    more_PxR = FACTORS_STD * jax.random.normal(key, (length, rank))
    return {
        "shared": first_PxD,
        "columns": more_PxR.at[:, 0].set(1.0),
        "rows": jnp.zeros((rank, width)).at[0].set(1.0),
    }


def _mpt(trained: Tree, options: Decomposed) -> jax.Array:
    del options
    own_PxD = perceptron.product(trained["columns"], trained["rows"])
    return trained["shared"] * own_PxD


KINDS = {
    "dpt": Kind(10, _dpt_init, _dpt),
    "ulpt": Kind(2, _ulpt_init, _ulpt),
    "mpt": Kind(1, _mpt_init, _mpt),
}
