"""Answers come in the order of their rows, a few at a time."""

import itertools

import pytest
import serve

from prompt_tuning.errors import UserError
from prompt_tuning.serving import stream
from prompt_tuning.serving.inputs import Row


@pytest.fixture(scope="module")
def model():
    model = serve.model()
    serve.put(model, "free", 7, target_length=3, template="{a} {b}")
    words = {"label_words": ("bird", "tool"), "decoding": "labels"}
    serve.put(model, "kind", 20, "suffix", 2, **words)
    return model


def row(number, **fields):
    return Row(number, f"line {number}", fields)


def answered(model, rows):
    return [one for some in stream.answered(model, rows, 8, named=True) for one in some]


def test_each_row_has_the_answer_of_its_own_task_or_its_error(model):
    rows = [
        row(1, task="kind", inputs="a robin", id=5),
        row(2, task="free", a="the", b="barn"),
        row(3, inputs="a robin"),
        row(4, task="other", inputs="a robin"),
        row(5, task=["kind"], inputs="a robin"),
        row(6)._replace(error="line 6 is bad"),
        row(7, task="kind", a="the"),
    ]
    found = answered(model, rows)
    said = found[0].pop("probabilities")
    assert list(said) == ["bird", "tool"] and sum(said.values()) == pytest.approx(1)
    best = max(said, key=said.get)
    assert found[0] == {"task": "kind", "inputs": "a robin", "id": 5} | {
        "prediction": best
    }
    assert best == model.predict(["a robin"], "kind")[0]
    assert found[1]["inputs"] == "the barn"
    assert found[1]["prediction"] == model.predict(["the barn"], "free")[0]
    problems = [one["error"] for one in found[2:]]
    assert problems[0].startswith('line 3 has no "task"; it must name one of')
    assert problems[1].startswith("line 4 has the task 'other'; it must be one of")
    assert "line 5 has the task" in problems[2] and problems[3] == "line 6 is bad"
    assert problems[4].startswith('line 7 has no "inputs"')
    assert found[3] == {"line": 4, "task": "other", "inputs": "a robin"} | {
        "error": problems[1]
    }


def test_a_prompt_by_name_is_asked_for_by_its_name_alone():
    model = serve.model()
    serve.put(model, "kind", 20)
    rows = [row(1, inputs="a"), row(2, task="kind", inputs="a"), row(3, task="x")]
    found = answered(model, rows)
    assert ["error" in one for one in found] == [False, False, True]
    assert "line 3 has the task 'x'; it must be one of 'kind'" in found[2]["error"]
    (other,) = next(stream.answered(model, [row(1, task="x", inputs="a")], 8, False))
    assert other == found[0] | {"task": "x"}, "a column of the user's"


def test_what_an_earlier_answer_said_is_not_taken_for_this_one(model):
    before = {"prediction": "old", "probabilities": {}, "error": "old"}
    rows = [row(1, task="kind", inputs="a", **before), row(2, inputs="a", **before)]
    good, bad = answered(model, rows)
    assert "error" not in good and good["prediction"] in good["probabilities"]
    assert bad.keys() == {"line", "inputs", "error"} and 'no "task"' in bad["error"]


def test_the_first_answers_come_before_the_other_rows_are_read(model):
    read = []

    def rows():
        for number in itertools.count():
            read.append(number)
            yield row(number, task="kind", inputs=f"robin {number}")

    coming = stream.answered(model, rows(), 8, named=True)
    first = next(coming)
    assert len(first) == 8 == len(read)
    second = next(coming)
    assert [one["inputs"] for one in second] == [f"robin {n}" for n in range(8, 72)]
    assert len(read) == 72


def test_where_nothing_can_be_answered_it_is_an_error(model):
    with pytest.raises(UserError, match='line 1 has no "task"'):
        answered(model, [row(1, inputs="a"), row(2, inputs="b")])
    assert answered(model, []) == []
