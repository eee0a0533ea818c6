"""PEFT serves LoRA and IA3 that were tuned here, and what it tuned is read."""

import json

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import exchange, methods, partitioning
from prompt_tuning.frozen import conversion, description, vocabulary, weights
from prompt_tuning.method_settings import Lora
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

pytestmark = pytest.mark.slow

MODEL = "pocket_nano"
NETWORK = network.Transformer(description.config(MODEL, {}))
BATCH = tiny.batch(examples=3, inputs=7, targets=5)
OPTIONS = {"lora": {"lora": Lora(rank=4, alpha=12)}, "ia3": {}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(torch, peft, a function that makes the model as transformers loads it)."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("served") / "model"
    pocket = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    conversion.to_hugging_face(MODEL, NETWORK, pocket, folder)
    load = transformers.AutoModelForSeq2SeqLM.from_pretrained
    return torch, peft, lambda: load(folder).eval()


@pytest.fixture(scope="module")
def params():
    return jax.device_get(weights.load_frozen(MODEL, NETWORK, partitioning.mesh()))


def ours(params, extra):
    return np.asarray(jax.jit(NETWORK.apply)({"params": params}, BATCH, extra))


def theirs(torch, model):
    tokens = {k: torch.as_tensor(x.astype(np.int64)) for k, x in BATCH.items()}
    inputs = tokens["encoder_input_tokens"]
    with torch.no_grad():
        return model(
            input_ids=inputs,
            attention_mask=(inputs != 0).long(),
            decoder_input_ids=tokens["decoder_input_tokens"],
        ).logits.numpy()


def far_from_its_start(params, name, seed=0):
    """What a method's run would ship, with random values added."""
    method = methods.of(Settings(Run(method=name), **OPTIONS[name]))
    rng = np.random.default_rng(seed)
    trained = jax.tree.map(
        lambda x: np.float32(x + rng.normal(0, 0.1, x.shape)),
        method.init(jax.random.key(0), params, methods.Start((), list)),
    )
    return jax.device_get(method.fold(trained, params)[1])


@pytest.mark.parametrize("name", OPTIONS)
def test_peft_answers_as_we_do_with_what_was_tuned_here(served, params, tmp_path, name):
    torch, peft, load = served
    extra = far_from_its_start(params, name)
    said = {"method": name, "ships_extra": True, "frozen_model": MODEL}
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
