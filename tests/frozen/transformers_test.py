"""Models that transformers itself makes and saves load with its logits."""

import json

import jax
import numpy as np
import pytest

from prompt_tuning import partitioning
from prompt_tuning.frozen import description, weights
from prompt_tuning.t5 import network

pytestmark = pytest.mark.slow

SIZES = {
    "vocab_size": 45,  # as odd as mT5's rows may be
    "d_model": 16,
    "num_heads": 2,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
UNTIED = {"tie_word_embeddings": False}
OWN = {"own_head": True}
GELU = {"feed_forward_proj": "gated-gelu"}
SILU = {"feed_forward_proj": "gated-silu"}
INPUTS = np.array([[5, 9, 12, 7, 3, 8, 8, 2, 20, 4, 6, 29, 1], [6, 4, 1] + [0] * 10])
TARGETS = np.array([[0, 5, 9, 17, 3], [0, 8, 1, 2, 4]])


def made(transformers, torch, kind="T5", own_head=False, **changes):
    """A model with random weights large enough for its kind to be seen."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES | changes)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            bias = "relative_attention_bias" in name
            values.normal_(1.0 if values.ndim == 1 else 0.0, 1.0 if bias else 0.3)
    if own_head:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(45, 16))
    return model


def answers(torch, model):
    inputs, targets = (torch.as_tensor(x) for x in (INPUTS, TARGETS))
    with torch.no_grad():
        return model(
            input_ids=inputs,
            attention_mask=(inputs != 0).long(),
            decoder_input_ids=targets,
        ).logits.numpy()


def check(path, expected):
    """Our logits are `expected`, with no setting given; returns the T5Config."""
    config = description.config(str(path), {})
    model = network.Transformer(config)
    params = weights.load_frozen(str(path), model, partitioning.mesh())
    batch = {"encoder_input_tokens": INPUTS, "decoder_input_tokens": TARGETS}
    got = jax.jit(model.apply)({"params": params}, batch)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    return config


KINDS = {
    "t5_1_0": {},
    "t5_1_0_own_head": OWN,
    "t5_1_1": GELU | UNTIED | OWN,
    "t5_1_1_head_tied_by_transformers": GELU | UNTIED,
    "ul2": SILU | UNTIED | OWN,
    "ul2_scaled": SILU | OWN,
    "gated_relu": {"feed_forward_proj": "gated-relu"} | UNTIED | OWN,
    "gelu_without_gate": {"feed_forward_proj": "gelu"},
    "gelu_exact": GELU | {"dense_act_fn": "gelu"} | UNTIED | OWN,
    "epsilon": GELU | {"layer_norm_epsilon": 0.01} | UNTIED | OWN,
    "distance": GELU
    | {
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 9,
        **UNTIED,
        **OWN,
    },
    "mt5": {"kind": "MT5"} | OWN,
    "mt5_tied": {"kind": "MT5"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_transformers_saved(tmp_path, kind):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = made(transformers, torch, **KINDS[kind])
    expected = answers(torch, model)
    model.save_pretrained(tmp_path / "a")
    config = check(tmp_path / "a", expected)
    assert config.tied_head == ("own_head" not in KINDS[kind])
    # And as transformers reads it again, in PyTorch's own format.
    again = type(model).from_pretrained(tmp_path / "a").eval()
    np.testing.assert_allclose(answers(torch, again), expected, atol=1e-5)
    (tmp_path / "b").mkdir()
    torch.save(again.state_dict(), tmp_path / "b" / "pytorch_model.bin")
    again.config.save_pretrained(tmp_path / "b")
    check(tmp_path / "b", expected)


@pytest.mark.parametrize("max_shard_size", ["100GB", "20KB"])
def test_a_model_in_one_file_and_in_several(tmp_path, max_shard_size):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = made(transformers, torch, **GELU | UNTIED | OWN)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    sharded = (tmp_path / "model.safetensors.index.json").is_file()
    assert sharded == (max_shard_size == "20KB")
    check(tmp_path, answers(torch, model))


def test_the_only_table_may_be_a_stacks(tmp_path):
    """As safetensors' own save_model leaves it, and transformers then ties."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_model

    model = made(transformers, torch)
    model.save_pretrained(tmp_path)
    save_model(model, str(tmp_path / "model.safetensors"))
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "shared.weight" not in names and "decoder.embed_tokens.weight" in names
    check(tmp_path, answers(torch, model))


def test_the_kinds_of_config_json_before_transformers_5(tmp_path):
    """Theirs had no scale_decoder_outputs, and tie_word_embeddings as it was."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for kind, tied in (("t5_1_0", True), ("t5_1_1", False)):
        path = tmp_path / kind
        model = made(transformers, torch, **KINDS[kind])
        model.save_pretrained(path)
        there = json.loads((path / "config.json").read_text())
        for name in ("scale_decoder_outputs", "dense_act_fn", "is_gated_act"):
            del there[name]
        there["tie_word_embeddings"] = tied
        (path / "config.json").write_text(json.dumps(there))
        check(path, answers(torch, model))
