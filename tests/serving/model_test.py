"""What a caller sees of a model with many prompts."""

import doctest
import json

import jax
import numpy as np
import pytest
import serve
import tiny

import prompt_tuning
from prompt_tuning.errors import UserError
from prompt_tuning.t5 import decoding, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import batching
from prompt_tuning.training.task import encode_rows

TEXTS = ["the robin sang", "a hammer", "food in the barn", "is it"]


@pytest.fixture(scope="module")
def model():
    model = serve.model()
    serve.put(model, "free", 7, seed=1)
    words = {"label_words": ("bird", "tool"), "decoding": "labels"}
    serve.put(model, "kind", 20, "suffix", 2, **words)
    more = {"label_words": ("yes", "no", "who knows that"), "decoding": "labels"}
    serve.put(model, "mood", 3, "prefix", 3, **more)
    return model


def test_the_example_of_load_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(prompt_tuning)
    assert found.attempted > 10 and not found.failed


def test_settings_of_load_are_those_of_gin():
    with pytest.raises(UserError, match="'no'"):
        prompt_tuning.load("no")
    with pytest.raises(UserError, match="NO_SUCH"):
        prompt_tuning.load("pocket_nano", NO_SUCH=1)
    kept = prompt_tuning.load("pocket_nano", **{"T5Config.param_dtype": "int8"})
    kept.put("none", np.zeros((0, 96)), serve.facts(0))
    (answer,) = kept.generate(["is a robin a bird?"], "none", most=3)[0]
    assert len(answer.tokens) == 3 or answer.finish == "stop"


def test_each_prompt_predicts_as_its_decoding_says(model):
    said = model.predict(TEXTS, ["kind", "free", "mood", "kind"])
    assert said[0] in ("bird", "tool") and said[3] in ("bird", "tool")
    assert said[2] in ("yes", "no", "who knows that")
    assert said[1] == model.generate(TEXTS[1:2], "free")[0][0].text


def test_probabilities_are_those_of_the_labels_alone(model):
    names = ["kind", "mood", "kind", "mood"]
    found = model.classify(TEXTS, names)
    scores_NxL = model.score(TEXTS, None, names)
    for name, scores_L, p in zip(names, scores_NxL, found, strict=True):
        words = model.prompt(name).label_words
        assert tuple(p) == words and sum(p.values()) == pytest.approx(1)
        assert np.isneginf(scores_L[len(words) :]).all()
        odds = np.log(p[words[0]] / p[words[1]])
        assert odds == pytest.approx(scores_L[0] - scores_L[1], rel=1e-4)
    own = model.score(TEXTS, [["bird"], ["no", "yes"]] * 2, names)
    np.testing.assert_allclose(own[1, :2], scores_NxL[1, 1::-1], atol=1e-5)
    with pytest.raises(UserError, match="'free' has no label words"):
        model.classify(TEXTS, "free")
    with pytest.raises(UserError, match="must be a list of texts"):
        model.score(TEXTS, "bird", "free")


def test_the_log_probabilities_of_an_answer_are_those_of_its_tokens(model):
    answers = model.generate(TEXTS, "free", temperature=0.5, seed=range(4), most=8)
    score = jax.jit(decoding.label_scores, static_argnums=0)
    extra = Extra(placing.prefix(serve.vectors(7, 1)))
    inputs_NxT, _ = encode_rows(TEXTS, serve.VOCABULARY)
    tokens = batching.pad([answer.tokens for (answer,) in answers], 8)
    given = serve.NETWORK, serve.params(), inputs_NxT, extra, tokens[:, None]
    for (answer,), (total,) in zip(answers, score(*given), strict=True):
        assert len(answer.log_probs) == len(answer.tokens) <= 8
        assert (answer.finish == "stop") == (answer.tokens[-1] == 1)
        assert sum(answer.log_probs) == pytest.approx(float(total), abs=1e-3)


def test_several_answers_are_drawn_or_the_likeliest_of_a_beam(model):
    drawn = model.generate(TEXTS, "free", temperature=1.0, answers=3, seed=5)
    assert [len(each) for each in drawn] == [3] * 4
    assert len({answer.tokens for answer in drawn[0]}) > 1
    # Whatever else is asked for.
    again = model.generate(TEXTS[2:3], "free", temperature=1.0, answers=2, seed=5)
    assert [x.tokens for x in again[0]] == [x.tokens for x in drawn[2][:2]]
    beam = model.generate(TEXTS, "free", answers=2, beams=8)
    greedy, gained = model.generate(TEXTS, "free"), 0.0
    for (best, second), (plain,) in zip(beam, greedy, strict=True):
        assert sum(best.log_probs) >= sum(second.log_probs)
        gained += sum(best.log_probs) - sum(plain.log_probs)
    assert gained > 0, "mostly, as a beam may lose what greedy decoding finds"


def test_long_texts_are_cut_and_counted(model):
    before = model.truncated
    (answer,) = model.generate(["the robin " * 400], "free", most=1)[0]
    assert answer.input_tokens == 512 == model.limit("free")
    assert model.truncated == before + 1
    assert model.generate([], []) == [] == model.predict([], [])


def test_prompts_come_and_go_by_name(model):
    assert model.names == ("free", "kind", "mood")
    assert model.prompt("kind").place == "suffix" and model.prompt("free").length == 7
    for call in (model.prompt, model.remove, lambda name: model.predict(["a"], name)):
        with pytest.raises(UserError, match="no prompt 'no'; there are 'free', 'kind'"):
            call("no")
    with pytest.raises(UserError, match="prompts has 1 values for 2 texts"):
        model.predict(["a", "b"], ["free"])
    with pytest.raises(UserError, match="a prompt's name is ''"):
        serve.put(model, "", 3)


def test_what_is_compiled_ahead_is_not_compiled_again():
    model = serve.model(layer_norm_epsilon=1e-5)  # a network of its own
    serve.put(model, "free", 7)
    serve.put(model, "kind", 20, label_words=("bird", "tool"))
    model.compile([50], 4, most=6, labels=True)
    with tiny.compilations() as compilations:
        model.generate(TEXTS, ["free", "kind"] * 2, temperature=[0, 0, 1, 1])
        model.generate(TEXTS[:1], "free")
        model.classify(TEXTS[:3], "kind")
    assert not compilations
    with pytest.raises(UserError, match="must be a multiple"):
        serve.model(8, 1).compile([50], 3)


def test_a_run_is_added_with_what_it_says(run, frozen):
    model = prompt_tuning.load(frozen, BATCH_SIZE=8)
    model.add("kind", run)
    model.add("labels", run / "checkpoints" / "8", decoding="labels")
    facts = model.prompt("kind")
    assert (facts.length, facts.task, facts.place) == (4, "small_kind", "prefix")
    rows = [json.loads(line) for line in (run / "predictions.jsonl").open()]
    texts = [row["inputs"] for row in rows]
    assert model.predict(texts, "kind") == [row["prediction"] for row in rows]
    assert set(model.predict(texts, "labels")) <= set(facts.label_words)


# Each is cut where the answer begins; none is from a book.
ENGLISH = """
The old man sat by the fire and told | us how he had lost his ship in the storm.
She opened the door of the house, and | there stood her brother with his hat in hand.
In the morning they went to the river, for | they wished to see the boats go by.
It was late in the evening when the king | returned to the city with all his men.
I do not know, said the doctor, but I | shall be very glad to help you if I can.
The price of bread is high this year, because | there was so little rain in the summer.
He had never been so happy in his life, and | he thought that he would never be again.
The children ran across the field, and | their mother called after them.
"""


def test_the_model_of_english_tells_a_sentence_from_its_words_reversed():
    model = prompt_tuning.load("pocket_english")
    model.put("none", np.zeros((0, 256)), serve.facts(0))
    pairs = [line.split(" | ") for line in ENGLISH.strip().splitlines()]
    ends = [(end, " ".join(reversed(end.split()))) for _, end in pairs]
    found = model.score([start for start, _ in pairs], ends, "none")
    assert (found[:, 0] > found[:, 1] + np.log(1_000)).all(), found
    # Before LM adaptation a T5 answers with sentinels (paper section 3.2).
    corrupted = prompt_tuning.load("pocket_english_lm0")
    corrupted.put("none", np.zeros((0, 256)), serve.facts(0))
    assert all("<extra_id_0>" in a for a in corrupted.predict([*ends[0]], "none"))
    assert not any("<extra_id_" in a for a in model.predict([*ends[0]], "none"))
