"""The settings of a run: frozen values, with the paper's defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from prompt_tuning import method_settings
from prompt_tuning.method_settings import (
    Adapters,
    AutoPrompt,
    Decomposed,
    Dept,
    Lora,
    Pez,
    PrefixTuning,
    PromptDesign,
    PTuning,
    Residual,
    SoftWords,
    Superpos,
    Warp,
)
from prompt_tuning.sections import RUN, Section, called, setting

MOST_TOKENS = 10**6  # of an input or an answer
_MANY = 10**9  # steps, and whatever else no run has so many of


@dataclasses.dataclass(frozen=True)
class T5Config(Section):
    """The size and kind of a T5, and how it is stored and computed.

    The defaults describe pocket_nano, a T5 1.1. The size and kind of a frozen model
    come from its file (frozen/description.py); the user chooses the rest.
    """

    SECTION = "T5Config"
    vocab_size: int = setting(2_816, "V, rows of the embedding", least=1, most=10**7)
    emb_dim: int = setting(96, "D", least=1, most=10**6)
    num_heads: int = setting(4, "H", least=1, most=10**5)
    head_dim: int = setting(32, "K", least=1, most=10**6)
    mlp_dim: int = setting(192, "F", least=1, most=10**7)
    num_encoder_layers: int = setting(3, "layers of the encoder", least=1, most=10_000)
    num_decoder_layers: int = setting(2, "layers of the decoder", least=1, most=10_000)
    relpos_buckets: int = setting(
        32, "buckets of relative positions", least=1, most=10**6
    )
    relpos_max_distance: int = setting(
        128,
        "from this distance on, all positions share the last bucket",
        least=1,
        most=_MANY,
    )
    activation: str = setting(
        "gelu_tanh",
        "the MLP's: gelu_tanh (T5 1.1), gelu_exact, silu (UL2) or relu (T5 1.0)",
        choices=("gelu_tanh", "gelu_exact", "silu", "relu"),
    )
    gated_mlp: bool = setting(
        True,
        "the MLP has two input kernels, and the activations of one gate the outputs of "
        "the other; T5 1.0 has no gate",
    )
    tied_head: bool = setting(
        False,
        "compute logits with the embedding, as T5 1.0 does; otherwise with a kernel of "
        "their own",
    )
    scale_decoder_outputs: bool = setting(
        False, "multiply by emb_dim**-0.5 before the logits, as T5 1.0 does"
    )
    layer_norm_epsilon: float = setting(
        1e-6, "added to the mean square", least=1e-30, below=1
    )
    dropout_rate: float = setting(
        0.0, "a frozen model needs none; T5 is fine-tuned with 0.1", least=0, below=1
    )
    dtype: str = setting(
        "float32",
        "the type that products are computed in, and activations (on a CPU, those are "
        "float32, as logits always are); auto: bfloat16 on a CPU that has it in "
        "hardware, else float32",
        choices=("float32", "bfloat16", "auto"),
    )
    param_dtype: str = setting(
        "float32",
        "the type that kernels and embeddings are stored in; int8 adds a float32 "
        "scale for each output channel (each row of an embedding)",
        choices=("float32", "bfloat16", "int8"),
    )
    remat: bool = setting(
        False,
        "recompute a layer's activations in the backward pass: less memory, more time",
    )
    scan_layers: bool = setting(
        False,
        "compile one layer for a whole stack; its parameters are then stacked under "
        "`layers`, with layers along the first axis",
    )
    attention: str = setting(
        "auto",
        "the encoder's: auto, the fastest kernel on this platform, or plain",
        choices=("auto", "plain"),
    )


@dataclasses.dataclass(frozen=True)
class Run(Section):
    """A run: its data, its frozen model, what is trained; the paper's defaults."""

    SECTION = RUN
    model_dir: str = setting(
        "", "the folder for everything that the run writes", path=True
    )
    mixture_or_task_name: str = setting(
        "pocket_kind",
        "a seqio task or mixture; or a .csv, .tsv or .jsonl file, or a folder of them",
        path=True,
    )
    mixture_or_task_module: str | list[str] | tuple[str, ...] = setting(
        ("prompt_tuning.tasks.pocket", "prompt_tuning.tasks.paper"),
        "the modules that register seqio tasks",
    )
    inputs: str | None = setting(
        None, "for a file: a template of its columns, such as 'premise: {premise}'"
    )
    targets: str | None = setting(
        None, "for a file: a template of its columns, such as '{label}'"
    )
    task_feature_lengths: dict[str, int] | None = setting(
        None,
        "{'inputs': T, 'targets': S} in tokens; by default as long as the longest "
        "example, inputs at most 512",
        keys=("inputs", "targets"),
        least=1,
        most=MOST_TOKENS,
    )
    vocabulary: str | None = setting(
        None,
        "a SentencePiece model's path, or t5, mt5, byt5; by default the spiece.model "
        "beside the frozen model, or T5's if there is none",
        path=True,
    )
    initial_checkpoint_path: str = setting(
        "pocket_nano",
        "the frozen model: a folder, a file, or a model in the package",
        path=True,
    )
    method: str = setting(
        "prompt",
        "what is trained: prompt; whole (the model, the paper's baseline); prepended "
        "(both); or what docs/methods.md compares: residual, p_tuning, decomposed, "
        "superpos, multitask, autoprompt, pez, lora, ia3, adapters, prefix_tuning, "
        "warp, dept, soft_words; prompt_design trains nothing",
        known=method_settings.NAMES,
    )
    prompt_length: int = setting(100, "length (paper section 3.2)", least=1, most=10**5)
    prompt_init: str = setting(
        "class_label",
        "how the prompt starts (paper section 3.2); string needs PROMPT_STRING, file "
        "PROMPT_FILE, transfer transfer.bank",
        choices=(
            *("class_label", "sampled_vocab", "random_uniform", "string"),
            *("file", "transfer"),
        ),
        needs={"string": "prompt_string", "file": "prompt_file"},
    )
    prompt_string: str = setting("", "the text that the prompt starts from")
    prompt_file: str = setting("", "the prompt, or the run, to start from", path=True)
    prompt_place: str = setting(
        "prefix",
        "prefix, in front of the input; or suffix, before its EOS",
        choices=("prefix", "suffix"),
    )
    class_labels: list[str] | tuple[str, ...] | None = setting(
        None, "words for the class_label initialiser; by default the task's own"
    )
    train_steps: int = setting(30_000, "steps (paper section 3)", least=1, most=_MANY)
    batch_size: int = setting(
        32, "examples in a step (paper section 3)", least=1, most=10**6
    )
    num_microbatches: int = setting(
        1,
        "parts that a batch is processed in, to save memory",
        least=1,
        most=10**6,
    )
    length_window: int = setting(
        1,
        "number of batches within which examples of similar length are grouped, to "
        "save padding; 1 keeps batches random",
        least=1,
        most=10_000,
    )
    eval_period: int = setting(
        1_000,
        "steps between evaluations, each saving a state (released code)",
        least=1,
        most=_MANY,
    )
    keep_steps: list[int] | tuple[int, ...] = setting(
        (),
        "steps whose states are kept, besides the two newest and the best: multiples "
        "of EVAL_PERIOD, or TRAIN_STEPS",
    )
    train_split: str = setting("train", "the split to train on")
    eval_split: str = setting("validation", "the split to evaluate and select on")
    decoding: str = setting(
        "greedy",
        "how to predict: greedy; or labels, which scores every label",
        choices=("greedy", "labels"),
    )
    data_dir: str | None = setting(
        None, "a folder of official files, to use instead of TFDS", path=True
    )
    tfds_data_dir: str | None = setting(
        None, "where TFDS keeps what it downloads", path=True
    )
    tensorboard: bool = setting(
        False, "write event files for TensorBoard into MODEL_DIR too"
    )
    seed: int = setting(
        0,
        "for the order of the data, the initial prompt and dropout; on one machine a "
        "run repeats bit for bit",
        least=0,
        most=2**32 - 1,
    )


@dataclasses.dataclass(frozen=True)
class Schedule(Section):
    """The learning rate: constant, with the options of the paper's search (Table 6)."""

    SECTION = "schedule"
    learning_rate: float = setting(0.3, "the rate (paper section 3)", least=0)
    warmup_steps: int = setting(
        0, "steps of linear warm-up from 0; 0: none", least=0, most=_MANY
    )
    decay_factor: float = setting(
        1.0, "the learning rate is multiplied by it at each decay", least=0
    )
    steps_per_decay: int = setting(
        0, "steps between decays; 0: none", least=0, most=_MANY
    )


@dataclasses.dataclass(frozen=True)
class InverseSquareRoot(Section):
    """T5's pre-training rate: scale / sqrt(max(step, constant_steps)).

    A cooldown after it is Zhai et al.'s (2022, "Scaling vision transformers").
    """

    SECTION = "inverse_square_root"
    scale: float = setting(1.0, "scale of the formula above", least=0)
    constant_steps: int = setting(
        10_000, "steps at a constant rate", least=1, most=_MANY
    )
    first_step: int = setting(
        0,
        "the step that pre-training ended at, when LM adaptation continues from it: "
        "1,000,000 for the public T5 1.1 (paper section 2.2)",
        least=0,
        most=_MANY,
    )
    cooldown_steps: int = setting(
        0,
        "the last steps, in which the rate falls to 0 in a straight line; T5 had none",
        least=0,
        most=_MANY,
    )


@dataclasses.dataclass(frozen=True)
class Adafactor(Section):
    """Adafactor as the paper sets it (section 3), without momentum."""

    SECTION = "adafactor"
    decay_rate: float = setting(
        0.8, "a new squared gradient's weight is step^-decay_rate", least=0
    )
    step_offset: int = setting(
        0,
        "the step that the second moment counts from. 0 follows the paper's text; "
        "1,100,000 the released code, which kept the step count of the restored "
        "checkpoint, so that early gradients weigh as much as late ones",
        least=0,
        most=_MANY,
    )
    weight_decay: float = setting(
        1e-5,
        "share of each value subtracted at each step, whatever the learning rate",
        least=0,
        most=1,
    )
    parameter_scaling: bool = setting(
        False,
        "scale updates by the parameter's own scale, as T5's pre-training does and "
        "prompt tuning does not",
    )
    clipping_threshold: float = setting(
        1.0, "the largest root mean square of an unscaled update", least=1e-6
    )


@dataclasses.dataclass(frozen=True)
class MeshShape(Section):
    """How many devices the batch and the weights are split over."""

    SECTION = "mesh"
    data: int = setting(
        -1, "for the batch; -1: all that `model` leaves", least=-1, most=10**6
    )
    model: int = setting(1, "for the frozen weights", least=1, most=10**6)


@dataclasses.dataclass(frozen=True)
class ParamShardings(Section):
    """How weights are split."""

    SECTION = "param_shardings"
    fully_sharded: bool = setting(
        False,
        "split over `data` too, and gather a layer's weights when it is computed: less "
        "memory, more communication",
    )


@dataclasses.dataclass(frozen=True)
class Wayward(Section):
    """A prompt that is held near a text while it learns its task.

    After Khashabi et al. (2022), "Prompt Waywardness": such prompts exist for any text,
    so that the pieces near a prompt need not say what it does.
    """

    SECTION = "wayward"
    text: str = setting("", "the text, a piece for each of the first positions")
    weight: float = setting(
        0.01,
        "of the squared distance to its embeddings (the mean over its pieces), beside "
        "the loss of a target token; the default is that paper's",
        least=0,
    )


@dataclasses.dataclass(frozen=True)
class Transfer(Section):
    """SPoT (Vu et al., 2022): start from a prompt of another task."""

    SECTION = "transfer"
    bank: str = setting(
        "", "a folder of finished runs, or of prompt files, to start from", path=True
    )
    task: str = setting("", "the name of one of them, or of the task it was trained on")
    probe: str = setting(
        "",
        "this task's own prompt at an early step: the one nearest to it is taken (mean "
        "cosine of all pairs of vectors)",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class Pretrain(Section):
    """Making a frozen model (paper section 2.2)."""

    SECTION = "pretrain"
    initial: str = setting(
        "",
        "the frozen model to go on from, as INITIAL_CHECKPOINT_PATH is; without it, "
        "random weights",
    )
    corpus: str | list[str] | tuple[str, ...] = setting(
        "",
        "text to train on instead of MIXTURE_OR_TASK_NAME: files, folders or globs of "
        ".txt and .txt.xz, a paragraph a line, with empty lines between documents",
    )
    tokens: str = setting(
        "",
        "the folder that keeps the corpus as token ids; by default MODEL_DIR/tokens",
        path=True,
    )
    span_corruption_steps: int = setting(
        2_000, "steps of T5's objective", least=0, most=_MANY
    )
    prefix_lm_steps: int = setting(
        3_000, "steps of LM adaptation after that", least=0, most=_MANY
    )
    kept: list[int] | tuple[int, ...] = setting(
        (),
        "after how many of these the weights are kept too, for the paper's Figure 3(d)",
    )
    skill_task: str = setting(
        "", "a task that the model should do without any prompt, measured as it goes"
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a command.

    model: the fields of T5Config that are set. The others come from the frozen model's
      file (frozen/description.py), or else have T5Config's defaults.
    """

    run: Run = Run()
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schedule: Schedule = Schedule()
    adafactor: Adafactor = Adafactor()
    inverse_square_root: InverseSquareRoot = InverseSquareRoot()
    mesh: MeshShape = MeshShape()
    param_shardings: ParamShardings = ParamShardings()
    wayward: Wayward = Wayward()
    transfer: Transfer = dataclasses.field(default_factory=Transfer)
    pretrain: Pretrain = Pretrain()
    residual: Residual = dataclasses.field(default_factory=Residual)
    decomposed: Decomposed = dataclasses.field(default_factory=Decomposed)
    superpos: Superpos = dataclasses.field(default_factory=Superpos)
    p_tuning: PTuning = dataclasses.field(default_factory=PTuning)
    autoprompt: AutoPrompt = dataclasses.field(default_factory=AutoPrompt)
    pez: Pez = dataclasses.field(default_factory=Pez)
    lora: Lora = dataclasses.field(default_factory=Lora)
    adapters: Adapters = dataclasses.field(default_factory=Adapters)
    prefix_tuning: PrefixTuning = dataclasses.field(default_factory=PrefixTuning)
    warp: Warp = dataclasses.field(default_factory=Warp)
    dept: Dept = dataclasses.field(default_factory=Dept)
    soft_words: SoftWords = dataclasses.field(default_factory=SoftWords)
    prompt_design: PromptDesign = dataclasses.field(default_factory=PromptDesign)


# What the user calls a section -> its class, and the field of Settings that holds it.
SECTIONS: dict[str, tuple[type, str]] = {
    Run.SECTION: (Run, "run"),
    T5Config.SECTION: (T5Config, "model"),
} | {
    section.SECTION: (section, section.SECTION)
    for section in (
        Schedule,
        Adafactor,
        InverseSquareRoot,
        MeshShape,
        ParamShardings,
        Wayward,
        Transfer,
        Pretrain,
        *method_settings.SECTIONS,
    )
}

# Every setting, by the name that the user types.
FIELDS: dict[str, dataclasses.Field] = {
    called(section, field.name): field
    for section, (kind, _) in SECTIONS.items()
    for field in dataclasses.fields(kind)
}
