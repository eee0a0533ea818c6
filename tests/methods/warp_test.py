"""WARP: vectors at any places, and rows of the label tokens' own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import Warp
from prompt_tuning.reproduce.experiments import parameters
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.t5.extra import END

FROZEN = tiny.params()
START = methods.Start((), list, label_words=((9, 5), (7, 5)))  # words are their ids


def begun(start=START, frozen=FROZEN, places=(), **changes):
    run = Run(method="warp", prompt_length=3, prompt_init="random_uniform", **changes)
    method = methods.of(Settings(run, warp=Warp(places)))
    return method, method.init(jax.random.key(0), frozen, start)


def test_its_parameters_are_those_of_figure_4():
    """(P + C) D, for two label tokens as there."""
    _, trained = begun(START._replace(label_words=((9,), (7,))))
    count = sum(leaf.size for leaf in jax.tree.leaves(trained))
    assert count == parameters.warp(tiny.CONFIG, 3)


def logits(model, params, extra):
    return np.asarray(model.apply({"params": params}, tiny.batch(), extra))


@pytest.mark.parametrize("changes", [{}, {"tied_head": True}, {"param_dtype": "int8"}])
def test_it_starts_as_prompt_tuning_does(changes):
    """T5 1.0's scaling of the outputs holds for the rows too."""
    changes = changes | {"scale_decoder_outputs": bool(changes)}
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, **changes))
    frozen = tiny.params(model)
    method, trained = begun(frozen=frozen)
    params, extra = method.bind(trained, frozen)
    assert params is frozen and extra.label_rows.ids.tolist() == [5, 7, 9]
    plain = logits(model, frozen, tiny.extra(trained["vectors"]))
    np.testing.assert_allclose(logits(model, frozen, extra), plain, atol=1e-4)


def test_rows_change_the_logits_of_their_tokens_alone():
    method, trained = begun()
    rows = {name: row + 1 for name, row in trained["rows"].items()}
    first, other = (
        logits(tiny.MODEL, FROZEN, method.bind(each, FROZEN)[1])
        for each in (trained, trained | {"rows": rows})
    )
    changed = np.flatnonzero(np.abs(first - other).max((0, 1)) > 0)
    assert changed.tolist() == [5, 7, 9]


def test_vectors_stand_where_they_are_asked_to():
    method, trained = begun(places=(0, 2, -1))
    prompt = method.bind(trained, FROZEN)[1].prompt
    assert prompt.before.tolist() == [0, 2, END] and prompt.before.dtype == jnp.int32
    assert begun()[0].fold(trained, None)[1].prompt.before.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"start": START._replace(label_words=())}, "pocket_kind names none: take a"),
        ({"places": (0, 1)}, r"warp.places is \(0, 1\); .* PROMPT_LENGTH=3 numbers"),
        ({"places": (0, 1, -2)}, r"warp.places is \(0, 1, -2\); it must have"),
        ({"places": (0, 1, 2), "prompt_place": "suffix"}, "leave one of them out"),
    ],
)
def test_what_it_cannot_train_is_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        begun(**changes)
