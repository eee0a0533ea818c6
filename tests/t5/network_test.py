"""The network against Hugging Face's T5 1.1: stored answers, and, marked slow, itself.

tests/parity_test.py compares it with T5X.
"""

import dataclasses
import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import traverse_util

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights
from prompt_tuning.t5 import layers, network, placing
from prompt_tuning.t5.extra import Extra

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


def logits(model, params, batch, prompt=None):
    extra = tiny.extra(prompt)
    return np.asarray(compiled(model)({"params": params}, batch, extra))


@pytest.fixture(scope="module")
def golden():
    with np.load(ROOT / "tests/golden/network.npz") as arrays:
        arrays = dict(arrays)
    flat = {k[7:]: v for k, v in arrays.items() if k.startswith("params/")}
    config = network.T5Config(
        vocab_size=24,
        emb_dim=16,
        num_heads=3,
        head_dim=4,
        mlp_dim=24,
        num_encoder_layers=2,
        num_decoder_layers=2,
    )
    return arrays, traverse_util.unflatten_dict(flat, sep="/"), config


@pytest.mark.parametrize("with_prompt", [False, True])
def test_logits_are_hugging_faces(golden, with_prompt):
    arrays, params, config = golden
    batch = {name: value for name, value in arrays.items() if name.endswith("_tokens")}
    prompt = arrays["prompt"] if with_prompt else None
    got = logits(network.Transformer(config), params, batch, prompt)
    expected = arrays["logits_with_prompt" if with_prompt else "logits"]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_bfloat16_activations_give_near_float32_logits(golden):
    arrays, params, config = golden
    batch = {name: arrays[name][:, :20] for name in arrays if name.endswith("_tokens")}
    model = network.Transformer(dataclasses.replace(config, dtype="bfloat16"))
    got = logits(model, params, batch, arrays["prompt"])
    expected = logits(network.Transformer(config), params, batch, arrays["prompt"])
    assert got.dtype == np.float32
    error = np.abs(got - expected)
    assert 1e-4 < error.mean() < 0.02 * expected.std(), "bfloat16, and not far off"


TOKENS = [[5, 9, 12, 7, 1, 0], [6, 4, 1, 0, 0, 0]]
SOFT = [20, 0]  # a prompt of these tokens' embeddings: even the padding's is no padding
FRONT = [[20, 3, 5, 9, 12, 7, 1, 0], [20, 3, 6, 4, 1, 0, 0, 0]]
BEHIND = [[5, 9, 12, 7, 20, 3, 1, 0], [6, 4, 20, 3, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("place", "spliced"), [(placing.prefix, FRONT), (placing.suffix, BEHIND)]
)
def test_a_prompt_of_token_embeddings_is_those_tokens(place, spliced):
    """So its positions count, are seen by all and are never padding."""
    params = tiny.params()
    embedding_VxD = params["token_embedder"]["embedding"]
    embedding_VxD[0] = embedding_VxD[3]  # as input, 0 would be padding
    batch = tiny.batch(examples=2)
    batch["encoder_input_tokens"] = np.array(TOKENS)
    extra = Extra(place(embedding_VxD[SOFT]))
    got = compiled(tiny.MODEL)({"params": params}, batch, extra)
    batch["encoder_input_tokens"] = np.array(spliced)
    np.testing.assert_allclose(got, logits(tiny.MODEL, params, batch), atol=1e-5)


def test_each_example_may_have_its_own_prompt():
    params, batch = tiny.params(), tiny.batch(examples=2)
    both_BxPxD = np.stack([tiny.prompt(seed=1), tiny.prompt(seed=2)])
    got = logits(tiny.MODEL, params, batch, both_BxPxD)
    for i, prompt_PxD in enumerate(both_BxPxD):
        expected = logits(tiny.MODEL, params, batch, prompt_PxD)
        np.testing.assert_allclose(got[i], expected[i], atol=1e-5)
        assert np.abs(got[1 - i] - expected[1 - i]).max() > 0.1, "prompts matter"


def test_padding_and_later_targets_change_nothing():
    params, batch = tiny.params(), tiny.batch(examples=2)
    expected = logits(tiny.MODEL, params, batch, tiny.prompt())
    longer = batch | {
        "encoder_input_tokens": np.pad(batch["encoder_input_tokens"], ((0, 0), (0, 3)))
    }
    got = logits(tiny.MODEL, params, longer, tiny.prompt())
    np.testing.assert_allclose(got, expected, atol=1e-5)
    other = batch | {"decoder_input_tokens": batch["decoder_input_tokens"].copy()}
    other["decoder_input_tokens"][:, 2:] = 9
    got = logits(tiny.MODEL, params, other, tiny.prompt())
    np.testing.assert_allclose(got[:, :2], expected[:, :2], atol=1e-5)
    assert np.abs(got[:, 2:] - expected[:, 2:]).max() > 0.1


def test_dropout_is_off_unless_asked_and_follows_its_rng():
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, dropout_rate=0.3))
    params, batch = tiny.params(), tiny.batch(examples=2)
    traced, plain = (
        str(jax.make_jaxpr(m.apply)({"params": params}, batch))
        for m in (model, tiny.MODEL)
    )
    assert traced == plain, "nothing is drawn unless asked"

    @jax.jit
    def dropped(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply({"params": params}, batch, rngs=rngs)

    plain = logits(tiny.MODEL, params, batch)
    first, again, other = dropped(0), dropped(0), dropped(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).mean() > 0.1 and np.abs(first - other).mean() > 0.1


def test_the_tree_is_that_of_the_public_checkpoints():
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, num_encoder_layers=2))
    shapes = traverse_util.flatten_dict(partitioning.param_shapes(model), sep="/")
    d, f, joined, vocab = 16, 24, 8, 40
    attention = {"query": (d, joined), "key": (d, joined), "value": (d, joined)}
    attention["out"] = (joined, d)
    expected = {
        "token_embedder/embedding": (vocab, d),
        "decoder/logits_dense/kernel": (d, vocab),
    }
    layer = {
        "encoder": {"attention": "attention"},
        "decoder": {
            "self_attention": "self_attention",
            "cross_attention": "encoder_decoder_attention",
        },
    }
    for stack, attentions in layer.items():
        expected[f"{stack}/relpos_bias/rel_embedding"] = (2, 32)
        expected[f"{stack}/{stack}_norm/scale"] = (d,)
        for at in (f"{stack}/layers_0/", f"{stack}/layers_1/"):
            for norm, name in attentions.items():
                expected[f"{at}pre_{norm}_layer_norm/scale"] = (d,)
                for part, shape in attention.items():
                    expected[f"{at}{name}/{part}/kernel"] = shape
            expected[f"{at}pre_mlp_layer_norm/scale"] = (d,)
            expected |= {f"{at}mlp/{wi}/kernel": (d, f) for wi in ("wi_0", "wi_1")}
            expected[f"{at}mlp/wo/kernel"] = (f, d)
    assert {name: s.shape for name, s in shapes.items()} == expected
    assert {s.dtype for s in shapes.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("layers", "heads", "emb_dim", "mlp_dim", "count"),
    [
        (8, 6, 512, 1024, 76_961_152),
        (12, 12, 768, 2048, 247_577_856),
        (24, 16, 1024, 2816, 783_150_080),
        (24, 32, 2048, 5120, 2_849_757_184),
        (24, 64, 4096, 10240, 11_135_332_352),
    ],
    ids=["small", "base", "large", "xl", "xxl"],
)
def test_t5_1_1_has_the_parameters_of_table_4(layers, heads, emb_dim, mlp_dim, count):
    config = network.T5Config(32_128, emb_dim, heads, 64, mlp_dim, layers, layers)
    shapes = partitioning.param_shapes(network.Transformer(config))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.fixture(scope="module")
def make_golden():
    """The script that made the stored answers; it needs the extra `parity`."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location(
        "make_golden", ROOT / "scripts/make_golden.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HF_SIZES = {
    "heads_narrower": (50, 24, 3, 4, 40, 2, 3, 32, 128),
    "heads_wider": (50, 16, 4, 8, 20, 3, 1, 32, 128),
    "few_buckets": (50, 16, 2, 8, 20, 2, 2, 8, 20),
    "pocket_nano": dataclasses.astuple(network.T5Config())[:9],
}


@pytest.mark.slow
@pytest.mark.parametrize("size", HF_SIZES)
@pytest.mark.parametrize("length", [7, 300])
def test_logits_are_hugging_faces_on_more_sizes(make_golden, size, length):
    config = network.T5Config(*HF_SIZES[size])
    theirs = make_golden.hugging_face_model(
        seed=length,
        vocab_size=config.vocab_size,
        d_model=config.emb_dim,
        num_heads=config.num_heads,
        d_kv=config.head_dim,
        d_ff=config.mlp_dim,
        num_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        relative_attention_num_buckets=config.relpos_buckets,
        relative_attention_max_distance=config.relpos_max_distance,
    )
    params = traverse_util.unflatten_dict(make_golden.params(theirs), sep="/")
    model = network.Transformer(config)
    batch = make_golden.random_batch(config.vocab_size, length, length - 2, seed=length)
    prompt_PxD = params["token_embedder"]["embedding"][3:13] / 2
    for prompt in (None, prompt_PxD):
        expected = make_golden.logits(theirs, batch, prompt)
        got = logits(model, params, batch, prompt)
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.slow
def test_a_prompt_of_peft_gives_the_same_logits(make_golden):
    peft = pytest.importorskip("peft")
    import torch

    theirs = make_golden.hugging_face_model(
        vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_heads=3, num_layers=2
    )
    params = traverse_util.unflatten_dict(make_golden.params(theirs), sep="/")
    config = network.T5Config(50, 16, 3, 4, 24, 2, 2)
    tuned = peft.get_peft_model(
        theirs,
        peft.PromptTuningConfig(
            task_type="SEQ_2_SEQ_LM",
            num_virtual_tokens=5,
            token_dim=16,
            num_layers=2,
            num_attention_heads=3,
            num_transformer_submodules=1,
        ),
    )
    prompt_PxD = tuned.prompt_encoder["default"].embedding.weight.detach().numpy()
    batch = make_golden.random_batch(50, 12, 6)
    tokens = torch.as_tensor(batch["encoder_input_tokens"], dtype=torch.long)
    with torch.no_grad():
        expected = tuned(
            input_ids=tokens,
            attention_mask=(tokens != 0).long(),
            decoder_input_ids=torch.as_tensor(
                batch["decoder_input_tokens"], dtype=torch.long
            ),
        ).logits.numpy()
    got = logits(network.Transformer(config), params, batch, prompt_PxD)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize(
    "name, value",
    [
        ("emb_dim", "big"),
        ("num_heads", 0),
        ("mlp_dim", 1.5),
        ("dtype", "float7"),
        ("param_dtype", "int4"),
        ("remat", "yes"),
        ("dropout_rate", 1.0),
        ("activation", "gelu"),
        ("gated_mlp", "no"),
        ("tied_head", 2),
        ("scale_decoder_outputs", "yes"),
        ("layer_norm_epsilon", 0),
    ],
)
def test_a_size_that_is_none_is_an_error(name, value):
    with pytest.raises(UserError, match=rf"T5Config.{name} is {value!r}; it must be"):
        network.T5Config(**{name: value})


def test_padding_changes_neither_loss_nor_gradient():
    """So that a batch may be cut to its longest input (batching.bucket)."""
    batch = tiny.batch()
    width = ((0, 0), (0, 7))
    inputs_BxT = np.pad(batch["encoder_input_tokens"], width)
    expected, got = (
        loss_and_gradient(
            tiny.MODEL, tiny.params(), batch | {"encoder_input_tokens": x}
        )
        for x in (batch["encoder_input_tokens"], inputs_BxT)
    )
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-5)


# How the same network is kept and computed


def changed(**changes):
    return network.Transformer(dataclasses.replace(tiny.CONFIG, **changes))


def kept(params, **changes):
    """Float parameters as load_frozen would keep them."""
    model = changed(**changes)
    tensors = {
        name: formats.Tensor(value.shape, value.__getitem__)
        for name, value in traverse_util.flatten_dict(params, sep="/").items()
    }
    return weights.place(tensors, model, partitioning.mesh(), "these")


def loss_and_gradient(model, params, batch):
    def loss(prompt):
        logits = model.apply({"params": params}, batch, tiny.extra(prompt))
        logits = logits.astype(jnp.float32)
        return jnp.mean(jnp.square(logits)) * 10

    return jax.jit(jax.value_and_grad(loss))(tiny.prompt())


@pytest.fixture(scope="module")
def plain():
    return loss_and_gradient(tiny.MODEL, tiny.params(), tiny.batch())


@pytest.mark.parametrize(
    "changes",
    [{"remat": True}, {"scan_layers": True}, {"remat": True, "scan_layers": True}],
)
def test_remat_and_scan_change_no_result(plain, changes):
    params = kept(tiny.params(), **changes)
    got = loss_and_gradient(changed(**changes), params, tiny.batch())
    np.testing.assert_allclose(got[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], plain[1], atol=1e-5 * np.abs(plain[1]).max())


def test_remat_keeps_less_for_the_backward_pass():
    def residuals(model):
        def apply(prompt, params):
            return model.apply({"params": params}, tiny.batch(), tiny.extra(prompt))

        shapes = jax.eval_shape(
            lambda params: jax.vjp(lambda p: apply(p, params), tiny.prompt())[1],
            tiny.params(),
        )
        return sum(x.size for x in jax.tree.leaves(shapes))

    assert residuals(changed(remat=True)) < 0.7 * residuals(tiny.MODEL)


def test_scanned_layers_have_stacked_parameters():
    shapes = traverse_util.flatten_dict(
        partitioning.param_shapes(changed(scan_layers=True, param_dtype="int8")),
        sep="/",
    )
    assert shapes["decoder/layers/mlp/wo/kernel"].shape == (2, 24, 16)
    assert shapes["decoder/layers/mlp/wo/kernel_scale"].shape == (2, 16)
    assert shapes["decoder/layers/mlp/wo/kernel"].dtype == jnp.int8
    assert not [name for name in shapes if "layers_" in name]


def test_an_int8_model_is_the_float_model_of_its_rounded_weights():
    params = kept(tiny.params(), param_dtype="int8")
    assert params["encoder"]["encoder_norm"]["scale"].dtype == jnp.float32
    rounded = {}
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    for name, value in flat.items():
        if name.endswith("_scale"):
            continue
        scale = flat.get(f"{name}_scale", np.float32(1))
        if name.endswith("embedding"):
            scale = scale[:, None] if np.ndim(scale) else scale
        rounded[name] = value.astype(np.float32) * scale
    rounded = traverse_util.unflatten_dict(rounded, sep="/")
    expected = loss_and_gradient(tiny.MODEL, rounded, tiny.batch())
    got = loss_and_gradient(changed(param_dtype="int8"), params, tiny.batch())
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(
        got[1], expected[1], atol=1e-4 * np.abs(expected[1]).max()
    )
    np.testing.assert_allclose(
        layers.embedding_table(params), rounded["token_embedder"]["embedding"]
    )


@pytest.mark.parametrize(("param_dtype", "bound"), [("bfloat16", 0.03), ("int8", 0.05)])
def test_smaller_weights_give_near_logits(param_dtype, bound):
    """The bounds are a few times what rounding at 1/256 and 1/254 of a channel does."""
    params = tiny.params()
    expected = logits(tiny.MODEL, params, tiny.batch(), tiny.prompt())
    small = kept(params, param_dtype=param_dtype)
    got = logits(changed(param_dtype=param_dtype), small, tiny.batch(), tiny.prompt())
    error = np.abs(got - expected).max() / np.std(expected)
    assert 0 < error < bound * 4
