"""How alike prompts are: their vectors, and the neurons that they activate.

After Su et al. (2022, "On Transferability of Prompt Tuning for Natural Language
Processing"), who find the overlap of activated neurons the better sign of transfer. A
prompt is [P, D], and prompts of different lengths may be compared.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

from prompt_tuning.reading import neighbours
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer


def of_means(prompts: Sequence[np.ndarray]) -> np.ndarray:
    """The cosine of the prompts' mean vectors, [N, N]."""
    means_NxD = np.stack([np.mean(one, axis=0, dtype=np.float64) for one in prompts])
    return neighbours.compare(means_NxD, means_NxD, "cosine")


def of_positions(prompts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean cosine of any position of one with any of the other, [N, N].

    Beside itself, a prompt has the mean over its pairs of different positions.
    """
    # A mean over all pairs of cosines is a product of mean directions.
    means_NxD = np.stack([neighbours.unit(one).mean(axis=0) for one in prompts])
    found_NxN = means_NxD @ means_NxD.T
    np.fill_diagonal(found_NxN, [neighbours.among(one) for one in prompts])
    return found_NxN


def of_same_positions(prompts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean cosine of each position of one with that of the other, [N, N].

    It is high where prompts started alike. The prompts are of one length.
    """
    units_NxPxD = np.stack([neighbours.unit(one) for one in prompts])
    return np.einsum("npd,mpd->nm", units_NxPxD, units_NxPxD) / units_NxPxD.shape[1]


def active_neurons(
    network: Transformer, params: Any, prompt_PxD: np.ndarray
) -> np.ndarray:
    """Which neurons of the decoder's feed-forward layers are active, bool [layers x F].

    At the first position of the answer, with the prompt as the only input, as Su et al.
    do for T5. Active is an input above 0 to the nonlinearity (of the gate, in T5 1.1).

    Args:
      network: not scanned.
    """
    tokens_1x1 = np.array([[placing.EOS_ID]], np.int32)
    batch = {"encoder_input_tokens": tokens_1x1, "decoder_input_tokens": 0 * tokens_1x1}

    @jax.jit
    def inputs(params: Any, prompt_PxD: jax.Array) -> list[jax.Array]:
        _, kept = network.apply(
            {"params": params},
            batch,
            Extra(placing.prefix(prompt_PxD)),
            capture_intermediates=lambda module, _: module.name in ("wi_0", "wi"),
            mutable=["intermediates"],
        )
        decoder = kept["intermediates"]["decoder"]
        by_layer = [decoder[f"layers_{i}"] for i in range(len(decoder))]
        return [jax.tree.leaves(layer)[0] for layer in by_layer]

    found = jax.device_get(inputs(params, jnp.asarray(prompt_PxD)))
    return np.concatenate([x_1x1xF[0, 0] > 0 for x_1x1xF in found])


def overlap(active_NxF: np.ndarray) -> np.ndarray:
    """The cosine of sets of active neurons: shared ones by the mean size, [N, N]."""
    return neighbours.compare(active_NxF, active_NxF, "cosine")


def order(similarity_NxN: np.ndarray) -> list[int]:
    """The order in which similar prompts stand together, by average linkage."""
    if len(similarity_NxN) < 2:
        return list(range(len(similarity_NxN)))
    far_NxN = np.maximum(1 - (similarity_NxN + similarity_NxN.T) / 2, 0)
    np.fill_diagonal(far_NxN, 0)
    condensed = distance.squareform(far_NxN, checks=False)
    tree = hierarchy.linkage(condensed, "average", optimal_ordering=True)
    return hierarchy.leaves_list(tree).tolist()
