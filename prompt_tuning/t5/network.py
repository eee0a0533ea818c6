"""T5 1.1 in flax.linen, and the one place where a prompt enters it.

Shape legend, for the whole package (x_BxTxD is x with shape [B, T, D]):

  B  batch                 T  encoder input length     S  decoder length
  P  prompt length         L  length attended to: P+T in the encoder
  D  model (emb_dim)       H  heads                    K  head dimension
  F  MLP                   V  vocabulary rows          N  prompts in a batch

The parameter tree and layouts are those of the public T5X checkpoints of T5 1.1, so
these load name for name. The prompt is an input, not a parameter: the gradient with
respect to it needs no mask, and the pretrained tree stays as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from prompt_tuning import partitioning
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import attention, layers, placing

# Of one layer: self-attention's keys and values so far, and cross-attention's.
LayerCache = tuple[layers.KeysValues, layers.KeysValues]
# Of all: the same two, each a list with an item a layer, or stacked arrays if scanned.
Cache = tuple[Any, Any]
Layers = nn.Module | list[nn.Module]


def _attention(config: T5Config) -> layers.Attention:
    return layers.Attention(
        config.num_heads,
        config.head_dim,
        config.emb_dim,
        jnp.dtype(config.dtype),
        config.param_dtype,
        config.dropout_rate,
        config.attention,
    )


def _mlp(config: T5Config) -> layers.MLP:
    return layers.MLP(
        config.mlp_dim,
        jnp.dtype(config.dtype),
        config.param_dtype,
        config.dropout_rate,
        config.activation,
        config.gated_mlp,
    )


def _norm(config: T5Config) -> layers.RMSNorm:
    return layers.RMSNorm(jnp.dtype(config.dtype), config.layer_norm_epsilon)


def _relative_bias(config: T5Config, bidirectional: bool) -> layers.RelativeBias:
    return layers.RelativeBias(
        config.num_heads,
        config.relpos_buckets,
        config.relpos_max_distance,
        bidirectional,
    )


class EncoderLayer(nn.Module):
    """Self-attention and MLP, each normed before and added after."""

    config: T5Config

    def setup(self):
        self.pre_attention_layer_norm = _norm(self.config)
        self.attention = _attention(self.config)
        self.pre_mlp_layer_norm = _norm(self.config)
        self.mlp = _mlp(self.config)
        self.dropout = layers.Dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxLxD: jax.Array, own: tuple[()], shared: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[()]]:
        """Args: `shared` is bias and mask. Returns: (x [B, L, D], nothing)."""
        x_BxLxD = partitioning.split_batch(x_BxLxD)
        h_BxLxD = self.pre_attention_layer_norm(x_BxLxD)
        x_BxLxD += self.dropout(self.attention.within(h_BxLxD, *shared))
        h_BxLxD = self.mlp(self.pre_mlp_layer_norm(x_BxLxD))
        return x_BxLxD + self.dropout(h_BxLxD), own


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, and MLP."""

    config: T5Config

    def setup(self):
        self.pre_self_attention_layer_norm = _norm(self.config)
        self.self_attention = _attention(self.config)
        self.pre_cross_attention_layer_norm = _norm(self.config)
        self.encoder_decoder_attention = _attention(self.config)
        self.pre_mlp_layer_norm = _norm(self.config)
        self.mlp = _mlp(self.config)
        self.dropout = layers.Dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxSxD: jax.Array, own: tuple[()] | LayerCache, shared: tuple
    ) -> tuple[jax.Array, tuple[()] | layers.KeysValues]:
        """One layer, of all positions or, with a cache, of one.

        Args:
          own: this layer's cache, or () for all positions at once.
          shared: (encoder's output, bias of self-attention, bias of cross-attention,
            the position); without a cache the last is None, with one the first.

        Returns:
          (x [B, S, D], the cache's keys and values with this position's in place)
        """
        encoded_BxLxD, self_bias, cross_bias, index = shared
        x_BxSxD = partitioning.split_batch(x_BxSxD)
        attention = self.encoder_decoder_attention
        h_BxSxD = self.pre_self_attention_layer_norm(x_BxSxD)
        keys_values = self.self_attention.keys_values(h_BxSxD)
        if own:
            before, kept = own
            keys_values = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, new, index, axis=1)
                for old, new in zip(before, keys_values, strict=True)
            )
        x_BxSxD += self.dropout(self.self_attention(h_BxSxD, keys_values, self_bias))
        h_BxSxD = self.pre_cross_attention_layer_norm(x_BxSxD)
        if own:
            h_BxSxD = attention(h_BxSxD, kept, cross_bias)
        else:
            h_BxSxD = attention.across(h_BxSxD, encoded_BxLxD, cross_bias)
        x_BxSxD += self.dropout(h_BxSxD)
        h_BxSxD = self.mlp(self.pre_mlp_layer_norm(x_BxSxD))
        return x_BxSxD + self.dropout(h_BxSxD), keys_values if own else ()

    def across(
        self, encoded_BxLxD: jax.Array, own: tuple[()], shared: tuple[()]
    ) -> tuple[jax.Array, layers.KeysValues]:
        """(the encoder's output, the keys and values that decoding keeps of it)"""
        return encoded_BxLxD, self.encoder_decoder_attention.keys_values(encoded_BxLxD)


def _layers(
    layer: type[nn.Module], config: T5Config, number: int, *methods: str
) -> Layers:
    """The layers of a stack: a list, or with scan_layers one module for all."""
    if config.remat:  # inside of a loop nothing can be merged with the first pass
        layer = nn.remat(layer, prevent_cse=not config.scan_layers)
    if not config.scan_layers:
        return [layer(config) for _ in range(number)]
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0, nn.broadcast),
        length=number,
        metadata_params={nn.PARTITION_NAME: "layers"},
        methods=["__call__", *methods],
    )(config)


def _run(
    stack: Layers, x: jax.Array, own: tuple, shared: tuple, method: str = "__call__"
) -> tuple[jax.Array, Any]:
    """x through each layer of a stack, (x, own, shared) -> (x, out).

    Args:
      own: for each layer's `own` a list with an item a layer; stacked arrays when
        layers are scanned.

    Returns:
      (x, each layer's out: a list, or stacked arrays)
    """
    if isinstance(stack, nn.Module):
        return getattr(stack, method)(x, own, shared)
    outs = []
    for index, layer in enumerate(stack):
        x, out = getattr(layer, method)(x, tuple(part[index] for part in own), shared)
        outs.append(out)
    return x, outs


class Encoder(nn.Module):
    """The encoder stack over embedded inputs."""

    config: T5Config

    def setup(self):
        config = self.config
        self.relpos_bias = _relative_bias(config, bidirectional=True)
        self.layers = _layers(EncoderLayer, config, config.num_encoder_layers)
        self.encoder_norm = _norm(config)
        self.dropout = layers.Dropout(config.dropout_rate)

    def __call__(self, x_BxLxD: jax.Array, mask_BxL: jax.Array) -> jax.Array:
        length = x_BxLxD.shape[1]
        shared = self.relpos_bias(length, length), mask_BxL
        x_BxLxD, _ = _run(self.layers, self.dropout(x_BxLxD), (), shared)
        return self.dropout(self.encoder_norm(x_BxLxD))


class Decoder(nn.Module):
    """The decoder stack over embedded targets, and its head: logits of the next token.

    The head is a kernel of its own, or the embedding's table if they are tied.
    """

    config: T5Config
    token_embedder: layers.Embed

    def setup(self):
        config = self.config
        self.relpos_bias = _relative_bias(config, bidirectional=False)
        self.layers = _layers(DecoderLayer, config, config.num_decoder_layers, "across")
        self.decoder_norm = _norm(config)
        self.dropout = layers.Dropout(config.dropout_rate)
        if config.tied_head:
            return
        self.logits_dense = layers.Dense(
            config.emb_dim,
            config.vocab_size,
            config.emb_dim**-0.5,
            ("embed", "vocab"),
            jnp.dtype("float32"),
            config.param_dtype,
        )

    def _self_bias(self, length: int) -> jax.Array:
        causal_SxS = jnp.tri(length, dtype=bool)
        return self.relpos_bias(length, length) + attention.visible(
            causal_SxS[None, None]
        )

    def __call__(
        self, x_BxSxD: jax.Array, encoded_BxLxD: jax.Array, mask_BxL: jax.Array
    ) -> jax.Array:
        """Logits [B, S, V] of all positions at once (teacher forcing)."""
        self_bias = self._self_bias(x_BxSxD.shape[1])
        cross_bias = attention.visible(mask_BxL[:, None, None, :])
        shared = encoded_BxLxD, self_bias, cross_bias, None
        x_BxSxD, _ = _run(self.layers, self.dropout(x_BxSxD), (), shared)
        return self._logits(x_BxSxD)

    def _logits(self, x_BxSxD: jax.Array) -> jax.Array:
        x_BxSxD = self.dropout(self.decoder_norm(x_BxSxD))
        if self.config.scale_decoder_outputs:
            x_BxSxD *= self.config.emb_dim**-0.5
        if self.config.tied_head:
            return self.token_embedder.attend(x_BxSxD)
        return self.logits_dense(x_BxSxD)

    def start(self, encoded_BxLxD: jax.Array, length: int) -> Cache:
        """For each layer, empty self-attention and full cross-attention."""
        _, across = _run(self.layers, encoded_BxLxD, (), (), "across")

        def empty(x: jax.Array) -> jax.Array:
            return jnp.zeros((*x.shape[:-3], length, *x.shape[-2:]), x.dtype)

        return jax.tree.map(empty, across), across

    def step(
        self, x_Bx1xD: jax.Array, cache: Cache, mask_BxL: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Logits [B, V] of position `index` alone, and the cache that now holds it."""
        before, across = cache
        length = jax.tree.leaves(before)[0].shape[-3]
        self_bias = jax.lax.dynamic_slice_in_dim(
            self._self_bias(length), index, 1, axis=2
        )
        cross_bias = attention.visible(mask_BxL[:, None, None, :])
        shared = None, self_bias, cross_bias, index
        x_Bx1xD, before = _run(self.layers, x_Bx1xD, cache, shared)
        return self._logits(x_Bx1xD)[:, 0], (before, across)


class Transformer(nn.Module):
    """T5 1.1. `combine` says where a prompt goes (placing.py)."""

    config: T5Config
    combine: placing.Combine = placing.prefix

    def setup(self):
        config = self.config
        self.token_embedder = layers.Embed(
            config.vocab_size,
            config.emb_dim,
            jnp.dtype(config.dtype),
            config.param_dtype,
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.token_embedder)

    def __call__(
        self,
        batch: dict[str, jax.Array],
        prompt: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [B, S, V] in float32 under teacher forcing.

        Applied with an rng "dropout" it drops out, else not.

        Args:
          batch: encoder_input_tokens [B, T] and decoder_input_tokens [B, S], int32, 0
            where padded.
          prompt: [P, D], or [B, P, D] for one prompt an example; None for none.
        """
        encoded_BxLxD, mask_BxL = self.encode(batch["encoder_input_tokens"], prompt)
        return self.decode(batch["decoder_input_tokens"], encoded_BxLxD, mask_BxL)

    def encode(
        self,
        tokens_BxT: jax.Array,
        prompt: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The encoder's output [B, L, D] and its mask [B, L], False at padding."""
        x_BxLxD = self.token_embedder(tokens_BxT)
        mask_BxL = tokens_BxT != placing.PAD_ID
        if prompt is not None:
            x_BxLxD, mask_BxL = self.combine(prompt, x_BxLxD, tokens_BxT)
        return self.encoder(x_BxLxD, mask_BxL), mask_BxL

    def decode(
        self, tokens_BxS: jax.Array, encoded_BxLxD: jax.Array, mask_BxL: jax.Array
    ) -> jax.Array:
        """Logits [B, S, V] of decoder inputs, given what `encode` returned."""
        x_BxSxD = self.token_embedder(tokens_BxS)
        return self.decoder(x_BxSxD, encoded_BxLxD, mask_BxL)

    def start_cache(self, encoded_BxLxD: jax.Array, length: int) -> Cache:
        """What decoding keeps of each layer, for up to `length` positions."""
        return self.decoder.start(encoded_BxLxD, length)

    def decode_step(
        self, token_B: jax.Array, cache: Cache, mask_BxL: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Logits [B, V] after `token_B` at position `index`, and the new cache."""
        x_Bx1xD = self.token_embedder(token_B[:, None])
        return self.decoder.step(x_Bx1xD, cache, mask_BxL, index)


def embedding_table(params: dict) -> jax.Array:
    """The frozen model's input embeddings [V, D] in float32, however they are kept."""
    kept = params["token_embedder"]
    table_VxD = kept["embedding"].astype(jnp.float32)
    if "embedding_scale" in kept:
        table_VxD *= kept["embedding_scale"][:, None]
    return table_VxD
