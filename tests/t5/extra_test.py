"""Each thing the network takes, against T5 written out by hand (by_hand.py)."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from by_hand import CONFIG, DIM, HEAD_DIM, HEADS, by_hand
from flax import traverse_util

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights
from prompt_tuning.t5 import attention, decoding, layers, network
from prompt_tuning.t5.extra import (
    END,
    Adapter,
    AttentionExtra,
    Extra,
    LabelRows,
    LayerExtra,
    LowRank,
    Prompt,
)

BATCH, LENGTH = 4, 5
LABELS_CxS = np.array([[5, 1, 0], [7, 9, 1], [30, 1, 0]], np.int32)


# What it takes


def random(seed, *shape, scale=1.0):
    values = np.random.default_rng(seed).normal(size=shape)
    return (scale * values).astype(np.float32)


def keys(seed, *shape):
    return {
        "keys": random(seed, 2, *shape, HEADS, HEAD_DIM),
        "values": random(seed + 1, 2, *shape, HEADS, HEAD_DIM),
    }


def adapter(seed):
    return Adapter(random(seed, 2, DIM, 3, scale=0.3), random(seed + 1, 2, 3, DIM))


PROMPT = Prompt(random(1, 3, DIM), np.array([0, END, 1]))
PROMPTS = Prompt(
    random(2, BATCH, 3, DIM),
    np.array([[0, 0, END], [END, 1, 0], [2, 2, 9], [END, END, 1]]),
    np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 0]], bool),
)
THERE = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], bool)


def changes(seed):
    def low_rank(seed):
        out = HEADS * HEAD_DIM
        return LowRank(random(seed, 2, DIM, 2, scale=0.3), random(seed, 2, 2, out))

    return AttentionExtra(
        low_rank(seed),
        low_rank(seed + 1),
        1 + random(seed + 2, 2, HEADS * HEAD_DIM, scale=0.5),
        1 + random(seed + 3, 2, HEADS * HEAD_DIM, scale=0.5),
    )


SCALE = 1 + random(30, 2, CONFIG.mlp_dim, scale=0.5)
ADAPTERS = {"attention_adapter": adapter(3), "mlp_adapter": adapter(5)}
SHIFT, SHIFTS = random(7, 2, 3, DIM), random(8, 2, BATCH, 3, DIM)
LABEL_ROWS = LabelRows(np.array([30, 1, 5]), random(9, 3, DIM))
EVERYTHING = Extra(
    PROMPTS,
    LayerExtra(**keys(10, BATCH, 2), mask=THERE, shift=SHIFTS, **ADAPTERS)._replace(
        self_attention=changes(31), mlp_scale=SCALE
    ),
    LayerExtra(**keys(12, 2), mask=THERE[::-1], **ADAPTERS)._replace(
        self_attention=changes(35), cross_attention=changes(39), mlp_scale=SCALE
    ),
    LABEL_ROWS,
    random(51, 4, DIM, scale=0.3),
)
SLOTS = {
    "nothing": Extra(),
    "prompt": Extra(PROMPT),
    "prompts": Extra(PROMPTS),
    "keys in the encoder": Extra(encoder=LayerExtra(**keys(14, 2))),
    "keys in the decoder": Extra(decoder=LayerExtra(**keys(16, 2))),
    "some keys": Extra(
        PROMPT,
        LayerExtra(**keys(18, 2), mask=np.array([False, True])),
        LayerExtra(**keys(20, BATCH, 2), mask=THERE),
    ),
    "shift": Extra(PROMPT, LayerExtra(shift=SHIFT)),
    "shifts": Extra(PROMPTS, LayerExtra(shift=SHIFTS)),
    "attention adapters": Extra(
        encoder=LayerExtra(attention_adapter=adapter(3)),
        decoder=LayerExtra(attention_adapter=adapter(5)),
    ),
    "mlp adapters": Extra(
        encoder=LayerExtra(mlp_adapter=adapter(3)),
        decoder=LayerExtra(mlp_adapter=adapter(5)),
    ),
    "changes in the encoder": Extra(encoder=LayerExtra(self_attention=changes(31))),
    "changes in the decoder": Extra(
        decoder=LayerExtra(self_attention=changes(35), cross_attention=changes(39))
    ),
    "scales of the mlp": Extra(
        encoder=LayerExtra(mlp_scale=SCALE), decoder=LayerExtra(mlp_scale=SCALE)
    ),
    "input shift": Extra(input_shift=random(43, 4, DIM)),
    "longer input shift": Extra(PROMPT, input_shift=random(44, 9, DIM)),
    "label rows": Extra(label_rows=LABEL_ROWS),
    "everything": EVERYTHING,
}


# The network


class Kept(NamedTuple):
    """A way to keep and compute the model, and the float weights it stands for."""

    model: network.Transformer
    params: dict
    floats: dict
    mesh: jax.sharding.Mesh

    def run(self, fn, batch, *args):
        """fn(model, params, batch, *args), compiled, on the mesh."""
        with jax.set_mesh(self.mesh):
            batch = partitioning.shard_batch(batch, self.mesh)
            compiled = jax.jit(functools.partial(fn, self.model))
            return jax.device_get(compiled(self.params, batch, *args))


WAYS = {
    "plain": {},
    "scanned": {"scan_layers": True},
    "remat": {"remat": True},
    "scanned remat": {"scan_layers": True, "remat": True},
    "int8": {"param_dtype": "int8"},
    "mesh": {},
}


@functools.cache
def kept(way):
    model = network.Transformer(dataclasses.replace(CONFIG, **WAYS[way]))
    floats = tiny.params(network.Transformer(CONFIG), seed=3)
    floats["decoder"]["logits_dense"]["kernel"][:, 1] *= 3  # so that some rows end
    flat = traverse_util.flatten_dict(floats, sep="/")
    if way == "int8":
        for name, value in flat.items():
            if value.ndim == 2 and not name.endswith("rel_embedding"):
                axis = 1 if name.endswith("embedding") else 0
                rounded, scale = layers.quantize(value, axis)
                flat[name] = np.asarray(rounded * jnp.expand_dims(scale, axis))
        floats = traverse_util.unflatten_dict(flat, sep="/")
    tensors = {
        name: formats.Tensor(value.shape, value.__getitem__)
        for name, value in flat.items()
    }
    shape, auto = (4, 2) if way == "mesh" else (1, 1), jax.sharding.AxisType.Auto
    mesh = jax.make_mesh(
        shape, ("data", "model"), (auto, auto), devices=jax.devices()[: np.prod(shape)]
    )
    return Kept(model, weights.place(tensors, model, mesh, "these"), floats, mesh)


ROWS = {
    name: value
    for name, value in tiny.batch(BATCH, seed=4).items()
    if name.endswith("input_tokens")
}


def logits(model, params, batch, extra):
    return model.apply({"params": params}, batch, extra)


@pytest.mark.parametrize("slot", SLOTS)
def test_logits_are_those_by_hand(slot):
    it = kept("plain")
    got = it.run(logits, ROWS, SLOTS[slot])
    expected = by_hand(it.floats, SLOTS[slot], ROWS)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    if slot != "nothing":
        assert np.abs(got - by_hand(it.floats, Extra(), ROWS)).mean() > 0.01


BANK = Extra(bank=Prompt(random(60, 3, 2, DIM), np.array([0, END])))


def test_a_bank_gives_each_row_its_task_s_prompt():
    tasks_B = np.array([2, 0, 0, 1])
    own = BANK.of_tasks(tasks_B)
    assert own.bank is None and BANK.prompt_length == own.prompt_length == 2
    np.testing.assert_array_equal(own.prompt.vectors, BANK.bank.vectors[tasks_B])
    assert np.isnan(BANK.of_tasks(np.array([3])).prompt.vectors).all()
    assert SLOTS["nothing"].of_tasks(None) == Extra()
    assert Extra().prompt_length == 0


def test_a_bank_is_not_passed_over():
    """Where nothing says a row's task there is no plausible answer."""
    it = kept("plain")
    with pytest.raises(UserError, match="a prompt for each of 3 tasks, but nothing"):
        it.run(logits, ROWS, BANK)


def arrays(extra):
    """(What is trained of it, by name; a function that puts such back.)"""
    leaves, tree = jax.tree.flatten(extra)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(extra)]
    floats = [leaf.dtype == np.float32 for leaf in leaves]
    trained = {
        p: x for p, x, is_float in zip(paths, leaves, floats, strict=True) if is_float
    }

    def put(trained):
        new = [trained.get(p, x) for p, x in zip(paths, leaves, strict=True)]
        return tree.unflatten(new)

    return trained, put


WEIGHT_BxSxV = random(22, BATCH, 4, CONFIG.vocab_size)


@functools.cache
def gradient_by_hand():
    trained, put = arrays(EVERYTHING)

    @jax.jit
    @jax.grad
    def gradient(trained, params):
        with jax.numpy_rank_promotion("allow"):  # it reads as NumPy's
            return jnp.sum(by_hand(params, put(trained), ROWS, jnp) * WEIGHT_BxSxV)

    return functools.partial(gradient, trained)


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_of_each_slot_is_that_by_hand(way):
    it = kept(way)
    trained, put = arrays(EVERYTHING)

    def loss(model, params, batch, trained):
        return jnp.sum(logits(model, params, batch, put(trained)) * WEIGHT_BxSxV)

    value, got = it.run(jax.value_and_grad(loss, argnums=3), ROWS, trained)
    weighed = by_hand(it.floats, EVERYTHING, ROWS) * WEIGHT_BxSxV
    np.testing.assert_allclose(value, weighed.sum(), rtol=1e-4)
    expected = gradient_by_hand()(it.floats)
    assert len(got) == 36 and set(got) == set(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > 0.01, name
        np.testing.assert_allclose(
            got[name], value, atol=1e-4 * np.abs(value).max(), err_msg=name
        )


@pytest.mark.parametrize("way", WAYS)
def test_greedy_decoding_is_that_by_hand(way):
    it = kept(way)
    inputs = {"encoder_input_tokens": ROWS["encoder_input_tokens"]}

    def greedy(model, params, batch, extra):
        tokens_BxT = batch["encoder_input_tokens"]
        return decoding.greedy(model, params, tokens_BxT, extra, LENGTH)

    got = it.run(greedy, inputs, EVERYTHING)
    tokens_BxS = np.zeros((BATCH, LENGTH), np.int32)
    for i in range(LENGTH):
        inputs["decoder_input_tokens"] = np.pad(tokens_BxS, ((0, 0), (1, 0)))[:, :-1]
        best_B = by_hand(it.floats, EVERYTHING, inputs)[:, i].argmax(-1)
        done_B = (tokens_BxS == 1).any(1)
        tokens_BxS[:, i] = np.where(done_B, 0, best_B)
    np.testing.assert_array_equal(got, tokens_BxS)
    assert len(set(map(tuple, got.tolist()))) > 2, "rows must differ"


@pytest.mark.parametrize("way", WAYS)
def test_label_scores_are_those_by_hand(way):
    it = kept(way)

    def scores(model, params, batch, extra):
        tokens_BxT = batch["encoder_input_tokens"]
        return decoding.label_scores(model, params, tokens_BxT, extra, LABELS_CxS)

    inputs = {"encoder_input_tokens": ROWS["encoder_input_tokens"]}
    got = it.run(scores, inputs, EVERYTHING)
    for column, label_S in zip(got.T, LABELS_CxS, strict=True):
        decoder_S = np.pad(label_S, (1, 0))[:-1]
        teacher = inputs | {"decoder_input_tokens": np.tile(decoder_S, (BATCH, 1))}
        exp = np.exp(by_hand(it.floats, EVERYTHING, teacher).astype(np.float64))
        log_p = np.log(exp / exp.sum(-1, keepdims=True))
        size = np.count_nonzero(label_S)
        expected = log_p[:, range(size), label_S[:size]].sum(1)
        np.testing.assert_allclose(column, expected, atol=1e-4)


def test_bfloat16_products_give_near_logits():
    it = kept("plain")
    half = it._replace(
        model=network.Transformer(dataclasses.replace(CONFIG, dtype="bfloat16"))
    )

    got = half.run(logits, ROWS, EVERYTHING)
    expected = by_hand(it.floats, EVERYTHING, ROWS)
    assert got.dtype == np.float32
    assert 1e-3 < np.abs(got - expected).mean() / expected.std() < 0.05


@pytest.mark.parametrize("slot", ["shifts", "everything"])
def test_kernels_serve_unless_keys_stand_in_front(monkeypatch, slot):
    def best_here(keys_BxLxHxK, dtype):
        served.append(keys_BxLxHxK.shape)
        return attention.attend_by_example

    served = []
    monkeypatch.setattr(attention, "best_here", best_here)
    it = kept("plain")
    got = it.run(logits, ROWS, SLOTS[slot])
    expected = by_hand(it.floats, SLOTS[slot], ROWS)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert len(served) == (2 if slot == "shifts" else 0), "layers of the encoder"


# What it does not take


def test_a_packed_batch_is_an_error():
    it = kept("plain")
    packed = ROWS | {"encoder_segment_ids": ROWS["encoder_input_tokens"]}
    with pytest.raises(UserError, match=r"encoder_segment_ids.*pack=False"):
        it.run(logits, packed, Extra())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (Extra(encoder=LayerExtra(shift=SHIFT)), "there is none"),
        (Extra(PROMPT, decoder=LayerExtra(shift=SHIFT)), "the decoder has no prompt"),
    ],
)
def test_a_shift_is_where_a_prompt_is(extra, words):
    with pytest.raises(ValueError, match=words):
        kept("plain").run(logits, ROWS, extra)


@pytest.mark.parametrize("way", ["plain", "scanned"])
def test_another_number_of_layers_is_an_error(way):
    three = LayerExtra(attention_adapter=Adapter(*random(0, 2, 3, DIM, DIM)))
    with pytest.raises(ValueError):
        kept(way).run(logits, ROWS, Extra(encoder=three))
