"""The frozen network's inputs besides tokens: what the tuning methods train.

All of them are optional, and none of them is in the parameter tree. The shape legend is
at the top of network.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from prompt_tuning.errors import UserError

END = -1  # a place in the input: before its final EOS


class Prompt(NamedTuple):
    """Vectors to be inserted into the embedded input.

    vectors: [P, D], or [B, P, D] with a prompt for each example.
    before: int32 [P] or [B, P], the position of the input token that each vector goes
      before. END, or a position past the input, means before the input's final EOS, or
      after the input if it has no EOS.
    mask: bool [P] or [B, P], False where there is no vector (a shorter prompt in a
      batch); None: all are there.
    """

    vectors: jax.Array
    before: jax.Array
    mask: jax.Array | None = None


class Adapter(NamedTuple):
    """x + relu(x down) up, in every layer.

    The nonlinearity is the one of Pfeiffer's adapters in the library `adapters`.
    """

    down: jax.Array  # [layers, D, R]
    up: jax.Array  # [layers, R, D]


class LowRank(NamedTuple):
    """A change of a frozen kernel [I, O] of every layer, beside it: x down up."""

    down: jax.Array  # [layers, I, R]
    up: jax.Array  # [layers, R, O]


class AttentionExtra(NamedTuple):
    """Inputs of an attention of every layer; the arrays' first axis is the layer.

    query, value: changes of those kernels, [D, H*K].
    key_scale, value_scale: [layers, H*K], factors of the keys and values of x, changes
      included, but not of those in front.
    """

    query: LowRank | None = None
    value: LowRank | None = None
    key_scale: jax.Array | None = None
    value_scale: jax.Array | None = None


class LayerExtra(NamedTuple):
    """Inputs of the layers of one stack; the arrays' first axis is the layer.

    Each layer is given its own part, without that axis and without the mask.

    keys, values: [layers, P, H, K] or [layers, B, P, H, K], put in front of the layer's
      own in self-attention, at positions -P to -1. Every position sees them. Set both
      or neither.
    mask: bool [P] or [B, P], False where there are no keys; None: all are there.
    shift: [layers, P, D] or [layers, B, P, D], added to the layer's input at the
      prompt's vectors. For the encoder only, and only with a prompt.
    attention_adapter: applied to self-attention's output, before the residual sum.
    mlp_adapter: applied to the MLP's output, before the residual sum.
    self_attention, cross_attention: of these attentions; the encoder has no second.
    mlp_scale: [layers, F], factors of the MLP's hidden activation, wo's input.
    """

    keys: jax.Array | None = None
    values: jax.Array | None = None
    mask: jax.Array | None = None
    shift: jax.Array | None = None
    attention_adapter: Adapter | None = None
    mlp_adapter: Adapter | None = None
    self_attention: AttentionExtra = AttentionExtra()
    cross_attention: AttentionExtra = AttentionExtra()
    mlp_scale: jax.Array | None = None

    @property
    def stacked(self) -> "LayerExtra":
        """The fields with an axis of layers: all but the mask."""
        return self._replace(mask=None)

    @property
    def length(self) -> int:
        """The number of keys in front of a layer's own."""
        return 0 if self.keys is None else self.keys.shape[-3]

    @property
    def front(self) -> tuple[jax.Array, jax.Array] | None:
        """The keys and values in front of a layer's own, or None."""
        if self.keys is None:
            return None
        assert self.values is not None
        return self.keys, self.values


class LabelRows(NamedTuple):
    """Output embeddings that replace those of some tokens.

    ids: int32 [C], distinct token ids.
    rows: [C, D], used instead of columns of logits_dense/kernel.
    """

    ids: jax.Array
    rows: jax.Array


class Extra(NamedTuple):
    """All the network's inputs besides tokens. `Extra()` has none.

    bank: a prompt for each of K tasks, vectors [K, P, D]; `of_tasks` gives each row its
      task's. It stands instead of a prompt.
    input_shift: [S, D], added to the embedded input, the first row to its first token;
      tokens after the S first stay as they are.
    prompt_weights: [N], log weights, up to a constant, of a mixture of N prompts
      (mixing.py). The prompt's vectors are then [N, P, D] and the encoder's shift
      [layers, N, P, D]; what else there is is for all of them, and for all rows.
    """

    prompt: Prompt | None = None
    encoder: LayerExtra | None = None
    decoder: LayerExtra | None = None
    label_rows: LabelRows | None = None
    input_shift: jax.Array | None = None
    bank: Prompt | None = None
    prompt_weights: jax.Array | None = None

    def of_tasks(self, tasks_B: jax.Array | None) -> "Extra":
        """With the prompt of each row's task instead of a bank, if there is one.

        Args:
          tasks_B: int32, each row's place in the bank; one that is not there makes its
            prompt NaN.

        Raises:
          UserError: there is a bank, and nothing says the rows' tasks.
        """
        if self.bank is None:
            return self
        if tasks_B is None:
            raise UserError(
                f"there is a prompt for each of {len(self.bank.vectors)} tasks, but "
                "nothing says which task an example is of: train a mixture with "
                "`prompt-tuning train`, or use the prompt of one task "
                "(`prompt-tuning export --task`)"
            )
        own_BxPxD = jnp.take(self.bank.vectors, tasks_B, axis=0, mode="fill")
        return self._replace(prompt=self.bank._replace(vectors=own_BxPxD), bank=None)

    @property
    def prompt_length(self) -> int:
        """P, the vectors of an example's prompt; 0 without one."""
        prompt = self.prompt or self.bank
        return 0 if prompt is None else prompt.vectors.shape[-2]

    @property
    def encodings(self) -> int:
        """How many times an input is encoded: N of a mixture of prompts, else 1."""
        return 1 if self.prompt_weights is None else len(self.prompt_weights)

    @property
    def is_prompt(self) -> bool:
        """Whether there is a prompt and nothing else, or nothing at all."""
        return not jax.tree.leaves(self._replace(prompt=None))
