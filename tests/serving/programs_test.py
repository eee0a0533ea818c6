"""The compiled programs answer a mixed batch as each prompt alone would."""

import jax
import numpy as np
import pytest
import serve
import tiny

from prompt_tuning import partitioning
from prompt_tuning.t5 import decoding, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import predictor
from prompt_tuning.training.task import encode_rows, label_ids

LENGTHS = (1, 20, 100, 150)
PLACES = {"prefix": placing.prefix, "suffix": placing.suffix}
LABELS = ("food", "bird", "a big tool")


@pytest.fixture(scope="module", params=[(1, 8), (4, 2)], ids=["one", "mesh"])
def model(request):
    """With prompts of each length in each place."""
    model = serve.model(*request.param)
    for seed, (length, place) in enumerate(mix()):
        serve.put(model, f"{place} {length}", length, place, seed)
    return model


def mix():
    return [(length, place) for length in LENGTHS for place in PLACES]


@pytest.fixture(scope="module")
def rows():
    """Texts of 1 to 60 words, each for a prompt, shuffled."""
    rng = np.random.default_rng(0)
    rows = [
        (serve.text(rng, words), number, *one)
        for number, one in enumerate(mix())
        for words in (1, int(rng.integers(2, 60)))
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


@pytest.fixture(scope="module")
def alone(rows):
    """{row: (its tokens, its labels' scores)} by the evaluation's programs.

    Each prompt has a batch of its own, whose length no other prompt has.
    """
    mesh, params = partitioning.mesh(1, 8), serve.params()
    greedy = predictor.make_predict_fn(serve.NETWORK, mesh, 6)
    score = jax.jit(decoding.label_scores, static_argnums=0)
    ids = label_ids(LABELS, serve.VOCABULARY)
    found = {}
    for number, (length, place) in enumerate(mix()):
        own = [i for i, row in enumerate(rows) if row[1] == number]
        inputs_NxT, _ = encode_rows([rows[i][0] for i in own], serve.VOCABULARY, 90)
        extra = Extra(PLACES[place](serve.vectors(length, number)))
        tokens = greedy(params, extra)(inputs_NxT)
        scores = score(serve.NETWORK, params, inputs_NxT, extra, ids)
        found |= dict(zip(own, zip(tokens, scores, strict=True), strict=True))
    return found


def test_a_mixed_batch_is_answered_as_by_each_prompt_alone(model, rows, alone):
    texts = [text for text, *_ in rows]
    names = [f"{place} {length}" for _, _, length, place in rows]
    answers = model.generate(texts, names)
    scores_NxL = model.score(texts, LABELS, names)
    ends = set()
    for i, (tokens, scores) in alone.items():
        np.testing.assert_allclose(scores_NxL[i], scores, atol=2e-4, rtol=1e-5)
        (answer,) = answers[i]
        assert list(answer.tokens) == tokens[: len(answer.tokens)].tolist()
        assert not tokens[len(answer.tokens) :].any()
        assert answer.prompt_positions == rows[i][2]
        assert (answer.finish == "stop") == (1 in tokens)
        ends.add(len(answer.tokens))
    assert len(ends) > 2


def test_beams_of_a_mixed_batch_are_likelier(model, rows):
    texts = [text for text, *_ in rows[:8]]
    names = [f"{place} {length}" for _, _, length, place in rows[:8]]
    greedy, gained = model.generate(texts, names), 0.0
    for (best, _), (plain,) in zip(
        model.generate(texts, names, beams=3, answers=2), greedy, strict=True
    ):
        gained += sum(best.log_probs) - sum(plain.log_probs)
    assert gained > 0, "mostly, as a beam may lose what greedy decoding finds"


def test_adding_and_removing_prompts_compiles_nothing(model, rows):
    texts, names = [row[0] for row in rows[:8]], ["suffix 20"] * 8
    model.generate(texts, names)
    model.score(texts, LABELS, names)
    serve.put(model, "one more", 5)
    with tiny.compilations() as compilations:
        for seed in range(20):
            serve.put(model, f"new {seed}", seed + 1, "suffix", seed)
        model.generate(texts, [f"new {seed + 12}" for seed in range(8)])
        for seed in range(20):
            model.remove(f"new {seed}")
        serve.put(model, "one more", 20, "prefix", 7)
        model.generate(texts, ["one more", "prefix 1"] * 4)
        model.generate(texts, names, temperature=[0.0, 0.9] * 4, top_p=0.5, seed=3)
        model.score(texts, LABELS, "one more")
    assert not compilations
    model.remove("one more")
