"""PEFT serves what was tuned here, and what it tuned is read, with the same answers."""

import json
from pathlib import Path

import jax
import numpy as np
import outside
import pytest
import tiny

from prompt_tuning import exchange, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, vocabulary, weights
from prompt_tuning.t5 import decoding, network
from prompt_tuning.training.batching import pad

pytestmark = pytest.mark.slow

MODEL = "pocket_nano"
POCKET = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
LENGTH = 12  # tokens that are decoded
TEXTS = [
    "passage: mara lost a vulug at the lake. topic:",
    "passage: the bird sang. topic:",
    "a",
]
ROWS = [[*POCKET.encode(text), POCKET.eos_id] for text in TEXTS]
INPUTS = pad(ROWS, max(map(len, ROWS)))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(torch, peft, a function that makes the model as transformers loads it)."""
    return outside.library("peft", tmp_path_factory.mktemp("served") / "model")


def prompt(length, width, seed=1):
    """Vectors as large as the embeddings, so that they turn the answers."""
    return np.random.default_rng(seed).normal(size=(length, width)).astype(np.float32)


def ours(prompt_PxD):
    """(logits of a decoder input, greedy tokens) of the inputs behind the prompt."""
    model = network.Transformer(description.config(MODEL, {}))
    params = weights.load_frozen(MODEL, model, partitioning.mesh())
    params, extra = jax.device_get(params), tiny.extra(prompt_PxD)
    decode = jax.jit(decoding.greedy, static_argnums=(0, 4))
    tokens = np.asarray(decode(model, params, INPUTS, extra, LENGTH))
    batch = {
        "encoder_input_tokens": INPUTS,
        "decoder_input_tokens": np.pad(tokens, ((0, 0), (1, 0)))[:, :-1],
    }
    return jax.jit(model.apply)({"params": params}, batch, extra), tokens


def theirs(torch, model, tokens):
    inputs = torch.as_tensor(INPUTS.astype(np.int64))
    mask = (inputs != 0).long()
    decoder = torch.as_tensor(np.pad(tokens, ((0, 0), (1, 0)))[:, :-1].astype(np.int64))
    with torch.no_grad():
        logits = model(
            input_ids=inputs, attention_mask=mask, decoder_input_ids=decoder
        ).logits.numpy()
        found = model.generate(
            input_ids=inputs,
            attention_mask=mask,
            do_sample=False,
            num_beams=1,
            max_new_tokens=LENGTH,
        ).numpy()[:, 1:]
    return logits, np.pad(found, ((0, 0), (0, LENGTH - found.shape[1])))


def check_same(torch, model, prompt_PxD):
    logits, tokens = ours(prompt_PxD)
    their_logits, their_tokens = theirs(torch, model, tokens)
    real = tokens > 0
    np.testing.assert_allclose(their_logits[real], logits[real], atol=2e-4)
    np.testing.assert_array_equal(their_tokens, tokens)


@pytest.mark.parametrize("length", [1, 20])
def test_peft_answers_as_we_do_with_a_prompt_of_ours(served, tmp_path, length):
    torch, peft, load = served
    base = load()
    prompt_PxD = prompt(length, base.config.d_model)
    said = {"place": "prefix", "length": length, "frozen_model": MODEL}
    exchange.save_peft(tmp_path / "mine", prompt_PxD, said)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "mine").eval()
    check_same(torch, model, prompt_PxD)


@pytest.mark.parametrize("submodules", [1, 2])
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig"])
def test_what_peft_saved_answers_here_as_there(served, tmp_path, kind, submodules):
    """PromptEncoderConfig is P-tuning, which saves what its encoder makes."""
    torch, peft, load = served
    torch.manual_seed(0)
    more = {"encoder_hidden_size": 16} if kind == "PromptEncoderConfig" else {}
    config = getattr(peft, kind)(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=5,
        num_transformer_submodules=submodules,
        **more,
    )
    peft.get_peft_model(load(), config).save_pretrained(tmp_path)
    prompt_PxD = exchange.load_prompt(tmp_path)
    assert prompt_PxD.shape == (5, load().config.d_model)
    said = exchange.read_description(tmp_path)
    assert (said["method"], said["place"], said["length"]) == ("prompt", "prefix", 5)
    base = json.loads(Path(tmp_path, "adapter_config.json").read_text())
    assert said["frozen_model"] == base["base_model_name_or_path"]
    model = peft.PeftModel.from_pretrained(load(), tmp_path).eval()
    check_same(torch, model, prompt_PxD)


def test_prefix_tuning_is_no_prompt(served, tmp_path):
    _, peft, load = served
    config = peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5)
    peft.get_peft_model(load(), config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="peft_type 'PREFIX_TUNING'"):
        exchange.load_prompt(tmp_path)
