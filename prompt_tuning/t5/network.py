"""T5 1.1 in flax.linen, and the places where what is trained enters it.

Shape legend, for the whole package (x_BxTxD is x with shape [B, T, D]):

  B  batch                 T  encoder input length     S  decoder length
  P  prompt length         Q  queries                  L  keys: P+T in the encoder
  D  model (emb_dim)       H  heads                    K  head dimension
  F  MLP                   V  vocabulary rows          C  labels, or label rows
  R  adapter rank          N  prompts in a batch, or examples not yet in batches

Keys in front of self-attention (extra.py) have a P of their own, and count in its L.
Where labels are prepared and scored outside of t5/, labels_LxS has L labels.

Parameter names and layouts match the public T5X checkpoints of T5 1.1, so those load
unchanged. What is trained is an input (extra.py), not a parameter: its gradient needs
no mask, and the pretrained tree does not change.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from prompt_tuning.errors import UserError
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import attention, blocks, layers, mixing, placing, products
from prompt_tuning.t5.extra import Extra, LabelRows, LayerExtra

Layers = nn.Module | list[nn.Module]
NO_EXTRA = Extra()
NO_LAYER_EXTRA = LayerExtra()


def _relative_bias(config: T5Config, bidirectional: bool) -> layers.RelativeBias:
    return layers.RelativeBias(
        config.num_heads,
        config.relpos_buckets,
        config.relpos_max_distance,
        bidirectional,
    )


def _layers(
    layer: type[nn.Module], config: T5Config, number: int, *methods: str
) -> Layers:
    """The layers of a stack: a list or, with scan_layers, one module for all."""
    if config.remat:  # in a scan, CSE does no harm
        layer = nn.remat(layer, prevent_cse=not config.scan_layers)
    if not config.scan_layers:
        return [layer(config) for _ in range(number)]
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        # Flax accepts a tree, as jax.vmap does, but its type says int.
        in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]
        length=number,
        metadata_params={nn.PARTITION_NAME: "layers"},
        methods=["__call__", *methods],
    )(config)


def _run(
    stack: Layers, x: jax.Array, own: Any, context: tuple, method: str = "__call__"
) -> tuple[jax.Array, Any]:
    """x through each layer of a stack, (x, own, context) -> (x, out).

    Args:
      own: a tree whose leaves have a first axis of layers, arrays or lists: each layer
        is given its own part.

    Returns:
      (x, a tree with each layer's out: of lists, or of arrays if layers are scanned)
    """
    if isinstance(stack, nn.Module):
        return getattr(stack, method)(x, own, context)
    parts, tree = jax.tree.flatten(own, is_leaf=lambda part: isinstance(part, list))
    outs = []
    for layer, *items in zip(stack, *parts, strict=True):
        x, out = getattr(layer, method)(x, tree.unflatten(items), context)
        outs.append(out)
    return x, jax.tree.map(lambda *items: list(items), *outs)


def _front_mask(extra: LayerExtra) -> jax.Array:
    """The mask of the keys in front: [1 or B, P]."""
    mask = jnp.ones(extra.length, bool) if extra.mask is None else extra.mask
    return jnp.atleast_2d(mask)


class Encoder(nn.Module):
    """The encoder stack over embedded inputs."""

    config: T5Config

    def setup(self):
        config = self.config
        self.relpos_bias = _relative_bias(config, bidirectional=True)
        self.layers = _layers(blocks.EncoderLayer, config, config.num_encoder_layers)
        self.encoder_norm = blocks.norm(config)
        self.dropout = layers.Dropout(config.dropout_rate)

    def __call__(
        self,
        x_BxLxD: jax.Array,
        mask_BxL: jax.Array,
        extra: LayerExtra,
        positions_BxP: jax.Array | None,
    ) -> jax.Array:
        """The encoder's output [B, L, D]; `positions_BxP` are the prompt's vectors'."""
        front, (batch, length, _) = extra.length, x_BxLxD.shape
        bias = self.relpos_bias(front + length, front + length)[:, :, front:]
        front_BxP = jnp.broadcast_to(_front_mask(extra), (batch, front))
        mask_BxL = jnp.concatenate([front_BxP, mask_BxL], axis=1)
        context = blocks.EncoderContext(bias, mask_BxL, positions_BxP)
        x_BxLxD = self.dropout(x_BxLxD)
        x_BxLxD, _ = _run(self.layers, x_BxLxD, extra.stacked, context)
        return self.dropout(self.encoder_norm(x_BxLxD))


class Decoder(nn.Module):
    """The decoder stack over embedded targets, and its head: the next token's logits.

    The head has its own kernel, or shares the embedding's table if tied.
    """

    config: T5Config
    token_embedder: layers.Embed

    def setup(self):
        config = self.config
        self.relpos_bias = _relative_bias(config, bidirectional=False)
        self.layers = _layers(
            blocks.DecoderLayer, config, config.num_decoder_layers, "start", "step"
        )
        self.decoder_norm = blocks.norm(config)
        self.dropout = layers.Dropout(config.dropout_rate)
        if config.tied_head:
            return
        self.logits_dense = layers.Dense(
            config.emb_dim,
            config.vocab_size,
            config.emb_dim**-0.5,
            ("embed", "vocab"),
            products.of_logits(config.dtype),
            config.param_dtype,
        )

    def _self_bias(self, length: int, extra: LayerExtra) -> jax.Array:
        """The bias of `length` positions, with keys in front: [1 or B, H, S, P+S]."""
        front = extra.length
        bias = self.relpos_bias(front + length, front + length)[:, :, front:]
        causal_SxL = jnp.tri(length, front + length, front, dtype=bool)
        there_BxL = jnp.pad(
            _front_mask(extra), ((0, 0), (0, length)), constant_values=True
        )
        return bias + attention.visible(
            causal_SxL[None, None] & there_BxL[:, None, None]
        )

    def _logits(self, x_BxSxD: jax.Array, label_rows: LabelRows | None) -> jax.Array:
        x_BxSxD = self.dropout(self.decoder_norm(x_BxSxD))
        if self.config.scale_decoder_outputs:
            x_BxSxD *= self.config.emb_dim**-0.5
        if self.config.tied_head:
            logits_BxSxV = self.token_embedder.attend(x_BxSxD)
        else:
            logits_BxSxV = self.logits_dense(x_BxSxD)
        if label_rows is None:
            return logits_BxSxV
        rows_CxD = label_rows.rows.astype(logits_BxSxV.dtype)
        own_BxSxC = jnp.dot(x_BxSxD.astype(rows_CxD.dtype), rows_CxD.T)
        place = logits_BxSxV.at[..., label_rows.ids]
        return place.set(own_BxSxC, unique_indices=True)

    def __call__(
        self,
        x_BxSxD: jax.Array,
        encoded_BxLxD: jax.Array,
        mask_BxL: jax.Array,
        extra: LayerExtra,
        label_rows: LabelRows | None,
    ) -> jax.Array:
        """Logits [B, S, V] of all positions at once (teacher forcing)."""
        self_bias = self._self_bias(x_BxSxD.shape[1], extra)
        cross_bias = attention.visible(mask_BxL[:, None, None, :])
        context = blocks.DecoderContext(encoded_BxLxD, self_bias, cross_bias)
        x_BxSxD = self.dropout(x_BxSxD)
        x_BxSxD, _ = _run(self.layers, x_BxSxD, extra.stacked, context)
        return self._logits(x_BxSxD, label_rows)

    def start(
        self, encoded_BxLxD: jax.Array, length: int, extra: LayerExtra
    ) -> blocks.Cache:
        """The cache before the first of `length` positions."""
        _, cache = _run(self.layers, encoded_BxLxD, extra.stacked, (), "start")

        def extended(x: jax.Array) -> jax.Array:
            free = jnp.zeros((*x.shape[:-3], length, *x.shape[-2:]), x.dtype)
            return jnp.concatenate([x, free], axis=-3)

        return cache._replace(own=jax.tree.map(extended, cache.own))

    def step(
        self,
        x_Bx1xD: jax.Array,
        cache: blocks.Cache,
        mask_BxL: jax.Array,
        index: jax.Array,
        extra: LayerExtra,
        label_rows: LabelRows | None,
    ) -> tuple[jax.Array, blocks.Cache]:
        """Logits [B, V] of position `index`, and the cache with that position added."""
        length = jax.tree.leaves(cache.own)[0].shape[-3] - extra.length
        self_bias = jax.lax.dynamic_slice_in_dim(
            self._self_bias(length, extra), index, 1, axis=2
        )
        cross_bias = attention.visible(mask_BxL[:, None, None, :])
        context = blocks.StepContext(index, self_bias, cross_bias)
        kept = cache, extra.stacked
        x_Bx1xD, own = _run(self.layers, x_Bx1xD, kept, context, "step")
        return self._logits(x_Bx1xD, label_rows)[:, 0], cache._replace(own=own)


class Transformer(nn.Module):
    """T5 1.1. Each method is given the whole `extra`, and uses its part of it.

    With a mixture of N prompts L is N (P+T), and log-probabilities stand for logits.
    """

    config: T5Config

    if TYPE_CHECKING:  # without `mutable`, apply returns only the method's result

        def apply(self, *args: Any, **options: Any) -> Any: ...

    def setup(self):
        config = self.config
        self.token_embedder = layers.Embed(
            config.vocab_size,
            config.emb_dim,
            products.result(config.dtype),
            config.param_dtype,
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.token_embedder)

    def __call__(
        self, batch: dict[str, jax.Array], extra: Extra = NO_EXTRA
    ) -> jax.Array:
        """Logits [B, S, V] in float32 under teacher forcing.

        Dropout is active if an rng "dropout" is given, and otherwise off.

        Args:
          batch: encoder_input_tokens [B, T] and decoder_input_tokens [B, S], int32, 0
            where padded; and task_ids [B], for a bank of prompts.

        Raises:
          UserError: the batch is packed, or has no task_ids for a bank.
        """
        if "encoder_segment_ids" in batch:
            raise UserError(
                "the batch has encoder_segment_ids: several examples are packed into a "
                "row, and would attend to each other here; put one example in a row "
                "(pack=False)"
            )
        extra = extra.of_tasks(batch.get("task_ids"))
        encoded_BxLxD, mask_BxL = self.encode(batch["encoder_input_tokens"], extra)
        tokens_BxS = batch["decoder_input_tokens"]
        return self.decode(tokens_BxS, encoded_BxLxD, mask_BxL, extra)

    def encode(
        self, tokens_BxT: jax.Array, extra: Extra = NO_EXTRA, cut: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """The encoder's output [B, L, D] and its mask [B, L], False at padding.

        Args:
          cut: L, where it is less than P+T, because in no row all vectors and tokens
            are there; what is there must fit.
        """
        _check(extra)
        batch = len(tokens_BxT)
        tokens_BxT, extra = mixing.rows(tokens_BxT, extra)
        x_BxLxD = self.token_embedder(tokens_BxT)
        if extra.input_shift is not None:
            x_BxLxD = placing.moved(x_BxLxD, extra.input_shift)
        mask_BxL, positions_BxP = tokens_BxT != placing.PAD_ID, None
        if extra.prompt is not None:
            x_BxLxD, mask_BxL, positions_BxP = placing.combine(
                extra.prompt, x_BxLxD, tokens_BxT
            )
            # Padding and masked vectors are last: nothing else is cut off.
            x_BxLxD, mask_BxL = x_BxLxD[:, :cut], mask_BxL[:, :cut]
        own = extra.encoder or NO_LAYER_EXTRA
        x_BxLxD = self.encoder(x_BxLxD, mask_BxL, own, positions_BxP)
        return mixing.in_rows(x_BxLxD, batch), mixing.in_rows(mask_BxL, batch)

    def decode(
        self,
        tokens_BxS: jax.Array,
        encoded_BxLxD: jax.Array,
        mask_BxL: jax.Array,
        extra: Extra = NO_EXTRA,
    ) -> jax.Array:
        """Logits [B, S, V] of decoder inputs, given what `encode` returned."""
        x_BxSxD = self.token_embedder(mixing.repeated(tokens_BxS, extra.encodings))
        encoded_BxLxD = mixing.in_rows(encoded_BxLxD, len(x_BxSxD))
        mask_BxL = mixing.in_rows(mask_BxL, len(x_BxSxD))
        own = extra.decoder or NO_LAYER_EXTRA, extra.label_rows
        logits_BxSxV = self.decoder(x_BxSxD, encoded_BxLxD, mask_BxL, *own)
        if extra.prompt_weights is None:
            return logits_BxSxV
        return mixing.forced(logits_BxSxV, tokens_BxS, extra.prompt_weights)

    def start_cache(
        self, encoded_BxLxD: jax.Array, length: int, extra: Extra = NO_EXTRA
    ) -> blocks.Cache:
        """The cache of every layer, for up to `length` positions."""
        batch = len(encoded_BxLxD)
        encoded_BxLxD = mixing.in_rows(encoded_BxLxD, batch * extra.encodings)
        own = extra.decoder or NO_LAYER_EXTRA
        cache = self.decoder.start(encoded_BxLxD, length, own)
        if extra.prompt_weights is None:
            return cache
        first = mixing.first(extra.prompt_weights, batch, self.config.vocab_size)
        return mixing.cache_in_rows(cache, batch)._replace(mixed=first)

    def decode_step(
        self,
        token_B: jax.Array,
        cache: blocks.Cache,
        mask_BxL: jax.Array,
        index: jax.Array,
        extra: Extra = NO_EXTRA,
    ) -> tuple[jax.Array, blocks.Cache]:
        """Logits [B, V] after `token_B` at position `index`, and the new cache."""
        tokens_Bx1 = mixing.repeated(token_B[:, None], extra.encodings)
        before, rows = cache.mixed, len(tokens_Bx1)
        cache = mixing.cache_in_rows(cache._replace(mixed=None), rows)
        given = cache, mixing.in_rows(mask_BxL, rows), index
        own = extra.decoder or NO_LAYER_EXTRA, extra.label_rows
        x_Bx1xD = self.token_embedder(tokens_Bx1)
        logits_BxV, cache = self.decoder.step(x_Bx1xD, *given, *own)
        if before is None:
            return logits_BxV, cache
        log_p_BxV, mixed = mixing.step(logits_BxV, token_B, before)
        cache = mixing.cache_in_rows(cache, len(token_B))
        return log_p_BxV, cache._replace(mixed=mixed)


def _check(extra: Extra) -> None:
    extra.of_tasks(None)  # raises, as a bank would go unread
    mixing.check(extra)
    encoder, decoder = extra.encoder or NO_LAYER_EXTRA, extra.decoder or NO_LAYER_EXTRA
    if encoder.shift is not None and extra.prompt is None:
        raise ValueError("extra.encoder.shift needs a prompt, but there is none")
    if decoder.shift is not None:
        raise ValueError("extra.decoder.shift is set, but the decoder has no prompt")
