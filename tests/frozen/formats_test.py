"""Each format gives the same tensors under our names; what is damaged is told."""

import json
import pickle

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
import tiny
from flax import serialization, traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import exchange, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights

FLAT = traverse_util.flatten_dict(tiny.params(), sep="/")


def check(name, dtype=np.float32):
    """What is at `name` is tiny.params(), to the precision of `dtype`, in parts too."""
    tensors = formats.open_checkpoint(str(name))
    assert tensors.keys() == FLAT.keys()
    for key, tensor in tensors.items():
        expected = FLAT[key].astype(dtype)
        assert tensor.shape == expected.shape
        np.testing.assert_array_equal(tensor.read(tensor.all), expected)
        part = (slice(1, 2),) * expected.ndim
        np.testing.assert_array_equal(tensor.read(part), expected[part])


def fails(name, *words):
    with pytest.raises(UserError) as error:
        for tensor in formats.open_checkpoint(str(name)).values():
            try:
                tensor.read(tensor.all)
            except formats.READ_ERRORS as problem:
                raise UserError(str(problem)) from None
    for word in words:
        assert word in str(error.value), str(error.value)


# Hugging Face: the names and layouts of transformers 5, spelt out.

INSIDE = {
    "encoder": [
        ("layer.0.SelfAttention.{}.weight", "attention/{}/kernel", "qkvo"),
        ("layer.0.layer_norm.weight", "pre_attention_layer_norm/scale", None),
        ("layer.1.DenseReluDense.{}.weight", "mlp/{}/kernel", None),
        ("layer.1.layer_norm.weight", "pre_mlp_layer_norm/scale", None),
    ],
    "decoder": [
        ("layer.0.SelfAttention.{}.weight", "self_attention/{}/kernel", "qkvo"),
        ("layer.0.layer_norm.weight", "pre_self_attention_layer_norm/scale", None),
        (
            "layer.1.EncDecAttention.{}.weight",
            "encoder_decoder_attention/{}/kernel",
            "qkvo",
        ),
        ("layer.1.layer_norm.weight", "pre_cross_attention_layer_norm/scale", None),
        ("layer.2.DenseReluDense.{}.weight", "mlp/{}/kernel", None),
        ("layer.2.layer_norm.weight", "pre_mlp_layer_norm/scale", None),
    ],
}
FULL = {"q": "query", "k": "key", "v": "value", "o": "out"}


def hugging_face():
    """tiny.params() as transformers stores a T5ForConditionalGeneration."""
    out = {
        "shared.weight": FLAT["token_embedder/embedding"],
        "encoder.embed_tokens.weight": FLAT["token_embedder/embedding"],
        "decoder.embed_tokens.weight": FLAT["token_embedder/embedding"],
        "lm_head.weight": FLAT["decoder/logits_dense/kernel"].T,
    }
    for stack, number in (("encoder", 1), ("decoder", 2)):
        out[f"{stack}.final_layer_norm.weight"] = FLAT[f"{stack}/{stack}_norm/scale"]
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        out[bias] = FLAT[f"{stack}/relpos_bias/rel_embedding"].T
        for layer in range(number):
            for theirs, ours, letters in INSIDE[stack]:
                names = [""]
                if "{}" in theirs:
                    names = list(letters) if letters else ["wi_0", "wi_1", "wo"]
                for name in names:
                    key = f"{stack}/layers_{layer}/{ours.format(FULL.get(name, name))}"
                    out[f"{stack}.block.{layer}.{theirs.format(name)}"] = FLAT[key].T
    return {name: np.ascontiguousarray(values) for name, values in out.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hugging_face_safetensors(tmp_path, dtype):
    tensors = {k: v.astype(jnp.dtype(dtype)) for k, v in hugging_face().items()}
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    check(tmp_path, jnp.dtype(dtype))
    check(tmp_path / "model.safetensors", jnp.dtype(dtype))


def shards(folder):
    tensors = hugging_face()
    names = sorted(tensors)
    weight_map = {}
    for number in range(3):
        file = f"model-0000{number + 1}-of-00003.safetensors"
        part = {name: tensors[name] for name in names[number::3]}
        safetensors.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_hugging_face_shards(tmp_path):
    check(shards(tmp_path))


def test_a_shard_that_is_not_there_is_an_error(tmp_path):
    (shards(tmp_path) / "model-00002-of-00003.safetensors").unlink()
    fails(tmp_path, "index.json names model-00002-of-00003.safetensors", "not whole")


def test_pytorch_files(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(v) for k, v in hugging_face().items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    check(tmp_path)
    half = {k: v.to(torch.bfloat16) for k, v in tensors.items()}
    torch.save(
        half, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )
    check(tmp_path, jnp.bfloat16)
    file = tmp_path / "pytorch_model.bin"
    for content in (b"no zip, no pickle", pickle.dumps(print)):
        file.write_bytes(content)
        fails(tmp_path, "is damaged, or holds more than tensors")
    torch.save({"model": tensors, "step": 3}, file)
    fails(tmp_path, "holds more than a model's tensors (model, say)")
    torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:-2000])
    fails(tmp_path, "cannot be read")


def test_a_pytorch_file_without_pytorch_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "pytorch_model.bin").touch()
    fails(tmp_path, "PyTorch is not installed")


def test_a_t5_1_0_has_one_kernel_into_its_mlp_and_no_head(tmp_path):
    tensors = hugging_face()
    del tensors["lm_head.weight"]
    name = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    tensors[name.replace("wi_0", "wi")] = tensors.pop(name)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    found = formats.open_checkpoint(str(tmp_path))
    kernel = "encoder/layers_0/mlp/wi_0/kernel"
    own = {kernel, "decoder/logits_dense/kernel"}
    assert found.keys() == FLAT.keys() - own | {kernel.replace("wi_0", "wi")}


WI = "encoder.block.0.layer.1.DenseReluDense.wi_0"


@pytest.mark.parametrize(
    "name",
    [
        "prompt",
        "bar.weight",
        "encoder.block.0.layer.7.adapter.weight",
        "encoder.block.0.layer.0.SelfAttention",
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        f"{WI}.bias",  # once taken for the kernel
        f"{WI}.SCB",
    ],
)
def test_an_unknown_tensor_of_hugging_face_is_listed(tmp_path, name):
    tensors = hugging_face() | {name: np.ones(3, np.float32)}
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"1 tensors differ: {name} is unknown"):
        weights.load_frozen(str(tmp_path), tiny.MODEL, partitioning.mesh())


def test_what_transformers_leaves_out_is_left_out(tmp_path):
    cross = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    tensors = hugging_face() | {cross: np.ones((32, 2), np.float32)}
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    check(tmp_path)


def test_another_programs_8_bit_weights_are_told(tmp_path):
    """They would fit by shape, and mean nothing without their scales."""
    tensors = hugging_face()
    tensors[f"{WI}.weight"] = tensors[f"{WI}.weight"].astype(np.int8)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"^encoder/layers_0/mlp/wi_0/kernel is .*int8"):
        weights.load_frozen(str(tmp_path), tiny.MODEL, partitioning.mesh())


def test_the_truncated_file_of_a_model_is_told(tmp_path):
    safetensors.save_file(hugging_face(), tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-9])
    fails(tmp_path, "not a whole safetensors file")


# T5X's older format


def t5x(folder, tensors=FLAT):
    """Large arrays in zarr, others in the index, as T5X wrote until it used Orbax."""
    leaves = {}
    for name, values in tensors.items():
        if values.ndim == 1:
            leaves[name] = values
            continue
        kvstore = {"driver": "file", "path": "target." + name.replace("/", ".")}
        spec = {"driver": "zarr", "kvstore": kvstore}
        local = kvstore | {"path": f"{folder}/{kvstore['path']}"}
        chunks = [max(1, n // 2) for n in values.shape]
        ts.open(
            spec
            | {"kvstore": local, "create": True}
            | {"metadata": {"shape": values.shape, "chunks": chunks, "dtype": "<f4"}}
        ).result().write(values).result()
        leaves[name] = spec
    tree = {"optimizer": {"target": traverse_util.unflatten_dict(leaves, sep="/")}}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    return folder


def test_t5x(tmp_path):
    check(t5x(tmp_path))
    assert formats.prompt_of(formats.open_checkpoint(str(tmp_path))) is None


@pytest.mark.parametrize(
    "name", ["prompt", "trained", "trained/prompt", "encoder/prompt/prompt/prompt"]
)
def test_a_prompt_beside_the_weights_is_found_and_not_loaded(tmp_path, name):
    """The last name is that of google-research/prompt-tuning."""
    t5x(tmp_path, FLAT | {name: tiny.prompt()})
    prompt = formats.prompt_of(formats.open_checkpoint(str(tmp_path)))
    np.testing.assert_array_equal(prompt.read(prompt.all), tiny.prompt())
    np.testing.assert_array_equal(exchange.load_prompt(tmp_path), tiny.prompt())
    loaded = weights.load_frozen(str(tmp_path), tiny.MODEL, partitioning.mesh())
    jax.tree.map(np.testing.assert_array_equal, loaded, tiny.params())


KERNEL = "target.decoder.layers_1.mlp.wo.kernel"


def test_a_half_written_t5x_checkpoint_is_told(tmp_path):
    t5x(tmp_path)
    (tmp_path / KERNEL / ".zarray").unlink()
    fails(tmp_path, "is not whole", "decoder/layers_1/mlp/wo/kernel")


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_damaged_chunk_is_told_with_its_tensor(tmp_path, damage):
    t5x(tmp_path)
    chunk = tmp_path / KERNEL / "1.0"
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match=r"damaged.*decoder/layers_1/mlp/wo/kernel"):
        weights.load_frozen(str(tmp_path), tiny.MODEL, partitioning.mesh())


def test_an_index_that_is_none_is_told(tmp_path):
    t5x(tmp_path)
    for content in (b"", b"text", msgpack.packb({"version": 3})):
        (tmp_path / "checkpoint").write_bytes(content)
        fails(tmp_path, "cannot be read")


def test_a_bucket_out_of_reach_is_told(monkeypatch):
    monkeypatch.setattr(formats.storage, "RETRIES", 0)  # which would be waited between
    fails("gs://no-such-bucket-of-ours/checkpoint_1", "gs://no-such-bucket", "reach")


def test_the_folder_above_the_checkpoints_is_told(tmp_path):
    (tmp_path / "checkpoint_10").mkdir()
    fails(tmp_path, "give one of the checkpoints in it, such as checkpoint_10")


# Orbax


@pytest.mark.parametrize(
    "path",
    [(), ("params",), ("params", "params"), ("target",), ("optimizer", "target")],
)
def test_orbax_trees_of_t5x_and_others(tmp_path, path):
    tree = tiny.params()
    for key in reversed(path):
        tree = {key: tree, "state": {"step": np.int32(3)}}
    ocp.PyTreeCheckpointer().save(tmp_path / "checkpoint_3", tree)
    check(tmp_path / "checkpoint_3")


@pytest.mark.parametrize("options", [{"use_ocdbt": False}, {"use_zarr3": True}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_orbax_other_layouts_on_disk(tmp_path, options, dtype):
    tree = jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), tiny.params())
    ocp.PyTreeCheckpointer(**options).save(tmp_path / "c", {"target": tree})
    check(tmp_path / "c", jnp.dtype(dtype))


def test_a_step_of_an_orbax_manager(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(5, args=ocp.args.StandardSave({"params": tiny.params()}))
    check(tmp_path / "5")
    (tmp_path / "5").rename(tmp_path / "5.orbax-checkpoint-tmp")
    fails(tmp_path / "5.orbax-checkpoint-tmp", "not whole", "before the end")


def test_a_state_that_t5x_saved_with_orbax(tmp_path):
    state = {"target": tiny.params(), "state": {"step": np.int32(3)}}
    with ocp.CheckpointManager(tmp_path) as manager:
        item = ocp.args.PyTreeSave(state)
        manager.save(3, args=ocp.args.Composite(state=item))
    check(tmp_path / "3")


def test_a_damaged_orbax_checkpoint_is_told(tmp_path):
    ocp.PyTreeCheckpointer(use_ocdbt=False).save(tmp_path / "c", tiny.params())
    (tmp_path / "c" / "decoder.layers_1.mlp.wo.kernel" / "0.0").write_bytes(b"\0")
    with pytest.raises(UserError, match=r"damaged.*decoder/layers_1/mlp/wo/kernel"):
        weights.load_frozen(str(tmp_path / "c"), tiny.MODEL, partitioning.mesh())
    (tmp_path / "c" / "_METADATA").write_text("{}")
    fails(tmp_path / "c", "c")
