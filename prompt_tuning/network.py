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

import dataclasses

import gin
import jax
import jax.numpy as jnp
from flax import linen as nn

from prompt_tuning import layers, prompts
from prompt_tuning.errors import UserError

Cache = list[tuple[layers.KeysValues, layers.KeysValues]]


@gin.configurable
@dataclasses.dataclass(frozen=True)
class T5Config:
    """The size of a T5 1.1. The defaults are those of the embedded pocket_nano.

    dtype is the type of the activations; parameters and logits are float32.
    dropout_rate is 0 because a frozen model needs none; T5 fine-tuning uses 0.1.
    """

    vocab_size: int = 2_048
    emb_dim: int = 128
    num_heads: int = 4
    head_dim: int = 32
    mlp_dim: int = 256
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    relpos_buckets: int = 32
    relpos_max_distance: int = 128
    dropout_rate: float = 0.0
    dtype: str = "float32"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (type(value) is not int or value < 1):
                raise UserError(
                    f"T5Config.{field.name} is {value!r}; it must be a whole number of "
                    "at least 1"
                )
        if (
            type(self.dropout_rate) not in (int, float)
            or not 0 <= self.dropout_rate < 1
        ):
            raise UserError(
                f"T5Config.dropout_rate is {self.dropout_rate!r}; it must be a number "
                "from 0 to below 1"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"T5Config.dtype is {self.dtype!r}; it must be float32 or bfloat16"
            )


def _attention(config: T5Config) -> layers.Attention:
    return layers.Attention(
        config.num_heads,
        config.head_dim,
        config.emb_dim,
        jnp.dtype(config.dtype),
        config.dropout_rate,
    )


def _mlp(config: T5Config) -> layers.GatedMLP:
    return layers.GatedMLP(config.mlp_dim, jnp.dtype(config.dtype), config.dropout_rate)


def _norm(config: T5Config) -> layers.RMSNorm:
    return layers.RMSNorm(jnp.dtype(config.dtype))


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
        self, x_BxLxD: jax.Array, bias: jax.Array, deterministic: bool
    ) -> jax.Array:
        h_BxLxD = self.pre_attention_layer_norm(x_BxLxD)
        keys_values = self.attention.keys_values(h_BxLxD)
        h_BxLxD = self.attention(h_BxLxD, keys_values, bias, deterministic)
        x_BxLxD += self.dropout(h_BxLxD, deterministic)
        h_BxLxD = self.mlp(self.pre_mlp_layer_norm(x_BxLxD), deterministic)
        return x_BxLxD + self.dropout(h_BxLxD, deterministic)


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
        self,
        x_BxSxD: jax.Array,
        encoder_keys_values: layers.KeysValues,
        self_bias: jax.Array,
        cross_bias: jax.Array,
        deterministic: bool,
        cached: layers.KeysValues | None = None,
        index: jax.Array | None = None,
    ) -> tuple[jax.Array, layers.KeysValues]:
        """One layer; with `cached`, the keys and values are written there at `index`.

        Returns:
          (x [B, S, D], the keys and values that self-attention saw)
        """
        h_BxSxD = self.pre_self_attention_layer_norm(x_BxSxD)
        keys_values = self.self_attention.keys_values(h_BxSxD)
        if cached is not None:
            keys_values = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, new, index, axis=1)
                for old, new in zip(cached, keys_values, strict=True)
            )
        h_BxSxD = self.self_attention(h_BxSxD, keys_values, self_bias, deterministic)
        x_BxSxD += self.dropout(h_BxSxD, deterministic)
        h_BxSxD = self.pre_cross_attention_layer_norm(x_BxSxD)
        h_BxSxD = self.encoder_decoder_attention(
            h_BxSxD, encoder_keys_values, cross_bias, deterministic
        )
        x_BxSxD += self.dropout(h_BxSxD, deterministic)
        h_BxSxD = self.mlp(self.pre_mlp_layer_norm(x_BxSxD), deterministic)
        return x_BxSxD + self.dropout(h_BxSxD, deterministic), keys_values


class Encoder(nn.Module):
    """The encoder stack over embedded inputs."""

    config: T5Config

    def setup(self):
        self.relpos_bias = _relative_bias(self.config, bidirectional=True)
        self.layers = [
            EncoderLayer(self.config) for _ in range(self.config.num_encoder_layers)
        ]
        self.encoder_norm = _norm(self.config)
        self.dropout = layers.Dropout(self.config.dropout_rate)

    def __call__(
        self, x_BxLxD: jax.Array, mask_BxL: jax.Array, deterministic: bool
    ) -> jax.Array:
        length = x_BxLxD.shape[1]
        bias = self.relpos_bias(length, length) + layers.visible(
            mask_BxL[:, None, None, :]
        )
        x_BxLxD = self.dropout(x_BxLxD, deterministic)
        for layer in self.layers:
            x_BxLxD = layer(x_BxLxD, bias, deterministic)
        return self.dropout(self.encoder_norm(x_BxLxD), deterministic)


class Decoder(nn.Module):
    """The decoder stack over embedded targets, and the softmax of its own."""

    config: T5Config

    def setup(self):
        config = self.config
        self.relpos_bias = _relative_bias(config, bidirectional=False)
        self.layers = [DecoderLayer(config) for _ in range(config.num_decoder_layers)]
        self.decoder_norm = _norm(config)
        self.dropout = layers.Dropout(config.dropout_rate)
        self.logits_dense = nn.Dense(
            config.vocab_size,
            use_bias=False,
            dtype=jnp.float32,
            kernel_init=layers.normal(config.emb_dim**-0.5, ("embed", "vocab")),
        )

    def _self_bias(self, length: int) -> jax.Array:
        causal_SxS = jnp.tri(length, dtype=bool)
        return self.relpos_bias(length, length) + layers.visible(causal_SxS[None, None])

    def start(self, encoded_BxLxD: jax.Array) -> list[layers.KeysValues]:
        """What each layer keeps of the encoder: its keys and values."""
        return [
            layer.encoder_decoder_attention.keys_values(encoded_BxLxD)
            for layer in self.layers
        ]

    def __call__(
        self,
        x_BxSxD: jax.Array,
        encoded_BxLxD: jax.Array,
        mask_BxL: jax.Array,
        deterministic: bool,
    ) -> jax.Array:
        """Logits [B, S, V] of all positions at once (teacher forcing)."""
        self_bias = self._self_bias(x_BxSxD.shape[1])
        cross_bias = layers.visible(mask_BxL[:, None, None, :])
        x_BxSxD = self.dropout(x_BxSxD, deterministic)
        for layer, kv in zip(self.layers, self.start(encoded_BxLxD), strict=True):
            x_BxSxD, _ = layer(x_BxSxD, kv, self_bias, cross_bias, deterministic)
        x_BxSxD = self.dropout(self.decoder_norm(x_BxSxD), deterministic)
        return self.logits_dense(x_BxSxD)

    def step(
        self, x_Bx1xD: jax.Array, cache: Cache, mask_BxL: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Logits [B, V] of position `index` alone, and the cache that now holds it."""
        length = cache[0][0][0].shape[1]
        self_bias = jax.lax.dynamic_slice_in_dim(
            self._self_bias(length), index, 1, axis=2
        )
        cross_bias = layers.visible(mask_BxL[:, None, None, :])
        new_cache = []
        for layer, (cached, kv) in zip(self.layers, cache, strict=True):
            x_Bx1xD, cached = layer(
                x_Bx1xD, kv, self_bias, cross_bias, True, cached, index
            )
            new_cache.append((cached, kv))
        return self.logits_dense(self.decoder_norm(x_Bx1xD))[:, 0], new_cache


class Transformer(nn.Module):
    """T5 1.1. `combine` says where a prompt goes (prompts.py)."""

    config: T5Config
    combine: prompts.Combine = prompts.prefix

    def setup(self):
        config = self.config
        self.token_embedder = nn.Embed(
            config.vocab_size,
            config.emb_dim,
            dtype=jnp.dtype(config.dtype),
            embedding_init=layers.normal(1.0, ("vocab", "embed")),
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def __call__(
        self,
        batch: dict[str, jax.Array],
        prompt: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Logits [B, S, V] in float32 under teacher forcing.

        Args:
          batch: encoder_input_tokens [B, T] and decoder_input_tokens [B, S], int32, 0
            where padded.
          prompt: [P, D], or [B, P, D] for one prompt an example; None for none.
          deterministic: False to drop out (rng "dropout").
        """
        encoded_BxLxD, mask_BxL = self.encode(
            batch["encoder_input_tokens"], prompt, deterministic
        )
        x_BxSxD = self.token_embedder(batch["decoder_input_tokens"])
        return self.decoder(x_BxSxD, encoded_BxLxD, mask_BxL, deterministic)

    def encode(
        self,
        tokens_BxT: jax.Array,
        prompt: jax.Array | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """The encoder's output [B, L, D] and its mask [B, L], False at padding."""
        x_BxLxD = self.token_embedder(tokens_BxT)
        mask_BxL = tokens_BxT != prompts.PAD_ID
        if prompt is not None:
            x_BxLxD, mask_BxL = self.combine(prompt, x_BxLxD, tokens_BxT)
        return self.encoder(x_BxLxD, mask_BxL, deterministic), mask_BxL

    def decode(
        self, tokens_BxS: jax.Array, encoded_BxLxD: jax.Array, mask_BxL: jax.Array
    ) -> jax.Array:
        """Logits [B, S, V] of decoder inputs, given what `encode` returned."""
        x_BxSxD = self.token_embedder(tokens_BxS)
        return self.decoder(x_BxSxD, encoded_BxLxD, mask_BxL, True)

    def start_cache(self, encoded_BxLxD: jax.Array, length: int) -> Cache:
        """For each layer, empty self-attention and full cross-attention keys/values."""
        config = self.config
        shape = (encoded_BxLxD.shape[0], length, config.num_heads, config.head_dim)
        empty = jnp.zeros(shape, jnp.dtype(config.dtype))
        return [((empty, empty), kv) for kv in self.decoder.start(encoded_BxLxD)]

    def decode_step(
        self, token_B: jax.Array, cache: Cache, mask_BxL: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Logits [B, V] after `token_B` at position `index`, and the new cache."""
        x_Bx1xD = self.token_embedder(token_B[:, None])
        return self.decoder.step(x_Bx1xD, cache, mask_BxL, index)
