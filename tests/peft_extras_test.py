"""PEFT serves LoRA and IA3 that were tuned here, and what it tuned is read."""

import json

import jax
import numpy as np
import outside
import pytest
import tiny

from prompt_tuning import exchange, methods
from prompt_tuning.method_settings import Lora
from prompt_tuning.settings import Run, Settings

pytestmark = pytest.mark.slow

BATCH = tiny.batch(examples=3, inputs=7, targets=5)
OPTIONS = {"lora": {"lora": Lora(rank=4, alpha=12)}, "ia3": {}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(torch, peft, a function that makes the model as transformers loads it)."""
    return outside.library("peft", tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="module")
def params():
    return jax.device_get(outside.params())


def ours(params, extra):
    return np.asarray(jax.jit(outside.NETWORK.apply)({"params": params}, BATCH, extra))


def theirs(torch, model):
    with torch.no_grad():
        return outside.their_logits(torch, model, BATCH).numpy()


def far_from_its_start(params, name, seed=0):
    """What a method's run would ship, with random values added."""
    method = methods.of(Settings(Run(method=name), **OPTIONS[name]))
    trained = outside.far_from_its_start(method, params, seed)
    return jax.device_get(method.fold(trained, params)[1])


@pytest.mark.parametrize("name", OPTIONS)
def test_peft_answers_as_we_do_with_what_was_tuned_here(served, params, tmp_path, name):
    torch, peft, load = served
    extra = far_from_its_start(params, name)
    said = {"method": name, "ships_extra": True, "frozen_model": outside.MODEL}
    exchange.save_peft_extra(tmp_path, extra, said)
    model = peft.PeftModel.from_pretrained(load(), tmp_path).eval()
    expected = ours(params, extra)
    assert np.abs(expected - ours(params, methods.Extra())).max() > 0.1
    np.testing.assert_allclose(theirs(torch, model), expected, atol=2e-4)
    back = exchange.load_extra(exchange.find_extra(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, back, extra)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_peft_saved_answers_here_as_there(served, params, tmp_path, name):
    torch, peft, load = served
    torch.manual_seed(0)
    if name == "lora":
        config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=12)
    else:
        config = peft.IA3Config(task_type="SEQ_2_SEQ_LM")
    model = peft.get_peft_model(load(), config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    said = exchange.read_description(tmp_path)
    assert said["method"] == name and said["ships_extra"]
    options = {"lora.rank": 4, "lora.alpha": 12.0}
    assert said.get("options") == (options if name == "lora" else None)
    base = json.loads((tmp_path / "adapter_config.json").read_text())
    assert said["frozen_model"] == base["base_model_name_or_path"]
    extra = exchange.load_extra(exchange.find_extra(tmp_path))
    np.testing.assert_allclose(theirs(torch, model), ours(params, extra), atol=2e-4)
