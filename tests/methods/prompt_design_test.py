"""Prompt design: its text by hand, and that to the model it stands in the input."""

import collections

import by_hand
import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.method_settings import PromptDesign
from prompt_tuning.methods import Example, prompt_design
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import decoding, network
from prompt_tuning.t5.extra import Extra

MODEL = network.Transformer(by_hand.CONFIG)
FROZEN = tiny.params(MODEL)
YES, NO, MAYBE = (30,), (31,), (32, 33)
EXAMPLES = [
    Example(row, (10 + row, 20), label)
    for row, label in enumerate((YES, NO, YES, YES, NO, YES, MAYBE, YES, YES))
]


def start(labels=("yes", "no"), examples=EXAMPLES):
    """Words that are their ids."""
    return methods.Start((), list, label_words=labels, examples=lambda: examples)


def text(seed=0, begun=None, **options):
    own = PromptDesign(**{"instruction": [7, 8], "examples": 3, "tokens": 50} | options)
    return prompt_design.text(own, seed, begun or start())


@pytest.fixture(autouse=True)
def ids_for_words(monkeypatch):
    """An instruction may be token ids here."""
    monkeypatch.setattr(PromptDesign, "__post_init__", lambda self: None)


def begun(seed=0, **options):
    run = Run(method="prompt_design", seed=seed)
    options = {"instruction": [7, 8], "examples": 2} | options
    method = methods.of(Settings(run, prompt_design=PromptDesign(**options)))
    return method, method.init(jax.random.key(0), None, start())


def rows(seed=0, **options):
    return [one.row for one in text(seed, **options)[1]]


# The text


def test_the_instruction_comes_first_then_inputs_with_their_targets():
    ids, shown = text()
    assert len(shown) == 3 and {one.row for one in shown} <= set(range(9))
    assert ids == [7, 8, *(x for one in shown for x in (*one.inputs, *one.targets))]
    assert text(examples=0) == ([7, 8], []), "the training split is not asked for any"


def test_labels_take_turns_as_long_as_there_are_any():
    for seed in range(5):
        shown = text(seed, examples=6)[1]
        first, second = shown[:3], shown[3:]
        assert {one.targets for one in first} == {YES, NO, MAYBE}
        assert collections.Counter(one.targets for one in second) == {YES: 2, NO: 1}
        assert len({one.row for one in shown}) == 6
    orders = {tuple(one.targets for one in text(seed)[1]) for seed in range(20)}
    assert len(orders) > 3, "none is always the last"


def test_free_text_is_drawn_whatever_its_targets():
    free = start(labels=())
    firsts = [text(seed, free, examples=1)[1][0].row for seed in range(60)]
    assert collections.Counter(EXAMPLES[row].targets for row in firsts)[YES] > 25


def test_a_seed_draws_the_same_and_more_of_it_go_on():
    assert rows(3) == rows(3) and len({tuple(rows(seed)) for seed in range(9)}) > 4
    assert rows(3, examples=7)[:3] == rows(3)


def test_an_example_without_room_is_left_out_whole_and_told(capsys):
    """Room for 2 + 3 + 3 tokens; MAYBE takes 4, so that it is left out."""
    full = text(examples=6)[1]
    ids, shown = text(examples=6, tokens=8)
    assert len(ids) == 8 and [one for one in full if one in shown] == shown
    assert (
        "4 of 6 examples are left out: prompt_design.tokens" in capsys.readouterr().err
    )
    text(examples=6, tokens=50)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tokens": 1}, "is 2 tokens long, and prompt_design.tokens is 1"),
        ({"tokens": 4}, "none of the 3 examples that were drawn fits"),
        ({"examples": 10}, "is 10, but TRAIN_SPLIT has 9"),
    ],
)
def test_what_leaves_no_examples_is_refused(options, problem):
    with pytest.raises(UserError, match=problem):
        text(**options)


@pytest.mark.parametrize(
    ("run", "options", "problem"),
    [
        ({}, {"examples": 0}, "neither an instruction nor an example"),
        ({"prompt_place": "suffix"}, {}, "PROMPT_PLACE is 'suffix'"),
    ],
)
def test_settings_that_make_no_text_in_front_are_refused(run, options, problem):
    own = PromptDesign(**options)
    with pytest.raises(UserError, match=problem):
        methods.of(Settings(Run(method="prompt_design", **run), prompt_design=own))


def test_an_instruction_that_the_vocabulary_cannot_write_is_refused():
    vocabulary = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    for instruction, right in (("name the bird.", True), ("a\nb", False)):
        own = PromptDesign(instruction=instruction)
        settings = Settings(Run(method="prompt_design"), prompt_design=own)
        if right:
            assert methods.worded(settings, vocabulary) is settings
        else:
            with pytest.raises(UserError, match="turns into 'a b': give a text"):
                methods.worded(settings, vocabulary)


# To the model


def test_nothing_is_trained_and_a_description_says_what_is_shown():
    method, tree = begun()
    assert method.count(tree) == 0 and not method.trains and method.shares
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype("int32")}
    ids, shown = text(examples=2)
    said = method.says(tree, lambda ids: " ".join(map(str, ids)))
    own = [one.row for one in shown]
    assert said == {"text": " ".join(map(str, ids)), "shown": own}
    method, tree = begun(examples=0)
    assert method.says(tree, len) == {"text": 2, "shown": []}


def test_it_ships_the_embeddings_of_its_text_as_a_prompt():
    method, tree = begun()
    params, extra = method.fold(tree, FROZEN)
    assert params is None and extra.is_prompt
    table_VxD = FROZEN["token_embedder"]["embedding"]
    np.testing.assert_array_equal(extra.prompt.vectors, table_VxD[text(examples=2)[0]])
    assert method.bind(tree, FROZEN)[0] is FROZEN
    other = begun(seed=1)[1]
    assert np.asarray(other["ids"]).tolist() == text(1, examples=2)[0]


def test_labels_have_the_scores_of_the_text_in_the_input_by_hand():
    """T5 written out for one example, its tokens being text and input in one row."""
    method, tree = begun()
    inputs_BxT = np.array([[11, 12, 1], [13, 1, 0]], np.int32)
    labels_LxS = np.array([[30, 1, 0], [32, 33, 1]], np.int32)
    params, extra = method.bind(tree, FROZEN)
    found_BxL = decoding.label_scores(MODEL, params, inputs_BxT, extra, labels_LxS)
    for row, inputs in enumerate(inputs_BxT):
        whole = [*text(examples=2)[0], *inputs[inputs > 0].tolist()]
        for number, label in enumerate(labels_LxS):
            batch = {
                "encoder_input_tokens": np.array([whole]),
                "decoder_input_tokens": np.array([[0, *label[:-1]]]),
            }
            (logits_SxV,) = by_hand.by_hand(FROZEN, Extra(), batch)
            logits_SxV = np.asarray(logits_SxV, np.float64)
            total_S = np.log(np.exp(logits_SxV).sum(axis=-1))
            steps = [
                logits_SxV[i, token] - total_S[i]
                for i, token in enumerate(label.tolist())
                if token
            ]
            np.testing.assert_allclose(found_BxL[row, number], sum(steps), rtol=1e-4)
