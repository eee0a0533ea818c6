"""LoRA changes queries and values by alpha / r times A B, and at first nothing."""

import jax
import numpy as np
import tiny

from prompt_tuning import methods
from prompt_tuning.method_settings import Lora
from prompt_tuning.settings import Run, Settings

START = methods.Start(class_words=(), encode=list)
FROZEN = tiny.params()
LORA = methods.of(Settings(Run(method="lora"), lora=Lora(rank=2, alpha=6)))
OUT = tiny.CONFIG.num_heads * tiny.CONFIG.head_dim


def begun():
    return LORA.init(jax.random.key(0), FROZEN, START)


def logits(params, extra):
    return np.asarray(tiny.MODEL.apply({"params": params}, tiny.batch(), extra))


def test_it_starts_without_an_effect():
    plain = logits(FROZEN, tiny.extra())
    np.testing.assert_array_equal(logits(*LORA.bind(begun(), FROZEN)), plain)


def test_its_parameters_are_counted():
    """r (D + H K) for each query and value, in every attention."""
    config, trained = tiny.CONFIG, jax.tree.leaves(begun())
    attentions = config.num_encoder_layers + 2 * config.num_decoder_layers
    expected = 2 * 2 * (config.emb_dim + OUT) * attentions
    assert sum(leaf.size for leaf in trained) == expected


def test_it_is_a_change_of_the_kernels_themselves():
    """The product beside the frozen one, against merged kernels: W + 3 A B."""
    trained = jax.tree.map(
        lambda x: np.random.default_rng(x.size).normal(0, 0.3, x.shape), begun()
    )
    merged = jax.tree.map(np.array, FROZEN)
    names = {"encoder": {"self_attention": "attention"}, "decoder": {}}
    names["decoder"] = {
        "self_attention": "self_attention",
        "cross_attention": "encoder_decoder_attention",
    }
    for stack, attentions in names.items():
        for name, own in attentions.items():
            for kernel, by in trained[stack][name].items():
                for layer, (down, up) in enumerate(
                    zip(by["down"], by["up"], strict=True)
                ):
                    changed = merged[stack][f"layers_{layer}"][own][kernel]
                    changed["kernel"] += (3 * down @ up).astype(np.float32)
    trained = jax.tree.map(np.float32, trained)
    got = logits(*LORA.bind(trained, FROZEN))
    np.testing.assert_allclose(got, logits(merged, tiny.extra()), atol=1e-4)
    assert np.abs(got - logits(FROZEN, tiny.extra())).mean() > 0.01
