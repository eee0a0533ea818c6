"""The settings' defaults are the paper's, and what makes no sense is named."""

import dataclasses

import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.settings import (
    SECTIONS,
    Adafactor,
    InverseSquareRoot,
    MeshShape,
    ParamShardings,
    Pretrain,
    Run,
    Schedule,
    Settings,
    T5Config,
)

FIELDS = [
    pytest.param(kind, field, id=f"{name}.{field.name}")
    for name, (kind, _) in SECTIONS.items()
    for field in dataclasses.fields(kind)
]


def test_the_defaults_are_the_papers():
    """Section 3.1 and 3.2: 100 vectors, 30,000 steps of 32 examples, class labels."""
    run = Run()
    assert run.prompt_length == 100 and run.prompt_init == "class_label"
    assert run.train_steps == 30_000 and run.batch_size == 32
    assert run.method == "prompt" and run.prompt_place == "prefix"
    assert run.decoding == "greedy" and run.eval_split == "validation"


def test_the_optimizers_defaults_are_the_papers():
    """Section 3: Adafactor, 0.3, weight decay 1e-5, decay 0.8, no scaling by size."""
    assert Schedule() == Schedule(0.3, warmup_steps=0, decay_factor=1.0)
    adafactor = Adafactor()
    assert (adafactor.weight_decay, adafactor.decay_rate) == (1e-5, 0.8)
    assert not adafactor.parameter_scaling and adafactor.clipping_threshold == 1.0
    assert adafactor.step_offset == 0
    assert InverseSquareRoot().constant_steps == 10_000  # T5's


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_field_has_a_default_and_a_text(kind, field):
    assert field.default is not dataclasses.MISSING
    text = field.metadata["text"]
    assert text and text == text.strip() and "  " not in text
    assert field.metadata.keys() <= {
        *("text", "choices", "least", "most", "below", "keys", "path", "size"),
        "needs",
        "known",
    }


def test_settings_hold_each_section():
    made = Settings()
    for kind, held in SECTIONS.values():
        assert getattr(made, held) == ({} if kind is T5Config else kind())
    assert len(SECTIONS) == len(dataclasses.fields(Settings))


@pytest.mark.parametrize(
    "made", [*(kind() for kind, _ in SECTIONS.values()), Settings()], ids=repr
)
def test_a_value_cannot_be_changed(made):
    name = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, 1)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"prompt_init": "zeros"}, "PROMPT_INIT is 'zeros'; .*sampled_vocab"),
        ({"prompt_place": "middle"}, "PROMPT_PLACE is 'middle'; .*prefix, suffix"),
        ({"decoding": "beam"}, "DECODING is 'beam'; .*greedy, labels"),
        ({"prompt_length": 0}, "PROMPT_LENGTH is 0; .*at least 1"),
        ({"batch_size": 0}, "BATCH_SIZE is 0; .*at least 1"),
        ({"num_microbatches": -1}, "NUM_MICROBATCHES is -1"),
        ({"length_window": 0}, "LENGTH_WINDOW is 0; it must be a whole number of at"),
        ({"eval_period": 0}, "EVAL_PERIOD is 0"),
        ({"train_steps": 0}, "TRAIN_STEPS is 0"),
        ({"train_steps": 1e3}, r"TRAIN_STEPS is 1000\.0; it must be of type int"),
        ({"train_steps": True}, "TRAIN_STEPS is True; it must be of type int"),
        ({"seed": False}, "SEED is False; it must be of type int"),
        ({"seed": -1}, "SEED is -1; it must be a whole number of at least 0"),
        ({"seed": 2**32}, "SEED is 4294967296; .* of at most 4294967295"),
        ({"batch_size": "many"}, "BATCH_SIZE is 'many'; it must be of type int"),
        ({"batch_size": None}, "BATCH_SIZE is None; it must be of type int"),
        ({"model_dir": 5}, "MODEL_DIR is 5; it must be of type str"),
        ({"method": None}, "METHOD is None; it must be of type str"),
        ({"inputs": 5}, "INPUTS is 5; it must be of type str or NoneType"),
        ({"task_feature_lengths": 512}, "LENGTHS is 512; .*dict or NoneType"),
        # One label of a word, not labels of its letters.
        ({"class_labels": "yes"}, "CLASS_LABELS is 'yes'; .*list or tuple"),
        ({"prompt_init": "string"}, "PROMPT_STRING is not set"),
        ({"prompt_init": "file"}, "PROMPT_FILE is not set"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(wrong, message):
    with pytest.raises(UserError, match=message):
        Run(**wrong)


def test_what_makes_sense_is_taken():
    Run(seed=0), Run(seed=2**32 - 1), Run(mixture_or_task_module="mine")
    Run(mixture_or_task_module=["a", "b"], class_labels=("yes", "no"), inputs=None)
    Run(prompt_init="string", prompt_string="a text"), MeshShape(data=-1)
    Run(prompt_init="file", prompt_file="p.npy", task_feature_lengths={"inputs": 9})
    Schedule(learning_rate=0), Schedule(learning_rate=1), Adafactor(weight_decay=1)
    T5Config(dropout_rate=0), T5Config(dtype="bfloat16", param_dtype="int8")


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        *((rate, "it must be a finite number") for rate in ("nan", None, True)),
        *((float(x), "it must be a finite number") for x in ("nan", "inf", "-inf")),
        (10**400, "it must be a finite number"),
        (-0.3, "it must be a number of at least 0"),
        (-1, "it must be a number of at least 0"),
    ],
)
def test_a_learning_rate_is_a_finite_number_and_not_negative(rate, message):
    with pytest.raises(UserError, match=f"schedule.learning_rate is .*; {message}"):
        Schedule(rate)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (Schedule, {"warmup_steps": 0.5}, "schedule.warmup_steps is 0.5; .* type int"),
        (Schedule, {"warmup_steps": -1}, "schedule.warmup_steps is -1"),
        (Schedule, {"decay_factor": -0.1}, "schedule.decay_factor is -0.1"),
        (Schedule, {"steps_per_decay": -1}, "schedule.steps_per_decay is -1"),
        (InverseSquareRoot, {"scale": -1.0}, "inverse_square_root.scale is -1.0"),
        (InverseSquareRoot, {"constant_steps": 0}, "root.constant_steps is 0"),
        (InverseSquareRoot, {"first_step": -1}, "root.first_step is -1"),
        (Adafactor, {"decay_rate": -0.8}, "adafactor.decay_rate is -0.8"),
        (Adafactor, {"step_offset": -1}, "adafactor.step_offset is -1"),
        (Adafactor, {"weight_decay": -1e-5}, "adafactor.weight_decay is -1e-05"),
        (Adafactor, {"weight_decay": 1.5}, "weight_decay is 1.5; .* of at most 1$"),
        (Adafactor, {"parameter_scaling": 1}, "scaling is 1; it must be of type bool"),
        (Adafactor, {"clipping_threshold": 0.0}, "threshold is 0.0; .*least 1e-06"),
        (MeshShape, {"data": -2}, "mesh.data is -2; .*at least -1"),
        (MeshShape, {"model": 0}, "mesh.model is 0; .*at least 1"),
        (ParamShardings, {"fully_sharded": "yes"}, "fully_sharded is 'yes'; .* bool"),
        (Pretrain, {"span_corruption_steps": -1}, "pretrain.span_corruption_steps is"),
        (Pretrain, {"prefix_lm_steps": -1}, "pretrain.prefix_lm_steps is -1"),
        (Pretrain, {"skill_task": None}, "pretrain.skill_task is None; .* type str"),
        (T5Config, {"emb_dim": 0}, "T5Config.emb_dim is 0; .*at least 1"),
        (T5Config, {"emb_dim": True}, "T5Config.emb_dim is True; .* type int"),
        (T5Config, {"mlp_dim": 2.0}, "T5Config.mlp_dim is 2.0; .* type int"),
        (T5Config, {"dropout_rate": 1}, "T5Config.dropout_rate is 1; .* below 1"),
        (T5Config, {"dropout_rate": -0.1}, "T5Config.dropout_rate is -0.1"),
        (T5Config, {"dropout_rate": float("nan")}, "T5Config.dropout_rate is nan"),
        (T5Config, {"dropout_rate": False}, "T5Config.dropout_rate is False"),
        (
            T5Config,
            {"layer_norm_epsilon": 0},
            "layer_norm_epsilon is 0; .* at least 1e-30",
        ),
        (T5Config, {"layer_norm_epsilon": "1e-6"}, "layer_norm_epsilon is '1e-6'"),
        (T5Config, {"activation": "gelu"}, "activation is 'gelu'; .*gelu_tanh, gelu"),
        (T5Config, {"gated_mlp": None}, "T5Config.gated_mlp is None; .* type bool"),
        (T5Config, {"tied_head": "no"}, "T5Config.tied_head is 'no'"),
        (T5Config, {"scale_decoder_outputs": 2}, "scale_decoder_outputs is 2"),
        (T5Config, {"dtype": "float16"}, "dtype is 'float16'; .*float32, bfloat16"),
        (T5Config, {"param_dtype": "int4"}, "param_dtype is 'int4'; .*, int8"),
        (T5Config, {"remat": "yes"}, "T5Config.remat is 'yes'; .* type bool"),
        (T5Config, {"scan_layers": None}, "T5Config.scan_layers is None"),
        (T5Config, {"attention": "flash"}, "attention is 'flash'; .*auto, plain"),
    ],
)
def test_each_section_keeps_its_rules(kind, wrong, message):
    with pytest.raises(UserError, match=message):
        kind(**wrong)
