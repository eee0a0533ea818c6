"""Folders of PEFT's LoRA and IA3: what is written comes back, what is other is refused.

peft_extras_test.py beside this folder asks PEFT itself.
"""

import json

import jax
import numpy as np
import pytest
import tiny
from safetensors import numpy as safetensors

from prompt_tuning import exchange, methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import Adapters, Lora, PrefixTuning
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5.extra import Extra

SMALL = {
    "lora": {"lora": Lora(rank=2, alpha=6)},
    "adapters": {"adapters": Adapters(width=3)},
    "prefix_tuning": {"prefix_tuning": PrefixTuning(hidden=3)},
}


def shipped(name):
    """What a run of the method would ship, with every value its own."""
    run = Run(method=name, prompt_length=3, prompt_init="random_uniform")
    method = methods.of(Settings(run, **SMALL.get(name, {})))
    start = methods.Start((), list, label_words=((5,), (7,)))
    frozen = jax.tree.map(jax.numpy.asarray, tiny.params())
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda x: np.float32(x + rng.normal(size=x.shape)),
        method.init(jax.random.key(0), frozen, start),
    )
    return jax.device_get(method.fold(trained, frozen)[1])


def saved(folder, name="lora"):
    said = {"method": name, "ships_extra": True, "frozen_model": "some/t5"}
    exchange.save_peft_extra(folder, shipped(name), said)
    return folder


def change(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_what_is_written_comes_back(tmp_path, name):
    saved(tmp_path, name)
    back = exchange.load_extra(exchange.find_extra(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, back, shipped(name))
    said = exchange.read_description(tmp_path)
    assert (said["method"], said["frozen_model"]) == (name, "some/t5")
    assert saved(tmp_path, name), "written over what is its own"


def test_a_layers_kernels_are_pefts(tmp_path):
    """Two by hand, of the second layer of the decoder; PEFT's kernels are [out, in]."""
    block = "base_model.model.decoder.block.1.layer"
    tensors = safetensors.load_file(saved(tmp_path) / "adapter_model.safetensors")
    own = shipped("lora").decoder.cross_attention.value.up[1]
    found = tensors[f"{block}.1.EncDecAttention.v.lora_B.weight"]
    np.testing.assert_array_equal(found, own.T)
    file = saved(tmp_path / "ia3", "ia3") / "adapter_model.safetensors"
    own = shipped("ia3").decoder.mlp_scale[1]
    found = safetensors.load_file(file)[f"{block}.2.DenseReluDense.wo.ia3_l"]
    np.testing.assert_array_equal(found, own[None])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("prefix_tuning", "in front of the encoder's too"),
        ("adapters", "puts .*_adapter.down into a T5"),
        ("dept", "puts .* into a T5"),
        ("warp", "puts .* into a T5"),
    ],
)
def test_what_peft_cannot_hold_is_not_written(tmp_path, name, why):
    with pytest.raises(UserError, match=f"is {name}, and .*{why}.*extra.safetensors"):
        saved(tmp_path, name)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "CAUSAL_LM"}, "task_type 'CAUSAL_LM'; only plain LORA of a T5"),
        ({"use_dora": True}, "use_dora 'True'"),
        ({"bias": "all"}, "bias 'all'"),
        ({"rank_pattern": {"q": 3}}, "rank_pattern"),
        ({"r": 0}, "r 0; it must be a number above 0"),
        ({"lora_alpha": None}, "lora_alpha None"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, changes, message):
    saved(tmp_path)
    change(tmp_path, **changes)
    for read in (exchange.load_extra, exchange.read_description):
        with pytest.raises(UserError, match=message):
            read(tmp_path / "adapter_model.safetensors")


def test_alpha_is_in_what_is_read(tmp_path):
    saved(tmp_path)
    before = exchange.load_extra(exchange.find_extra(tmp_path))
    change(tmp_path, lora_alpha=6)
    after = exchange.load_extra(exchange.find_extra(tmp_path))
    query = lambda extra: extra.encoder.self_attention.query  # noqa: E731
    np.testing.assert_allclose(query(after).up, 3 * query(before).up)
    np.testing.assert_array_equal(query(after).down, query(before).down)


@pytest.mark.parametrize("what", ["another kernel", "a layer less"])
def test_other_kernels_or_layers_are_refused(tmp_path, what):
    file = saved(tmp_path) / "adapter_model.safetensors"
    tensors = safetensors.load_file(file)
    name = "base_model.model.decoder.block.1.layer.0.SelfAttention.q.lora_A.weight"
    if what == "another kernel":
        tensors[name.replace(".q.", ".k.")] = tensors[name]
    else:
        del tensors[name.replace("block.1", "block.0")]
    safetensors.save_file(tensors, file)
    with pytest.raises(UserError, match=r"holds .*q and v of every layer"):
        exchange.load_extra(file)


def test_a_mixture_of_prompts_is_refused(tmp_path):
    mixed = Extra(prompt_weights=np.zeros(3, np.float32))
    with pytest.raises(UserError, match=r"no adapter of PEFT's is a mixture of sev"):
        exchange.save_peft_extra(tmp_path, mixed, {"method": "soft_words"})


def test_a_prompts_folder_is_no_such_one(tmp_path):
    exchange.save_peft(tmp_path, tiny.prompt(), {})
    assert exchange.find_extra(tmp_path) is None
    with pytest.raises(UserError, match="peft_type 'LORA'"):
        exchange.load_prompt(saved(tmp_path / "lora"))
