"""OpenAI's requests and answers, token by token."""

import math

import numpy as np
import pydantic
import pytest
import scipy.special
from fake_model import Answer, Characters
from hypothesis import given, settings, strategies

from prompt_tuning.frozen import vocabulary, weights
from prompt_tuning.serving import shapes
from prompt_tuning.serving.refusals import Refusal

POCKET = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
BYTES = vocabulary.load_vocabulary("byt5")


def answer(text, finish="stop"):
    tokens = (*Characters().encode(text), *([1] if finish == "stop" else []))
    return Answer(text, tokens, tuple(-i / 8 for i in range(len(tokens))), finish, 4, 9)


def choice(text, *stops, echoed="", finish="stop"):
    given = answer(text, finish)
    return shapes.choice(0, given, Characters().decode, stops, echoed)


@settings(max_examples=200, deadline=None)
@given(strategies.lists(strategies.integers(2, POCKET.vocab_size - 1), max_size=12))
def test_the_parts_of_an_answer_make_its_text(ids):
    parts = shapes.parts_of([*ids, 1], POCKET.decode)
    assert "".join(parts) == POCKET.decode(ids)
    assert len(parts) == len(ids) + 1 and parts[-1] == ""


def test_a_part_has_the_space_in_front_of_it():
    parts = shapes.parts_of(POCKET.encode("the cat is there"), POCKET.decode)
    assert parts[0][0] != " " and any(part.startswith(" ") for part in parts[1:])


def test_a_character_of_several_tokens_is_told_with_the_last_of_them():
    ids = BYTES.encode("aé€")
    assert shapes.parts_of(ids, BYTES.decode) == ["a", "", "é", "", "", "€"]


def test_a_stop_ends_the_answer_in_front_of_it():
    one = choice("yes. no. perhaps", ". ", "no")
    assert ("".join(one.parts), one.finish) == ("yes", "stop")
    assert len(one.log_probs) == len(one.parts) == 3
    assert choice("yes", "yes").parts == []
    assert "".join(choice("yes", "x", finish="length").parts) == "yes"
    assert choice("yes", "x", finish="length").finish == "length"
    assert choice("long", "n", finish="length").finish == "stop"


def test_a_stop_within_a_token_cuts_the_token():
    given = Answer("one two", (5, 6), (-1.0, -2.0), "length", 3, 1)
    texts = {(5,): "one", (5, 6): "one two"}
    one = shapes.choice(0, given, lambda ids: texts[tuple(ids)], ["wo"])
    assert one.parts == ["one", " t"] and one.log_probs == [-1, -2]


def test_log_probabilities_are_in_openais_four_lists():
    told = shapes.choice_json(choice("ab", echoed="in: "), logprobs=1)
    assert told == {
        "index": 0,
        "text": "in: ab",
        "finish_reason": "stop",
        "logprobs": {
            "tokens": ["a", "b", ""],  # the last is EOS
            "token_logprobs": [0, -0.125, -0.25],
            "top_logprobs": [{"a": 0}, {"b": -0.125}, {"": -0.25}],
            "text_offset": [4, 5, 6],
        },
    }
    assert shapes.choice_json(choice("ab"), 0)["logprobs"]["top_logprobs"] is None
    assert shapes.choice_json(choice("ab"), None)["logprobs"] is None


@pytest.mark.parametrize("logprobs", [None, 0, 1])
def test_a_streams_chunks_add_up_to_the_whole(logprobs):
    one = choice("the end", echoed="in: ")
    whole, chunks = shapes.choice_json(one, logprobs), shapes.chunks(one, logprobs)
    assert "".join(chunk["text"] for chunk in chunks) == whole["text"]
    reasons = [chunk["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    if logprobs is not None:
        told = [chunk["logprobs"] for chunk in chunks if chunk["logprobs"]]
        for name, value in whole["logprobs"].items():
            joined = [value for each in told for value in each[name] or []]
            assert joined == (value or [])


def test_usage_counts_a_text_once_and_its_prompt_apart():
    two = [answer("abc"), answer("d")]
    assert shapes.usage([two, [answer("")]]) == {
        "prompt_tokens": 8,
        "completion_tokens": 4 + 2 + 1,
        "total_tokens": 15,
        "prompt_positions": 18,
    }


def test_probabilities_of_labels_are_the_softmax_of_their_scores():
    scores = np.array([-700.5, -701.25, -720.0], np.float32)
    told = shapes.classified(3, ("a", "b", "c"), scores.tolist())
    np.testing.assert_allclose(told["probs"], scipy.special.softmax(scores), rtol=1e-6)
    assert math.isclose(sum(told["probs"]), 1)
    assert (told["index"], told["label"], told["num_classes"]) == (3, "a", 3)
    assert told["logprobs"] == scores.tolist()


def test_each_answer_has_a_seed_of_its_own():
    assert shapes.seed_of(7, 0) == 7
    seeds = [shapes.seed_of(seed, n) for seed in (-(2**63), 0, 2**40) for n in range(9)]
    assert len(set(seeds)) == 27 - 2, "2**40 and -2**63 are 0, folded"
    assert all(0 <= seed < 2**31 for seed in seeds)


GOOD = {"model": "m", "prompt": "t"}


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": ["a", ""], "max_tokens": 5, "temperature": 1, "top_p": 0.5, "n": 2},
        {"stop": ["a"], "logprobs": 1, "echo": True, "seed": -1, "user": "u"},
        {"stream": True, "stream_options": {"include_usage": True}, "best_of": 1},
        {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
        {"suffix": None, "stop": None, "temperature": None, "n": None},
    ],
)
def test_a_right_request_is_taken(more):
    shapes.Completion.model_validate(GOOD | more).check()


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": [1, 2]},
        {"prompt": []},
        {"prompt": [["a"]]},
        {"max_tokens": 0},
        {"max_tokens": 2.5},
        {"temperature": "1"},
        {"temperature": 2.1},
        {"temperature": math.nan},
        {"top_p": 0},
        {"n": True, "temperature": 1},
        {"n": 129, "temperature": 1},
        {"stop": ""},
        {"stop": ["a"] * 5},
        {"logprobs": 2},
        {"seed": 2**63},
        {"stream": 1},
        {"suffix": "after"},
        {"frequency_penalty": 0.1},
        {"logit_bias": {"5": 1}},
        {"no_such": 1},
        {"n": 2},
        {"logprobs": 1, "temperature": 1},
        {"best_of": 2},
        {"stream_options": {"include_usage": True}},
    ],
)
def test_a_wrong_request_is_refused(more):
    with pytest.raises((pydantic.ValidationError, Refusal)):
        shapes.Completion.model_validate(GOOD | more).check()


def test_labels_are_two_or_more_different_texts():
    asked = {"model": "m", "input": "t"}
    shapes.Classification.model_validate(asked | {"labels": ["a", "b"]}).check()
    for labels in (["a"], ["a", ""], ["a", "a"], "ab", [1, 2]):
        with pytest.raises((pydantic.ValidationError, Refusal)):
            shapes.Classification.model_validate(asked | {"labels": labels}).check()
