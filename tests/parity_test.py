"""Against T5X with the released prompt code, on T5X's tiny checkpoint in ../shared."""

import json

import jax
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import exchange, partitioning
from prompt_tuning.frozen import weights
from prompt_tuning.settings import Adafactor
from prompt_tuning.t5 import network
from prompt_tuning.training import losses, optimizer

CONFIG = network.T5Config(
    vocab_size=32_128,
    emb_dim=4,
    num_heads=2,
    head_dim=2,
    mlp_dim=8,
    num_encoder_layers=2,
    num_decoder_layers=2,
    relpos_buckets=4,
    relpos_max_distance=8,
)
MODEL = network.Transformer(CONFIG)


@pytest.fixture(scope="module")
def t5x(shared):
    """(T5X's answers as arrays, where targets are real, prompt -> loss, gradient)."""
    file = shared / "golden/tiny_t5x.json"
    checkpoint = shared / "data/t5/test_t5_1_1_tiny/checkpoint_3"
    for path in (file, checkpoint):
        if not path.exists():
            pytest.skip(f"there is no ../shared/{path.relative_to(shared)}")
    stored = json.loads(file.read_text())
    answers = {k: np.array(v) for k, v in stored.items() if k != "about"}
    answers["prompt"] = answers["prompt"].astype(np.float32)
    batch = {name: tokens for name, tokens in answers.items() if "_tokens" in name}
    targets = batch["decoder_target_tokens"]
    params = weights.load_frozen(str(checkpoint), MODEL, partitioning.mesh())
    params = jax.device_get(params)  # one device compiles faster than eight

    def loss(prompt):
        logits = MODEL.apply({"params": params}, batch, tiny.extra(prompt))
        return losses.cross_entropy(logits, targets, targets > 0)[0], logits

    return answers, targets > 0, jax.jit(jax.value_and_grad(loss, has_aux=True))


def test_logits_loss_and_prompt_gradient_are_t5xs(t5x):
    answers, real, loss_and_gradient = t5x
    (value, logits), gradient = loss_and_gradient(answers["prompt"])
    # T5X masks the decoder where targets are padding; these positions carry no loss.
    np.testing.assert_allclose(
        logits[..., :16][real], answers["logits_first_16_ids"][real], atol=1e-4
    )
    np.testing.assert_allclose(
        jax.nn.logsumexp(logits, axis=-1)[real], answers["logsumexp"][real], atol=1e-4
    )
    np.testing.assert_allclose(value, answers["loss"], rtol=1e-6)
    error = np.linalg.norm(gradient - answers["prompt_gradient"])
    assert error < 1e-4 * np.linalg.norm(answers["prompt_gradient"])


@pytest.mark.parametrize("step_offset", [0, 1_100_000])
def test_three_adafactor_steps_are_t5xs(t5x, step_offset):
    """0 is a clock that starts with the prompt, 1,100,000 the restored checkpoint's."""
    answers, _, loss_and_gradient = t5x
    adafactor = optimizer.adafactor(0.3, Adafactor(step_offset=step_offset))
    prompt = answers["prompt"]
    state = adafactor.init(prompt)
    for expected in answers[f"prompts_after_steps_from_{step_offset}"]:
        _, gradient = loss_and_gradient(prompt)
        updates, state = jax.jit(adafactor.update)(gradient, state, prompt)
        prompt = optax.apply_updates(prompt, updates)
        np.testing.assert_allclose(prompt, expected, atol=1e-5)


def test_a_released_prompt_goes_into_a_model_as_wide_as_base(shared):
    """100 x 768 float32, with the norms that paper.md reports of the three files."""
    files = sorted((shared / "data/t5/prompts").rglob("*.npy"))
    if not files:
        pytest.skip("there is no ../shared/data/t5/prompts")
    base = network.T5Config(
        vocab_size=64,
        emb_dim=768,
        num_heads=12,
        head_dim=64,
        mlp_dim=2048,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    model = network.Transformer(base)
    params = partitioning.init_params(model, jax.random.key(0), partitioning.mesh())
    apply = jax.jit(model.apply)
    tokens = {
        "encoder_input_tokens": np.array([[5, 9, 1]]),
        "decoder_input_tokens": np.array([[0, 7]]),
    }
    seen = []
    for file in files:
        prompt = exchange.load_prompt(file)
        assert prompt.shape == (100, 768)
        assert 800 < np.linalg.norm(prompt, axis=1).mean() < 1400
        seen.append(np.asarray(apply({"params": params}, tokens, tiny.extra(prompt))))
        assert np.isfinite(seen[-1]).all()
    assert np.abs(seen[0] - seen[1]).max() > 0.01, "the prompt matters"
