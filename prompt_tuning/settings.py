"""The settings of a run: frozen values, with the paper's defaults."""

import dataclasses

import gin

from prompt_tuning.errors import UserError


@gin.configurable
@dataclasses.dataclass(frozen=True)
class T5Config:
    """The size of a T5 1.1. The defaults are those of the embedded pocket_nano.

    dropout_rate is 0 because a frozen model needs none; T5 fine-tuning uses 0.1.
    dtype is the type of the activations; logits are float32.
    param_dtype is how kernels and embeddings are kept: float32, bfloat16, or int8 with
      a float32 scale for each output channel (each row of an embedding).
    remat computes a layer's activations again in the backward pass: memory for time.
    scan_layers compiles one layer for a whole stack, whose parameters are then stacked
      under `layers`, their first axis the layer's number.
    attention of the encoder: "auto", the kernel that is best on this platform, or
      "plain".
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
    param_dtype: str = "float32"
    remat: bool = False
    scan_layers: bool = False
    attention: str = "auto"

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
        choices = {
            "dtype": ("float32", "bfloat16"),
            "param_dtype": ("float32", "bfloat16", "int8"),
            "remat": (False, True),
            "scan_layers": (False, True),
            "attention": ("auto", "plain"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"T5Config.{name} is {getattr(self, name)!r}; it must be "
                    f"{' or '.join(map(str, known))}"
                )
