"""What the frozen network takes in besides tokens: what every method of tuning trains.

All of it is optional, and all of it is an input: the parameter tree knows nothing of
it. The shape legend is at the top of network.py.
"""

from typing import NamedTuple

import jax

END = -1  # a place in the input: before the EOS that closes it


class Prompt(NamedTuple):
    """Vectors among those of the embedded input.

    vectors: [P, D], or [B, P, D] for one prompt an example.
    before: int32 [P] or [B, P], the input token each vector stands in front of. END,
      and any token the input does not have: before the EOS that closes the input,
      behind the input where it has none.
    mask: bool [P] or [B, P], False where a vector is not there (a shorter prompt in a
      batch); None: all are there.
    """

    vectors: jax.Array
    before: jax.Array
    mask: jax.Array | None = None


class Adapter(NamedTuple):
    """x + relu(x down) up, in every layer.

    The nonlinearity is that of Pfeiffer's adapters in the library `adapters`.
    """

    down: jax.Array  # [layers, D, R]
    up: jax.Array  # [layers, R, D]


class LayerExtra(NamedTuple):
    """What the layers of one stack take; each array has an axis of layers in front.

    Inside a layer it is that layer's: without the axis of layers, and without the mask.

    keys, values: [layers, P, H, K] or [layers, B, P, H, K], in front of the layer's own
      in self-attention, at positions -P to -1. Every position sees them. Both or none.
    mask: bool [P] or [B, P], False where keys are not there; None: all are there.
    shift: [layers, P, D] or [layers, B, P, D], added to the layer's input where the
      prompt's vectors are. Of the encoder only, and with a prompt only.
    attention_adapter: applied to self-attention's output, before that is added.
    mlp_adapter: applied to the MLP's output, before that is added.
    """

    keys: jax.Array | None = None
    values: jax.Array | None = None
    mask: jax.Array | None = None
    shift: jax.Array | None = None
    attention_adapter: Adapter | None = None
    mlp_adapter: Adapter | None = None

    @property
    def stacked(self) -> "LayerExtra":
        """What has an axis of layers: all but the mask."""
        return self._replace(mask=None)

    @property
    def length(self) -> int:
        """How many keys stand in front of a layer's own."""
        return 0 if self.keys is None else self.keys.shape[-3]

    @property
    def front(self) -> tuple[jax.Array, jax.Array] | None:
        """The keys and values that stand there."""
        if self.keys is None:
            return None
        assert self.values is not None
        return self.keys, self.values


class LabelRows(NamedTuple):
    """Rows of the softmax that replace those of some tokens.

    ids: int32 [C], distinct token ids.
    rows: [C, D], what stands for the columns of logits_dense/kernel.
    """

    ids: jax.Array
    rows: jax.Array


class Extra(NamedTuple):
    """All that the network takes in besides tokens. `Extra()` is nothing."""

    prompt: Prompt | None = None
    encoder: LayerExtra | None = None
    decoder: LayerExtra | None = None
    label_rows: LabelRows | None = None
