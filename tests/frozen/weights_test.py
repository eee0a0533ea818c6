"""A frozen model lands on its devices as the model keeps it, a tensor at a time."""

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny
from flax import traverse_util
from safetensors import numpy as safetensors

from prompt_tuning import exchange, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, formats, weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.t5 import network

VOCABULARY = weights.POCKET / weights.VOCABULARY


@pytest.fixture
def frozen(tmp_path):
    """(a frozen model's path, its parameters)."""
    path, params = tmp_path / "some" / "model.safetensors", tiny.params()
    origin = {"recipe": "random", "steps": 0}
    weights.save_frozen(path, params, tiny.CONFIG, VOCABULARY, origin)
    return path, params


def load(path, model=tiny.MODEL, mesh=None):
    return weights.load_frozen(str(path), model, mesh or partitioning.mesh())


def test_a_frozen_model_comes_back_where_it_belongs(frozen):
    path, params = frozen
    mesh = partitioning.mesh(4, 2)
    loaded = load(path, mesh=mesh)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    shardings = jax.tree.map(lambda x: x.sharding, loaded)
    assert shardings == partitioning.param_shardings(tiny.MODEL, mesh)
    description = json.loads(path.with_suffix(".json").read_text())
    assert network.T5Config(**description["config"]) == tiny.CONFIG
    assert description["recipe"] == "random" and len(list(path.parent.iterdir())) == 3


def test_the_shipped_model_fits_the_default_size():
    params = load("pocket_nano", network.Transformer(network.T5Config()))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


def test_every_tensor_that_does_not_fit_is_listed(frozen):
    path, params = frozen
    flat = traverse_util.flatten_dict(params, sep="/")
    missing = "encoder/encoder_norm/scale"
    del flat[missing]
    flat["lm_head"] = np.zeros(3, np.float32)
    flat["decoder/relpos_bias/rel_embedding"] = np.zeros((2, 8), np.float32)
    safetensors.save_file(flat, path)
    with pytest.raises(UserError) as error:
        load(path)
    for part in (
        f"{missing} is missing",
        "lm_head is unknown",
        "decoder/relpos_bias/rel_embedding is (2, 8) instead of (2, 32)",
        "3 tensors differ",
        str(path),
    ):
        assert part in str(error.value)


def test_a_model_of_another_size_is_an_error(frozen):
    wider = network.Transformer(dataclasses.replace(tiny.CONFIG, emb_dim=32))
    with pytest.raises(UserError, match=r"emb_dim 32.* is \(16,\) instead of \(32,\)"):
        load(frozen[0], wider)


def test_a_truncated_or_absent_file_is_an_error(frozen):
    path, _ = frozen
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load(path)
    with pytest.raises(UserError, match=r"no frozen model at 'nano'.*pocket_nano"):
        load("nano")


def changed(**changes):
    return network.Transformer(dataclasses.replace(tiny.CONFIG, **changes))


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_parameters_are_kept_as_the_model_says(frozen, param_dtype, scan_layers):
    model = changed(param_dtype=param_dtype, scan_layers=scan_layers)
    mesh = partitioning.mesh(4, 2)
    loaded = load(frozen[0], model, mesh)
    expected = partitioning.param_shapes(model)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), loaded) == jax.tree.map(
        lambda x: (x.shape, x.dtype), expected
    )
    shardings = jax.tree.map(lambda x: x.sharding, loaded)
    assert shardings == partitioning.param_shardings(model, mesh)
    layer = loaded["decoder"]["layers" if scan_layers else "layers_1"]
    kernel = layer["mlp"]["wo"]["kernel"].astype(jnp.float32)
    scale = layer["mlp"]["wo"].get(
        "kernel_scale", jnp.ones((2, 16) if scan_layers else 16)
    )
    got = (kernel * scale[..., None, :])[(1,) if scan_layers else ...]
    expected = frozen[1]["decoder"]["layers_1"]["mlp"]["wo"]["kernel"]
    bound = {"float32": 0, "bfloat16": 1 / 256, "int8": 1 / 250}[param_dtype]
    np.testing.assert_allclose(got, expected, atol=bound * np.abs(expected).max())


def test_a_host_reads_each_part_once_and_holds_one_tensor_at_a_time():
    """Of what was handed out before, little more than the norms may be left: they stay
    float32, and the CPU's devices take NumPy's own memory."""
    flat = traverse_util.flatten_dict(tiny.params(), sep="/")
    alive, reads = [], []

    class Part(np.ndarray):  # what NumPy makes has no weak references
        pass

    def tensor(name, values):
        def read(index):
            gc.collect()
            held = sum(
                p.nbytes for of, ref in alive if of != name and (p := ref()) is not None
            )
            part = np.array(values[index]).view(Part)
            alive.append((name, weakref.ref(part)))
            reads.append((name, part.nbytes, held))
            return part

        return formats.Tensor(values.shape, read)

    tensors = {name: tensor(name, values) for name, values in flat.items()}
    mesh = partitioning.mesh(4, 2)
    gc.collect()
    gc.freeze()  # collecting, for each tensor, what is younger is quick
    try:
        weights.place(tensors, changed(param_dtype="int8"), mesh, "these")
    finally:
        gc.unfreeze()
    once = sum(values.nbytes for values in flat.values())
    assert sum(size for _, size, _ in reads) == once, "replicas are not read again"
    kernels = [size for name, size, _ in reads if name.endswith("wi_0/kernel")]
    assert set(kernels) == {16 * 24 * 4 // 2}, "halves, as 'model' has two devices"
    kept = sum(v.nbytes for v in flat.values() if v.ndim == 1)
    largest = max(values.nbytes for values in flat.values())
    assert max(held for _, _, held in reads) <= kept + largest < once / 4


def test_a_tensor_that_cannot_be_read_is_named():
    def broken(index):
        raise OSError("chunk 3 is corrupt")

    flat = traverse_util.flatten_dict(tiny.params(), sep="/")
    tensors = {n: formats.Tensor(v.shape, v.__getitem__) for n, v in flat.items()}
    name = "encoder/layers_0/mlp/wo/kernel"
    tensors[name] = formats.Tensor(flat[name].shape, broken)
    with pytest.raises(UserError, match=f"these is damaged.*{name}.*chunk 3"):
        weights.place(tensors, tiny.MODEL, partitioning.mesh(), "these")


def test_a_released_prompt_fits_a_model_of_base_width(shared, tmp_path):
    """Of one layer a stack, with 100 of the rows."""
    file = shared / "data/t5/prompts/t5_1_1_lm100k_base-sst2.npy"
    if not file.exists():
        pytest.skip("there is no released prompt")
    prompt_PxD = exchange.load_prompt(file)
    config = network.T5Config(100, 768, 12, 64, 2048, 1, 1)
    model = network.Transformer(config)
    path = tmp_path / "base.safetensors"
    weights.save_frozen(path, tiny.params(model), config)
    params = load(path, model)
    batch = tiny.batch(examples=2)
    logits = [jax.jit(model.apply)({"params": params}, batch, tiny.extra(prompt_PxD))]
    logits += [jax.jit(model.apply)({"params": params}, batch)]
    assert prompt_PxD.shape == (100, 768) and logits[0].shape == (2, 4, 100)
    assert jnp.isfinite(logits[0]).all()
    assert jnp.abs(logits[0] - logits[1]).mean() > 0.01, "the prompt matters"


def test_a_known_size_is_named_by_its_gin_file():
    shapes = {
        "encoder/layers_0/mlp/wi_0/kernel": (768, 2048),
        "token_embedder/embedding": (250_112, 768),
    }
    found = {name: formats.Tensor(shape, None) for name, shape in shapes.items()}
    text = weights._gin_file(found)
    assert "gin/models/base.gin" in text and "vocab_size=250112" in text
    del found["encoder/layers_0/mlp/wi_0/kernel"]
    assert weights._gin_file(found) == ""


def test_a_fingerprint_is_of_the_weights_in_any_format(frozen, tmp_path):
    path, params = frozen
    expected = weights.fingerprint(str(path))
    assert len(expected) == 64 and int(expected, 16)
    trees = {
        "orbax": {"target": params},
        "prompted": params | {"prompt": tiny.prompt()},
    }
    for name, tree in trees.items():
        ocp.PyTreeCheckpointer().save(tmp_path / name, tree)
        assert weights.fingerprint(str(tmp_path / name)) == expected
    # A model that was bfloat16 from the first is as exact in either type.
    short = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    long = jax.tree.map(lambda x: x.astype(np.float32), short)
    prints = set()
    for name, tree in (("short", short), ("long", long)):
        weights.save_frozen(tmp_path / f"{name}.safetensors", tree, tiny.CONFIG)
        prints.add(weights.fingerprint(str(tmp_path / f"{name}.safetensors")))
    assert len(prints) == 1 and expected not in prints


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("decoder/layers_1/pre_mlp_layer_norm/scale", True),
        ("encoder/relpos_bias/rel_embedding", True),
        ("token_embedder/embedding", True),
        ("encoder/layers_0/mlp/wo/kernel", False),
    ],
)
def test_a_fingerprint_sees_small_tensors(frozen, tmp_path, name, seen):
    flat = traverse_util.flatten_dict(frozen[1], sep="/")
    flat[name] = flat[name] * np.float32(1.001)
    safetensors.save_file(flat, tmp_path / "other.safetensors")
    same = weights.fingerprint(str(tmp_path / "other.safetensors"))
    assert (same != weights.fingerprint(str(frozen[0]))) == seen


def test_a_fingerprint_reads_few_rows_of_an_embedding(monkeypatch):
    read = []

    def tensor(index):
        read.append(index)
        return np.ones((len(range(1000)[index[0]]), 4), np.float32)

    found = {"token_embedder/embedding": formats.Tensor((1000, 4), tensor)}
    monkeypatch.setattr(formats, "open_checkpoint", lambda name: found)
    weights.fingerprint("any")
    assert [index[0] for index in read] == [slice(0, 64), slice(936, 1000)]


def test_a_saved_file_is_the_librarys_byte_for_byte(frozen, tmp_path):
    flat = traverse_util.flatten_dict(frozen[1], sep="/")
    safetensors.save_file(flat, tmp_path / "theirs.safetensors")
    assert frozen[0].read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_a_scanned_model_is_saved_layer_by_layer(frozen, tmp_path):
    model = changed(scan_layers=True)
    path = tmp_path / "scanned.safetensors"
    weights.save_frozen(path, load(frozen[0], model), model.config, None)
    jax.tree.map(np.testing.assert_array_equal, load(path), frozen[1])


def test_the_vocabulary_is_the_one_beside_the_weights(tmp_path):
    assert weights.find_vocabulary("pocket_nano") == VOCABULARY
    assert weights.find_vocabulary(str(tmp_path)) is None
    for name in ("spiece.model", "model.safetensors"):
        (tmp_path / name).touch()
    for name in (tmp_path, tmp_path / "model.safetensors"):
        assert weights.find_vocabulary(str(name)) == tmp_path / "spiece.model"
    assert weights.find_vocabulary("gs://bucket/checkpoint_1") is None


@pytest.mark.parametrize("name", formats.packaged())
def test_an_embedded_model_fits_the_vocabulary_beside_it(name):
    rows = description.config(name, {}).vocab_size
    path = weights.find_vocabulary(name)
    assert path is not None and path.parent == Path(formats.find(name)).parent
    vocabulary = load_vocabulary(str(path))
    assert 0 <= rows - vocabulary.vocab_size < 128
