"""A model written anew, in our format or transformers', is the same model."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import conversion, description, formats, weights
from prompt_tuning.frozen.formats import tokenizer_json
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.t5 import network

VOCABULARY = weights.POCKET / weights.VOCABULARY
BYTES = load_vocabulary("byt5")


@pytest.fixture
def frozen(tmp_path):
    """(a frozen model's path, its parameters)."""
    path, params = tmp_path / "some" / "model.safetensors", tiny.params()
    weights.save_frozen(path, params, tiny.CONFIG, VOCABULARY)
    return path, params


def changed(**changes):
    return network.Transformer(dataclasses.replace(tiny.CONFIG, **changes))


# In our format


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convert_writes_what_is_read_again(frozen, tmp_path, dtype):
    output = tmp_path / "new" / "small.safetensors"
    conversion.convert(str(frozen[0]), changed(param_dtype=dtype), output)
    stored = safetensors.load_file(output)
    flat = traverse_util.flatten_dict(frozen[1], sep="/")
    assert stored.keys() == flat.keys()
    for name, values in flat.items():
        norm = name.endswith(("scale", "rel_embedding"))
        assert stored[name].dtype == ("float32" if norm else dtype)
        np.testing.assert_array_equal(stored[name], values.astype(stored[name].dtype))
    origin = json.loads(output.with_suffix(".json").read_text())
    assert origin["converted_from"] == str(frozen[0])
    assert weights.find_vocabulary(str(output)) == output.parent / "spiece.model"


def in_int8(source, folder):
    output = folder / "int8" / "model.safetensors"
    conversion.convert(str(source), changed(param_dtype="int8"), output)
    return output


def loaded(path, mesh=None, **changes):
    mesh = mesh or partitioning.mesh()
    params = weights.load_frozen(str(path), changed(**changes), mesh)
    return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize(
    "stored, scan_layers", [("float32", False), ("bfloat16", True)]
)
def test_int8_read_back_is_the_float_file_read_at_int8(
    frozen, tmp_path, stored, scan_layers
):
    source = tmp_path / "source" / "model.safetensors"
    conversion.convert(str(frozen[0]), changed(param_dtype=stored), source)
    path, mesh = in_int8(source, tmp_path), partitioning.mesh(4, 2)
    how = {"param_dtype": "int8", "scan_layers": scan_layers}
    expected, found = loaded(source, mesh, **how), loaded(path, mesh, **how)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert found[name].sharding == values.sharding
        np.testing.assert_array_equal(found[name], values)
    again = in_int8(path, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    params = weights.load_frozen(str(source), changed(param_dtype="int8"), mesh)
    weights.save_frozen(tmp_path / "saved.safetensors", params, tiny.CONFIG)
    assert (tmp_path / "saved.safetensors").read_bytes() == path.read_bytes()


def test_an_int8_file_is_a_model_of_floats_to_all_who_ask_for_them(frozen, tmp_path):
    path = in_int8(frozen[0], tmp_path)
    kept = loaded(path, param_dtype="int8")
    for name, values in loaded(path).items():
        expected = np.asarray(kept[name], np.float32)
        if f"{name}_scale" in kept:
            scale = np.asarray(kept[f"{name}_scale"])
            expected = expected * (scale if "kernel" in name else scale[:, None])
        np.testing.assert_array_equal(values, expected)
    table = weights.embeddings(str(path))
    np.testing.assert_array_equal(table, loaded(path)["token_embedder/embedding"])
    floats = tmp_path / "floats" / "model.safetensors"
    conversion.convert(str(path), tiny.MODEL, floats)
    fingerprints = map(weights.fingerprint, map(str, (path, floats, frozen[0])))
    of_int8, of_floats, of_source = fingerprints
    assert of_int8 == of_floats != of_source
    assert description.describe(str(path)) == description.describe(str(frozen[0]))


def test_what_is_no_int8_file_of_ours_is_named(frozen, tmp_path):
    path, name = in_int8(frozen[0], tmp_path), "encoder/layers_0/mlp/wo/kernel"
    stored = safetensors.load_file(path)
    for change, message in (
        ({name: np.ones((24, 16), np.float32)}, f"{name} .*float32"),
        ({f"{name}_scale": np.full(16, np.nan, np.float32)}, f"{name}.* not finite"),
        ({f"{name}_scale": np.ones(24, np.float32)}, f"{name}_scale is unknown"),
    ):
        safetensors.save_file(stored | change, path)
        for dtype in ("int8", "float32"):
            with pytest.raises(UserError, match=message):
                loaded(path, param_dtype=dtype)


def test_convert_makes_no_other_ending(frozen, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        conversion.convert(str(frozen[0]), tiny.MODEL, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == [frozen[0].parent]


def test_convert_puts_no_model_beside_anothers_vocabulary(frozen, tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"of another model")
    with pytest.raises(UserError, match="give --output another folder"):
        conversion.convert(str(frozen[0]), tiny.MODEL, tmp_path / "a.safetensors")
    assert sorted(tmp_path.iterdir()) == [frozen[0].parent, tmp_path / "spiece.model"]
    conversion.convert(str(frozen[0]), tiny.MODEL, frozen[0].parent / "b.safetensors")


def test_a_conversion_that_breaks_off_leaves_nothing(frozen, tmp_path):
    path, params = frozen
    flat = traverse_util.flatten_dict(params, sep="/")
    flat["encoder/layers_0/mlp/wo/kernel"] = np.ones((24, 16), np.int8)
    safetensors.save_file(flat, path)
    with pytest.raises(UserError, match="layers_0/mlp/wo/kernel is of type int8"):
        conversion.convert(str(path), tiny.MODEL, tmp_path / "new" / "a.safetensors")
    assert not list((tmp_path / "new").iterdir())


# As transformers has it


def test_a_vocabulary_that_spells_in_bytes_is_told_so(tmp_path):
    files = tokenizer_json.files(load_vocabulary(str(VOCABULARY)))
    assert (
        files["tokenizer_config.json"]["tokenizer_class"] == "PreTrainedTokenizerFast"
    )
    said = files["tokenizer.json"]
    assert said["model"]["byte_fallback"] and len(said["model"]["vocab"]) == 2816
    ids = {token["content"]: token["id"] for token in said["added_tokens"]}
    assert [ids[t] for t in ("<pad>", "</s>", "<unk>", "<extra_id_0>")] == [
        0,
        1,
        2,
        2815,
    ]
    (bytes_file,) = tokenizer_json.files(BYTES).values()
    assert bytes_file["tokenizer_class"] == "ByT5Tokenizer"


KINDS = {
    "t5_1_1": {},
    "t5_1_0": {
        "activation": "relu",
        "gated_mlp": False,
        "tied_head": True,
        "scale_decoder_outputs": True,
    },
    "ul2": {"activation": "silu"},
    "own_head_scaled": {"activation": "gelu_exact", "scale_decoder_outputs": True},
    "gelu_without_gate": {"activation": "gelu_exact", "gated_mlp": False},
    "gelu_tanh_without_gate": {"gated_mlp": False},
    "epsilon_and_distances": {
        "layer_norm_epsilon": 0.01,
        "relpos_buckets": 8,
        "relpos_max_distance": 9,
    },
}


def wide(**changes):
    """A model that has embeddings for bytes."""
    return changed(vocab_size=384, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_transformers_is_read_as_what_it_was(tmp_path, kind):
    model = wide(**KINDS[kind])
    path, params = tmp_path / "m.safetensors", tiny.params(model)
    weights.save_frozen(path, params, model.config)
    folder = tmp_path / "hf"
    conversion.to_hugging_face(str(path), model, BYTES, folder)
    assert description.config(str(folder), {}) == model.config
    assert weights.fingerprint(str(folder)) == weights.fingerprint(str(path))
    found = formats.open_checkpoint(str(folder))
    for name, values in traverse_util.flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(found[name].read(found[name].all), values)


def test_a_head_that_is_tied_and_not_scaled_is_written_out(tmp_path):
    model = wide(tied_head=True)
    path, params = tmp_path / "m.safetensors", tiny.params(model)
    weights.save_frozen(path, params, model.config)
    conversion.to_hugging_face(str(path), model, BYTES, tmp_path / "hf")
    read = description.config(str(tmp_path / "hf"), {})
    assert read == dataclasses.replace(model.config, tied_head=False)
    stored = safetensors.load_file(tmp_path / "hf/model.safetensors")
    np.testing.assert_array_equal(stored["lm_head.weight"], stored["shared.weight"])


def test_each_tensor_keeps_its_type_unless_one_is_asked_for(tmp_path):
    model = wide()
    flat = traverse_util.flatten_dict(tiny.params(model), sep="/")
    kinds = {"scale": np.float64, "kernel": jnp.bfloat16, "embedding": np.float16}
    typed = {
        key: values.astype(kinds.get(key.rpartition("/")[2], np.float32))
        for key, values in flat.items()
    }
    safetensors.save_file(typed, tmp_path / "m.safetensors")
    for dtype, expected in (
        (None, {"float32", "bfloat16", "float16"}),
        ("float32", {"float32"}),
        ("bfloat16", {"float32", "bfloat16"}),
    ):
        folder = tmp_path / str(dtype)
        conversion.to_hugging_face(
            str(tmp_path / "m.safetensors"), model, BYTES, folder, dtype
        )
        stored = safetensors.load_file(folder / "model.safetensors")
        assert {values.dtype.name for values in stored.values()} == expected
        said = json.loads((folder / "config.json").read_text())["torch_dtype"]
        assert said == stored["shared.weight"].dtype.name
        assert stored["encoder.final_layer_norm.weight"].dtype == np.float32
    with pytest.raises(UserError, match="transformers has no int8"):
        conversion.to_hugging_face("m", model, BYTES, tmp_path / "x", "int8")


def test_the_folder_is_the_models_own(frozen, tmp_path):
    vocabulary = load_vocabulary(str(VOCABULARY))
    model = changed(vocab_size=2816)
    weights.save_frozen(frozen[0], tiny.params(model), model.config, VOCABULARY)
    for _ in range(2):  # a second time over the first
        conversion.to_hugging_face(str(frozen[0]), model, vocabulary, tmp_path / "hf")
    copied = tmp_path / "hf/spiece.model"
    assert copied.read_bytes() == VOCABULARY.read_bytes()
    (tmp_path / "hf/pytorch_model.bin").touch()
    with pytest.raises(
        UserError, match=r"holds pytorch_model\.bin, which would be read"
    ):
        conversion.to_hugging_face(str(frozen[0]), model, vocabulary, tmp_path / "hf")
    with pytest.raises(UserError, match=r"some.* is a file; give a folder"):
        conversion.to_hugging_face(str(frozen[0]), model, vocabulary, frozen[0])


def test_another_models_vocabulary_is_refused(frozen, tmp_path):
    with pytest.raises(UserError, match="ids, sentinels included, but the model emb"):
        conversion.to_hugging_face(str(frozen[0]), tiny.MODEL, BYTES, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_a_run_that_ships_a_model_is_read_as_its_json_says(tmp_path):
    model = changed(activation="silu")
    weights.save_frozen(
        tmp_path / "model.safetensors", tiny.params(model), model.config
    )
    assert description.config(str(tmp_path), {}).activation == "silu"


# Read by transformers itself

INPUTS = np.array([[5, 9, 12, 7, 3, 8, 8, 2, 20, 4, 6, 29, 1], [6, 4, 1] + [0] * 10])
TARGETS = np.array([[0, 5, 9, 17, 3], [0, 8, 1, 2, 4]])
BATCH = {"encoder_input_tokens": INPUTS, "decoder_input_tokens": TARGETS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "tied_without_scale"])
def test_transformers_computes_the_same_logits(tmp_path, kind):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = wide(**KINDS.get(kind, {"tied_head": True}))
    path, params = tmp_path / "m.safetensors", tiny.params(model)
    weights.save_frozen(path, params, model.config)
    conversion.to_hugging_face(str(path), model, BYTES, tmp_path / "hf")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    inputs, targets = (torch.as_tensor(x) for x in (INPUTS, TARGETS))
    with torch.no_grad():
        logits = theirs(
            input_ids=inputs,
            attention_mask=(inputs != 0).long(),
            decoder_input_ids=targets,
        ).logits
    ours = jax.jit(model.apply)({"params": params}, BATCH)
    np.testing.assert_allclose(logits.numpy(), ours, atol=1e-4)


TEXTS = (
    "passage: mara lost a vulug at the lake. topic:",
    "  two  spaces, a\ttab and a\nline ",
    "a <extra_id_0> b <extra_id_3>",
    "Ünïcode — “quotes” ﬁne 中文 ½ \uff21\uff22 e\u0301 \u200b x\u00a0y \U0001f600",
    "it's 3.14, e.g. $5",
    "",
)


@pytest.mark.slow
def test_transformers_tokenises_as_we_do(frozen, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = changed(vocab_size=2816)
    weights.save_frozen(frozen[0], tiny.params(model), model.config, VOCABULARY)
    for name, spelled in ((str(VOCABULARY), TEXTS), ("byt5", TEXTS[:2] + TEXTS[3:])):
        vocabulary, folder = load_vocabulary(name), tmp_path / Path(name).stem
        conversion.to_hugging_face(str(frozen[0]), model, vocabulary, folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for text in spelled:
            ids = [*vocabulary.encode(text), vocabulary.eos_id]
            assert tokenizer(text).input_ids == ids, text
            decoded = tokenizer.decode(ids, skip_special_tokens=True)
            assert decoded.strip() == vocabulary.decode(ids).strip() or "<extra" in text
