"""A layer of the encoder and one of the decoder, and what each is given.

The shape legend is at the top of network.py.
"""

from typing import NamedTuple

import jax
from flax import linen as nn

from prompt_tuning import partitioning
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import layers, placing, products
from prompt_tuning.t5.extra import LayerExtra


class Cache(NamedTuple):
    """A layer's keys and values [B, L, H, K], kept while decoding.

    For all layers, each is a list with one item per layer or, if layers are scanned, an
    array [layers, B, L, H, K].

    own: self-attention's, with those in front first.
    across: cross-attention's.
    mixed: float32 [B, N, 1, V], not of a layer: with a mixture of N prompts, the part
      of each in the log-probabilities of the next token (mixing.py).
    """

    own: layers.KeysValues
    across: layers.KeysValues
    mixed: jax.Array | None = None


class EncoderContext(NamedTuple):
    """Inputs that all layers of the encoder share."""

    bias_1xHxQxL: jax.Array
    mask_BxL: jax.Array
    positions_BxP: jax.Array | None  # of the prompt's vectors


class DecoderContext(NamedTuple):
    """Inputs that all layers of the decoder share; the biases include the masks."""

    encoded_BxLxD: jax.Array
    self_bias: jax.Array  # [1 or B, H, S, L]
    cross_bias: jax.Array  # [B, 1, 1, L]


class StepContext(NamedTuple):
    """Inputs that all layers of the decoder share at one position."""

    position: jax.Array
    self_bias: jax.Array  # [1 or B, H, 1, L]
    cross_bias: jax.Array  # [B, 1, 1, L]


def _attention(config: T5Config) -> layers.Attention:
    return layers.Attention(
        config.num_heads,
        config.head_dim,
        config.emb_dim,
        products.factors(config.dtype),
        config.param_dtype,
        config.dropout_rate,
        config.attention,
    )


def _mlp(config: T5Config) -> layers.MLP:
    return layers.MLP(
        config.mlp_dim,
        products.factors(config.dtype),
        config.param_dtype,
        config.dropout_rate,
        config.activation,
        config.gated_mlp,
    )


def norm(config: T5Config) -> layers.RMSNorm:
    """The norm of a layer, and the one at a stack's end."""
    return layers.RMSNorm(products.result(config.dtype), config.layer_norm_epsilon)


class EncoderLayer(nn.Module):
    """Self-attention and MLP, each with a norm before and a residual sum after."""

    config: T5Config

    def setup(self):
        self.pre_attention_layer_norm = norm(self.config)
        self.attention = _attention(self.config)
        self.pre_mlp_layer_norm = norm(self.config)
        self.mlp = _mlp(self.config)
        self.dropout = layers.Dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxLxD: jax.Array, extra: LayerExtra, context: EncoderContext
    ) -> tuple[jax.Array, tuple[()]]:
        """(x [B, L, D], nothing)"""
        x_BxLxD = partitioning.split_batch(x_BxLxD)
        if extra.shift is not None:
            assert context.positions_BxP is not None  # see _check_shift
            x_BxLxD = placing.shifted(x_BxLxD, extra.shift, context.positions_BxP)
        h_BxLxD = self.attention.within(
            self.pre_attention_layer_norm(x_BxLxD),
            context.bias_1xHxQxL,
            context.mask_BxL,
            extra.front,
            extra.self_attention,
        )
        x_BxLxD += layers.adapted(self.dropout(h_BxLxD), extra.attention_adapter)
        h_BxLxD = self.mlp(self.pre_mlp_layer_norm(x_BxLxD), extra.mlp_scale)
        return x_BxLxD + layers.adapted(self.dropout(h_BxLxD), extra.mlp_adapter), ()


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the encoder, and MLP."""

    config: T5Config

    def setup(self):
        self.pre_self_attention_layer_norm = norm(self.config)
        self.self_attention = _attention(self.config)
        self.pre_cross_attention_layer_norm = norm(self.config)
        self.encoder_decoder_attention = _attention(self.config)
        self.pre_mlp_layer_norm = norm(self.config)
        self.mlp = _mlp(self.config)
        self.dropout = layers.Dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxSxD: jax.Array, extra: LayerExtra, context: DecoderContext
    ) -> tuple[jax.Array, tuple[()]]:
        """All positions at once: (x [B, S, D], nothing)."""
        x_BxSxD = partitioning.split_batch(x_BxSxD)
        h_BxSxD = self.pre_self_attention_layer_norm(x_BxSxD)
        keys_values = self.self_attention.keys_values(
            h_BxSxD, extra.front, extra.self_attention
        )
        h_BxSxD = self.self_attention(
            h_BxSxD, keys_values, context.self_bias, extra.self_attention
        )
        x_BxSxD += layers.adapted(self.dropout(h_BxSxD), extra.attention_adapter)
        h_BxSxD = self.encoder_decoder_attention.across(
            self.pre_cross_attention_layer_norm(x_BxSxD),
            context.encoded_BxLxD,
            context.cross_bias,
            extra.cross_attention,
        )
        return self._through_mlp(x_BxSxD + self.dropout(h_BxSxD), extra), ()

    def step(
        self,
        x_Bx1xD: jax.Array,
        kept: tuple[Cache, LayerExtra],
        context: StepContext,
    ) -> tuple[jax.Array, layers.KeysValues]:
        """One position: (x [B, 1, D], the cache's `own` with this position written).

        The keys in front are in the cache from the start.
        """
        cache, extra = kept
        x_Bx1xD = partitioning.split_batch(x_Bx1xD)
        h_Bx1xD = self.pre_self_attention_layer_norm(x_Bx1xD)
        place, own = extra.length + context.position, extra.self_attention
        new = self.self_attention.keys_values(h_Bx1xD, None, own)
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(*pair, place, axis=1)
            for pair in zip(cache.own, new, strict=True)
        )
        keys_values = keys, values
        h_Bx1xD = self.self_attention(h_Bx1xD, keys_values, context.self_bias, own)
        x_Bx1xD += layers.adapted(self.dropout(h_Bx1xD), extra.attention_adapter)
        h_Bx1xD = self.encoder_decoder_attention(
            self.pre_cross_attention_layer_norm(x_Bx1xD),
            cache.across,
            context.cross_bias,
            extra.cross_attention,
        )
        return self._through_mlp(x_Bx1xD + self.dropout(h_Bx1xD), extra), keys_values

    def _through_mlp(self, x_BxSxD: jax.Array, extra: LayerExtra) -> jax.Array:
        h_BxSxD = self.mlp(self.pre_mlp_layer_norm(x_BxSxD), extra.mlp_scale)
        return x_BxSxD + layers.adapted(self.dropout(h_BxSxD), extra.mlp_adapter)

    def start(
        self, encoded_BxLxD: jax.Array, extra: LayerExtra, context: tuple[()]
    ) -> tuple[jax.Array, Cache]:
        """(the encoder's output, a cache without any position)"""
        own = self.self_attention.keys_values(encoded_BxLxD[:, :0], extra.front)
        across = self.encoder_decoder_attention.keys_values(
            encoded_BxLxD, None, extra.cross_attention
        )
        return encoded_BxLxD, Cache(own, across)
