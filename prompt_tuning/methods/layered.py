"""What methods need to know that put something into the layers of a frozen model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from prompt_tuning.t5.extra import Extra, LayerExtra

STACKS = "encoder", "decoder"


class Sizes(NamedTuple):
    """The shape of a frozen model; encoder and decoder are numbers of layers."""

    encoder: int
    decoder: int
    emb_dim: int
    num_heads: int
    head_dim: int
    mlp_dim: int

    @property
    def stacks(self) -> dict[str, int]:
        """The number of layers of each stack."""
        return {stack: getattr(self, stack) for stack in STACKS}


# The attentions of a layer, by the names of LayerExtra.
ATTENTIONS = {
    "encoder": ("self_attention",),
    "decoder": ("self_attention", "cross_attention"),
}


def sizes(frozen: Any) -> Sizes:
    """The sizes that a parameter tree has, scanned or not."""
    heads = frozen["encoder"]["relpos_bias"]["rel_embedding"].shape[0]
    first = _layers(frozen["encoder"])[0]
    return Sizes(
        *(len(_layers(frozen[stack])) for stack in STACKS),
        emb_dim=frozen["token_embedder"]["embedding"].shape[1],
        num_heads=heads,
        head_dim=first["attention"]["query"]["kernel"].shape[-1] // heads,
        mlp_dim=first["mlp"]["wo"]["kernel"].shape[-2],
    )


def _layers(stack: Any) -> list[Any]:
    """The layers of a stack; of a scanned one, its stacked tree for each."""
    if "layers" in stack:
        return [stack["layers"]] * len(jax.tree.leaves(stack["layers"])[0])
    return [tree for name, tree in stack.items() if name.startswith("layers_")]


def extra(make: Callable[[str], LayerExtra]) -> Extra:
    """What `make` gives for each of STACKS, as the network takes it."""
    encoder, decoder = map(make, STACKS)
    return Extra(encoder=encoder, decoder=decoder)
