"""P-tuning: its templates, its encoders by hand, and what it folds to."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.methods import p_tuning, prompt
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
START = methods.Start((), VOCABULARY.encode)
MODEL = network.Transformer(
    dataclasses.replace(tiny.CONFIG, vocab_size=VOCABULARY.vocab_size)
)
FROZEN = tiny.params(MODEL)
TABLE_VxD = FROZEN["token_embedder"]["embedding"]
RUN = Run(prompt_length=5)
TEMPLATE = "[P*2] the bird {inputs} [P]"
WORDS = VOCABULARY.encode("the bird")


def settings(length=5, place="prefix", **options):
    run = Run(
        method="p_tuning",
        prompt_length=length,
        prompt_init="random_uniform",
        prompt_place=place,
    )
    own = method_settings.PTuning(**{"hidden": 3} | options)
    return methods.worded(Settings(run, p_tuning=own), VOCABULARY)


def begun(**options):
    method = methods.of(settings(**options))
    return method, method.init(jax.random.key(0), FROZEN, START)


# Templates


def test_a_template_becomes_ids_with_places():
    length = 3 + len(WORDS)
    found = settings(length=length, template=TEMPLATE).p_tuning.tokens
    assert found == (-1, -1, *WORDS, -2, -1)
    assert settings().p_tuning.tokens == (), "all at PROMPT_PLACE"
    again = methods.worded(settings(length=length, template=TEMPLATE), VOCABULARY)
    assert again.p_tuning.tokens == found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"template": "[P*3] [P*2]"}, "must have {inputs} once"),
        ({"template": "{inputs} [P*5] {inputs}"}, "must have {inputs} once"),
        ({"template": "the bird {inputs}"}, r"and \[P\] or \[P\*3\]"),
        ({"template": "[P*x] {inputs}"}, r"'\[P\*x\]', which is neither"),
        ({"template": "[P*4] \uff21 {inputs}"}, "nor text that the vocabulary can"),
        ({"template": "[P*3] {inputs}"}, r"takes 3 positions.* set PROMPT_LENGTH=3"),
        ({"template": "[P*5] {inputs}", "place": "suffix"}, "leave one of them out"),
        ({"tokens": (-1, -2)}, "leave p_tuning.tokens out"),
    ],
)
def test_a_template_that_cannot_be_is_refused(options, problem):
    with pytest.raises(UserError, match=problem):
        settings(**options)


# Encoders


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(layer, rows):
    """The states of an LSTM after each row, as its authors write it."""
    hidden = cell = np.zeros(len(layer["recurrent"]))
    found = []
    for row in rows:
        gates = row @ layer["kernel"] + hidden @ layer["recurrent"] + layer["bias"]
        into, keep, new, out = np.split(gates, 4)
        cell = sigmoid(keep) * cell + sigmoid(into) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
        found.append(hidden)
    return np.array(found)


def by_hand(trained):
    x = trained["vectors"]
    for number in range(2 * ("lstm_0_forward" in trained)):
        ahead = lstm(trained[f"lstm_{number}_forward"], x)
        back = lstm(trained[f"lstm_{number}_backward"], x[::-1])[::-1]
        x = np.concatenate([ahead, back], axis=1)
    last = max(int(name[6:]) for name in trained if name.startswith("dense"))
    for number in range(last + 1):
        layer = trained[f"dense_{number}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = np.maximum(x, 0) if number < last else x
    return x


@pytest.mark.parametrize("encoder", ["lstm", "mlp"])
def test_an_encoder_by_hand(encoder):
    _, trained = begun(encoder=encoder)
    rng = np.random.default_rng(0)
    wide = jax.tree.map(lambda x: rng.normal(size=x.shape), trained)
    found = p_tuning.encoded(jax.tree.map(np.float32, wide))
    np.testing.assert_allclose(found, by_hand(wide), rtol=1e-4, atol=1e-4)


def test_their_parameters():
    def count(**options):
        return sum(leaf.size for leaf in jax.tree.leaves(begun(**options)[1]))

    width, hidden = tiny.CONFIG.emb_dim, 3
    own = 5 * width
    mlp = [(width, hidden), (hidden, hidden), (hidden, width)]
    assert count(encoder="mlp") == own + sum(a * b + b for a, b in mlp)
    recurrent = [4 * hidden * (size + hidden + 1) for size in (width, 2 * hidden)]
    mlp = [(2 * hidden, 2 * hidden), (2 * hidden, width)]
    expected = own + 2 * sum(recurrent) + sum(a * b + b for a, b in mlp)
    assert count(encoder="lstm") == expected
    wide = begun(hidden=0)[1]["lstm_1_backward"]["kernel"]
    assert wide.shape == (width, 4 * width // 2), "as wide as the model, both ways"


# What it folds to


def test_the_words_stand_among_the_vectors_as_they_are_embedded():
    method, trained = begun(length=3 + len(WORDS), template=TEMPLATE)
    assert trained["vectors"].shape == (3, 16)
    params, extra = method.bind(trained, FROZEN)
    vectors_NxD = np.asarray(p_tuning.encoded(trained))
    rows = [*vectors_NxD[:2], *TABLE_VxD[WORDS], vectors_NxD[2]]
    assert params is FROZEN
    np.testing.assert_allclose(extra.prompt.vectors, np.array(rows), rtol=1e-5)
    front = 2 + len(WORDS)
    assert extra.prompt.before.tolist() == [0] * front + [-1]
    assert prompt.said(RUN, extra) == {"place": None, "in_front": front}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", {}),
        ("[P*5] {inputs}", {}),
        ("{inputs} [P*5]", {"place": None, "in_front": 0}),
        ("[P] {inputs} [P*4]", {"place": None, "in_front": 1}),
    ],
)
def test_a_description_says_where_the_vectors_stand_unless_it_is_prompt_place(
    template, said
):
    method, trained = begun(template=template)
    assert prompt.said(RUN, method.fold(trained, FROZEN)[1]) == said
    suffix = dataclasses.replace(RUN, prompt_place="suffix")
    at_the_end = prompt.placed(suffix, trained["vectors"])
    assert prompt.said(suffix, at_the_end) == {}


def test_of_embeddings_of_a_text_it_is_that_text():
    """Vectors and words around an input, or the same tokens in it: one encoding."""
    method, trained = begun(length=3 + len(WORDS), template=TEMPLATE)
    ids = [40, 41, 42]
    mute = jax.tree.map(np.zeros_like, trained)
    mute["vectors"] = trained["vectors"]
    last = f"dense_{sum(name.startswith('dense') for name in mute) - 1}"
    mute[last]["bias"] = TABLE_VxD[40]  # every vector is this embedding
    params, extra = method.bind(mute, FROZEN)
    inputs = np.array([[7, 8, 1]])
    soft, _ = MODEL.apply({"params": params}, inputs, extra, method="encode")
    hard = np.array([[ids[0], ids[0], *WORDS, 7, 8, ids[0], 1]])
    hard, _ = MODEL.apply({"params": params}, hard, tiny.extra(), method="encode")
    np.testing.assert_allclose(soft, hard, atol=1e-5)


def test_with_the_model_its_weights_are_trained_and_embed_the_words():
    length = 3 + len(WORDS)
    method, trained = begun(length=length, template=TEMPLATE, with_model=True)
    assert not method.shares
    assert not jax.tree.leaves(methods.left_frozen(FROZEN, trained))
    doubled = jax.tree.map(lambda x: 2 * x, trained["params"])
    params, extra = method.bind(trained | {"params": doubled}, None)
    assert params is doubled
    np.testing.assert_allclose(extra.prompt.vectors[2], 2 * TABLE_VxD[WORDS[0]])
