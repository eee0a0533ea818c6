"""The settings of a run: frozen values, with the paper's defaults."""

import dataclasses

import gin

from prompt_tuning.errors import UserError


@gin.configurable
@dataclasses.dataclass(frozen=True)
class T5Config:
    """A T5's size and kind. The defaults are those of pocket_nano, a T5 1.1.

    What kind a frozen model is, its file mostly says (frozen/description.py):
    activation of the MLP: T5 1.1's "gelu_tanh", "gelu_exact", "silu" (UL2) or "relu"
      (T5 1.0).
    gated_mlp: two kernels lead into the MLP, and the one's activations gate the other's
      outputs; T5 1.0 has no gate.
    tied_head: logits are products with the embedding, as T5 1.0's; else with a kernel
      of their own.
    scale_decoder_outputs multiplies by emb_dim**-0.5 before that, as T5 1.0 does.
    layer_norm_epsilon is added to the mean square.

    How it is kept and computed is the user's to say:
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
    activation: str = "gelu_tanh"
    gated_mlp: bool = True
    tied_head: bool = False
    scale_decoder_outputs: bool = False
    layer_norm_epsilon: float = 1e-6
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
        epsilon = self.layer_norm_epsilon
        if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
            raise UserError(
                f"T5Config.layer_norm_epsilon is {epsilon!r}; it must be a number "
                "between 0 and 1, such as 1e-6"
            )
        choices = {
            "activation": ("gelu_tanh", "gelu_exact", "silu", "relu"),
            "gated_mlp": (False, True),
            "tied_head": (False, True),
            "scale_decoder_outputs": (False, True),
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
