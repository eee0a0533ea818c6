"""What checkpoints say of their models is believed, and contradictions are told."""

import dataclasses
import json

import jax
import numpy as np
import numpy_t5
import orbax.checkpoint as ocp
import pytest
import tiny
from safetensors import numpy as safetensors

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import conversion, description, formats, weights
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import network

INPUTS = np.array([5, 9, 12, 7, 3, 8, 8, 2, 20, 4, 6, 29, 11, 1])
TARGETS = np.array([0, 5, 9, 17, 3])


def folder(path, tied=False, rename=None, drop=(), **changes):
    """(A folder of transformers' with random weights, its tensors, its config)."""
    config = numpy_t5.CONFIG | changes
    tensors = numpy_t5.tensors(config, tied)
    stored = {(rename or {}).get(name, name): x for name, x in tensors.items()}
    path.mkdir(exist_ok=True)
    safetensors.save_file(stored, path / "model.safetensors")
    said = {key: value for key, value in config.items() if key not in drop}
    (path / "config.json").write_text(json.dumps(said))
    return path, tensors, config


def logits(path, given=None):
    config = description.config(str(path), given or {})
    model = network.Transformer(config)
    params = weights.load_frozen(str(path), model, partitioning.mesh())
    batch = {"encoder_input_tokens": INPUTS, "decoder_input_tokens": TARGETS}
    batch = {name: tokens[None] for name, tokens in batch.items()}
    return jax.jit(model.apply)({"params": params}, batch)[0]


T5_1_0 = {
    "feed_forward_proj": "relu",
    "dense_act_fn": "relu",
    "is_gated_act": False,
    "tie_word_embeddings": True,
}
UL2 = {"feed_forward_proj": "gated-silu", "dense_act_fn": "silu"}
SCALED = 12**-0.5
MAX_DISTANCE = "relative_attention_max_distance"


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ({}, 1),
        (UL2, 1),
        ({"feed_forward_proj": "gated-relu", "dense_act_fn": "relu"}, 1),
        ({"dense_act_fn": "gelu"}, 1),
        ({"feed_forward_proj": "relu", "dense_act_fn": "relu", "is_gated_act": 0}, 1),
        ({"layer_norm_epsilon": 0.1}, 1),
        ({MAX_DISTANCE: 9}, 1),
        ({"scale_decoder_outputs": True}, SCALED),
        ({"tie_word_embeddings": True}, SCALED),  # with a head, as PyTorch's files are
        (T5_1_0 | {"tied": True}, SCALED),
        ({"tied": True, "tie_word_embeddings": True}, SCALED),
        (
            {
                "tied": True,
                "tie_word_embeddings": True,
                "scale_decoder_outputs": False,
            },
            1,
        ),
        ({"model_type": "mt5", "tied": True, "tie_word_embeddings": True}, 1),
    ],
    ids=lambda kind: ",".join(kind) if isinstance(kind, dict) else "",
)
def test_a_model_of_each_kind_has_the_logits_of_the_formulae(tmp_path, kind, scale):
    path, tensors, config = folder(tmp_path, **kind)
    expected = numpy_t5.T5(tensors, config, scale).logits(INPUTS, TARGETS)
    np.testing.assert_allclose(logits(path), expected, atol=5e-5)
    for key in ("dense_act_fn", "layer_norm_epsilon", MAX_DISTANCE):
        if config[key] != numpy_t5.CONFIG[key]:
            plain = config | {key: numpy_t5.CONFIG[key]}
            other = numpy_t5.T5(tensors, plain, scale).logits(INPUTS, TARGETS)
            assert np.abs(other - expected).max() > 3e-4, "it matters"


def rounded(name, values):
    """To 127 steps of each row's largest, as int8 keeps all but norms and biases."""
    if values.ndim == 1 or "relative_attention_bias" in name:
        return values
    scale = np.abs(values).max(1, keepdims=True) / 127
    return np.round(values / scale) * scale


@pytest.mark.parametrize("param_dtype", ["float32", "int8"])
def test_a_t5_1_0_in_int8_and_with_scanned_layers(tmp_path, param_dtype):
    path, tensors, config = folder(tmp_path, tied=True, **T5_1_0)
    if param_dtype == "int8":
        tensors = {name: rounded(name, values) for name, values in tensors.items()}
    expected = numpy_t5.T5(tensors, config, SCALED).logits(INPUTS, TARGETS)
    given = {"param_dtype": param_dtype, "scan_layers": True}
    np.testing.assert_allclose(logits(path, given), expected, atol=1e-4)
    model = network.Transformer(description.config(str(path), given))
    params = weights.load_frozen(str(path), model, partitioning.mesh(4, 2))
    assert "logits_dense" not in params["decoder"]
    assert params["encoder"]["layers"]["mlp"]["wi"]["kernel"].shape == (2, 12, 20)
    if param_dtype == "int8":
        assert params["token_embedder"]["embedding_scale"].shape == (30,)


@pytest.mark.parametrize("name", ["decoder.embed_tokens", "encoder.embed_tokens"])
def test_the_only_table_may_have_another_name(tmp_path, name):
    rename = {"shared.weight": f"{name}.weight"}
    path, tensors, config = folder(tmp_path, tied=True, rename=rename, **T5_1_0)
    expected = numpy_t5.T5(tensors, config, SCALED).logits(INPUTS, TARGETS)
    for place in (path, path / "model.safetensors"):
        np.testing.assert_allclose(logits(place), expected, atol=1e-4)


def test_config_json_says_all_of_a_t5(tmp_path):
    path, _, _ = folder(tmp_path, layer_norm_epsilon=1e-5)
    said = description.describe(str(path))
    assert said == {
        "vocab_size": 30,
        "emb_dim": 12,
        "num_heads": 2,
        "head_dim": 4,
        "mlp_dim": 20,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "relpos_buckets": 8,
        "relpos_max_distance": 20,
        "activation": "gelu_tanh",
        "gated_mlp": True,
        "tied_head": False,
        "scale_decoder_outputs": False,
        "layer_norm_epsilon": 1e-5,
    }
    assert set(said) | set(description.USERS) == {
        field.name for field in dataclasses.fields(T5Config)
    }


def test_what_config_json_leaves_out_is_what_transformers_takes(tmp_path):
    """As the first T5's did, and T5 1.1's: no dense_act_fn, no tie_word_embeddings."""
    new = ("dense_act_fn", "is_gated_act", "layer_norm_epsilon", "model_type")
    new += ("relative_attention_max_distance",)
    path, _, _ = folder(tmp_path, drop=new)
    assert description.config(str(path), {}) == T5Config(
        30, 12, 2, 4, 20, 2, 1, 8, 128, "gelu_tanh", True, False, False, 1e-6
    )
    drop = (*new, "feed_forward_proj", "tie_word_embeddings", "num_decoder_layers")
    kind = T5_1_0 | {"num_decoder_layers": 2}
    path, _, _ = folder(tmp_path, tied=True, drop=drop, **kind)
    assert description.config(str(path), {}) == T5Config(
        30, 12, 2, 4, 20, 2, 2, 8, 128, "relu", False, True, True, 1e-6
    )


def test_without_a_json_the_tensors_say_what_they_can(tmp_path):
    path, _, _ = folder(tmp_path, tied=True, **T5_1_0)
    (path / "config.json").unlink()
    said = description.describe(str(path))
    assert not set(said) & set(description.UNSEEN)
    sizes = T5Config(30, 12, 2, 4, 20, 2, 1, 8, 128, "relu", False, True, True)
    assert description.config(str(path), {}) == sizes
    given = {"activation": "silu", "relpos_max_distance": 20, "dtype": "bfloat16"}
    expected = dataclasses.replace(sizes, **given)
    assert description.config(str(path), given) == expected


def test_orbax_and_ours_say_their_sizes(tmp_path):
    ocp.PyTreeCheckpointer().save(tmp_path / "checkpoint_3", {"target": tiny.params()})
    assert description.config(str(tmp_path / "checkpoint_3"), {}) == tiny.CONFIG
    kind = dataclasses.replace(
        tiny.CONFIG,
        activation="silu",
        gated_mlp=False,
        tied_head=True,
        dtype="bfloat16",
    )
    path, model = tmp_path / "ours.safetensors", network.Transformer(kind)
    weights.save_frozen(path, tiny.params(model), kind)
    said = description.config(str(path), {"remat": True})
    assert said == dataclasses.replace(kind, dtype="float32", remat=True)
    conversion.convert(str(path), network.Transformer(said), tmp_path / "b.safetensors")
    again = description.config(str(tmp_path / "b.safetensors"), {"remat": True})
    assert again == said


def test_the_shipped_model_says_the_defaults():
    """Its JSON is from before there were other kinds."""
    said = description.describe("pocket_nano")
    assert said["activation"] == "gelu_tanh" and said["relpos_max_distance"] == 128
    assert description.config("pocket_nano", {}) == T5Config()


def contradiction(path, given, *words):
    with pytest.raises(UserError) as error:
        description.config(str(path), given)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_a_user_who_contradicts_the_file_is_told(tmp_path):
    path, _, _ = folder(tmp_path)
    with pytest.raises(UserError) as error:
        description.config(str(path), {"mlp_dim": 2048, "emb_dim": 12})
    assert str(error.value) == (
        f"T5Config.mlp_dim is 2048, but config.json in {path} says d_ff 20; leave it "
        "out, or give another INITIAL_CHECKPOINT_PATH"
    )
    given = {"activation": "relu", "scale_decoder_outputs": True, "dtype": "bfloat16"}
    contradiction(
        path,
        given,
        "activation is relu, but config.json in",
        'says dense_act_fn "gelu_new"',
        "says tie_word_embeddings false; leave them out",
    )
    path, _, _ = folder(tmp_path, drop=["layer_norm_epsilon"])
    words = "leaves out layer_norm_epsilon, which means 1e-06"
    contradiction(path, {"layer_norm_epsilon": 1e-5}, words)
    (path / "config.json").unlink()
    contradiction(path, {"tied_head": True}, "the tensors in", "say tied_head False")
    contradiction("pocket_nano", {"activation": "silu"}, "says activation gelu_tanh")


@pytest.mark.parametrize(
    ("stored", "said", "words"),
    [
        ({}, {"d_ff": 24}, ("says d_ff 24, but", "say mlp_dim 20", "different models")),
        ({}, {"vocab_size": 28}, ("says vocab_size 28", "say vocab_size 30")),
        ({}, {"is_gated_act": False}, ("is_gated_act false", "say gated_mlp True")),
        ({"tied": True}, {}, ("tie_word_embeddings false", "say tied_head True")),
        ({}, {"dense_act_fn": "tanh"}, ("activation is 'tanh'", "silu")),
    ],
)
def test_a_config_json_of_another_model_is_told(tmp_path, stored, said, words):
    path, _, config = folder(tmp_path, **stored)
    (path / "config.json").write_text(json.dumps(config | said))
    contradiction(path, {}, *words)


@pytest.mark.parametrize("content", ["", "[1]", '{"d_model": '])
def test_a_damaged_json_is_told(tmp_path, content):
    path, _, _ = folder(tmp_path)
    (path / "config.json").write_text(content)
    contradiction(path, {}, "config.json cannot be read")


def test_a_json_of_a_newer_version_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save_frozen(path, tiny.params(), tiny.CONFIG)
    there = json.loads(path.with_suffix(".json").read_text())
    there["config"]["experts"] = 8
    path.with_suffix(".json").write_text(json.dumps(there))
    contradiction(path, {}, "a.json says experts", "does not know")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"model_type": "umt5"}, "a UMT5 (model_type umt5), each of whose layers"),
        ({"model_type": "longt5"}, "a LongT5 (model_type longt5), whose encoder"),
        (
            {"model_type": "switch_transformers"},
            "a Switch Transformer (model_type switch_transformers), whose MLPs are",
        ),
        ({"model_type": "t5gemma"}, "a T5Gemma (model_type t5gemma), whose layers"),
        (
            {"eos_token_id": 2},
            "a model whose eos_token_id is 2, not T5's 1, such as Co",
        ),
        ({"model_type": "gpt2"}, "a model that is no T5 (model_type gpt2)"),
        ({"architectures": ["T5EncoderModel"]}, "a T5EncoderModel, which is not enc"),
        ({"architectures": ["MT5ForQuestionAnswering"]}, "a MT5ForQuestionAnswering"),
    ],
)
def test_another_architecture_is_refused_by_name(tmp_path, said, words):
    path, _, _ = folder(tmp_path, **said)
    contradiction(path, {}, f"{path} holds {words}", "give a T5, T5 1.1, Flan-T5")
    with pytest.raises(UserError, match="give a T5, T5 1"):
        weights.load_frozen(str(path), tiny.MODEL, partitioning.mesh())


def test_an_encoder_alone_is_told_without_a_json_too(tmp_path):
    path, tensors, _ = folder(tmp_path)
    (path / "config.json").unlink()
    encoder = {k: v for k, v in tensors.items() if not k.startswith("decoder")}
    safetensors.save_file(encoder, path / "model.safetensors")
    contradiction(path, {}, "does not hold a whole T5", "it has no decoder")


def test_loading_checks_what_no_tensor_shows(tmp_path):
    path, _, _ = folder(tmp_path, **UL2)
    said = description.config(str(path), {})
    for field, value in (("activation", "gelu_tanh"), ("relpos_max_distance", 128)):
        model = network.Transformer(dataclasses.replace(said, **{field: value}))
        with pytest.raises(UserError, match=f"T5Config.{field} is {value}, but config"):
            weights.load_frozen(str(path), model, partitioning.mesh())


def test_a_bucket_is_not_asked_for_sizes_that_are_given(monkeypatch):
    def opened(name):
        raise UserError(f"{name} was opened")

    monkeypatch.setattr(formats, "open_checkpoint", opened)
    given = dict.fromkeys(description.SIZES, 8) | {"dtype": "bfloat16"}
    assert description.config("gs://a/b", given) == T5Config(**given)
    del given["mlp_dim"]
    contradiction("gs://a/b", given, "gs://a/b was opened")
