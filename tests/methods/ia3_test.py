"""IA3 has factors for each key, value and hidden activation, which start at 1."""

import jax
import numpy as np
import tiny

from prompt_tuning import methods
from prompt_tuning.settings import Run, Settings

START = methods.Start(class_words=(), encode=list)
FROZEN = tiny.params()
IA3 = methods.of(Settings(Run(method="ia3")))


def begun():
    return IA3.init(jax.random.key(0), FROZEN, START)


def logits(params, extra):
    return np.asarray(tiny.MODEL.apply({"params": params}, tiny.batch(), extra))


def test_it_starts_without_an_effect():
    plain = logits(FROZEN, tiny.extra())
    np.testing.assert_array_equal(logits(*IA3.bind(begun(), FROZEN)), plain)


def test_its_parameters_are_counted():
    config = tiny.CONFIG
    features = config.num_heads * config.head_dim
    attentions = config.num_encoder_layers + 2 * config.num_decoder_layers
    mlps = config.num_encoder_layers + config.num_decoder_layers
    expected = 2 * features * attentions + config.mlp_dim * mlps
    assert sum(leaf.size for leaf in jax.tree.leaves(begun())) == expected


def test_it_is_a_change_of_the_kernels_themselves():
    """Factors of the outputs of key and value, and of the inputs of wo."""
    trained = jax.tree.map(
        lambda x: np.random.default_rng(x.size).normal(1, 0.5, x.shape), begun()
    )
    merged = jax.tree.map(np.array, FROZEN)
    names = {
        "encoder": {"self_attention": "attention"},
        "decoder": {
            "self_attention": "self_attention",
            "cross_attention": "encoder_decoder_attention",
        },
    }
    for stack, attentions in names.items():
        for layer, scale_F in enumerate(trained[stack]["mlp"]):
            own = merged[stack][f"layers_{layer}"]
            own["mlp"]["wo"]["kernel"] *= scale_F[:, None].astype(np.float32)
            for name, called in attentions.items():
                for kind, scales in trained[stack][name].items():
                    own[called][kind]["kernel"] *= np.float32(scales[layer])[None]
    trained = jax.tree.map(np.float32, trained)
    got = logits(*IA3.bind(trained, FROZEN))
    np.testing.assert_allclose(got, logits(merged, tiny.extra()), atol=1e-4)
    assert np.abs(got - logits(FROZEN, tiny.extra())).mean() > 0.01
