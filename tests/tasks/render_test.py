"""Rendering follows T5's rules; the sha256 of T5's own output is in paper_test.py."""

import functools

import pytest

from prompt_tuning.tasks import DataError, render

LABELS = ("no", "yes")


def one(show, record, labels=()):
    (features,) = show(record, labels)
    return features


@pytest.mark.parametrize(
    ("label", "word"),
    [("yes", "yes"), (1, "yes"), (True, "yes"), ("0", "no"), (-1, "<unk>")],
)
def test_labels_are_words_or_numbers(label, word):
    assert render.label_word({"label": label}, LABELS) == word


@pytest.mark.parametrize("label", ["Yes", 2, "2", "-1", ""])
def test_a_label_outside_the_set_is_an_error(label):
    with pytest.raises(DataError, match=r"it must be one of no, yes"):
        render.label_word({"label": label}, LABELS)


def test_fields_go_in_the_order_given_untouched():
    show = functools.partial(render.fields, names=("b", "a"), source=("x", "a"))
    record = {"a": " café ", "x": "1  2", "label": 0}
    assert one(show, record, LABELS) == {"inputs": "b: 1  2 a:  café ", "targets": "no"}
    with pytest.raises(DataError, match="no field 'x'"):
        one(show, {"a": "b", "label": 0}, LABELS)


@pytest.mark.parametrize(
    ("score", "text"),
    [("1.714", "1.8"), (3.5, "3.6"), ("0.1", "0.0"), (5, "5.0"), (-1, "-1.0")],
)
def test_similarity_is_rounded_to_a_fifth(score, text):
    record = {"sentence1": "a", "sentence2": "b", "label": score}
    assert one(render.similarity, record) == {
        "inputs": "sentence1: a sentence2: b",
        "targets": text,
    }


@pytest.mark.parametrize("score", ["much", "5.3", "nan"])
def test_a_similarity_out_of_range_is_an_error(score):
    with pytest.raises(DataError, match="the score is"):
        one(render.similarity, {"sentence1": "a", "sentence2": "b", "label": score})


def test_multirc_loses_its_html():
    record = {"question": "Q<b>?</b>", "answer": "A", "paragraph": "1<br>2<b>3</b><i>"}
    record |= {"label": 1, "idx": {"question": 4}}
    assert one(render.multirc, record, render.FALSE_TRUE) == {
        "inputs": "question: Q? answer: A paragraph: 1 23<i>",
        "targets": "True",
        "idx/question": 4,
    }


def test_record_makes_an_example_of_each_answer():
    passage = "One.\n@highlight\nTwo\n@highlight\nThree"
    record = {"passage": passage, "query": "@placeholder?", "entities": ["A", "B"]}
    record |= {"answers": ["A", "B"], "idx": {"passage": 1, "query": 2}}
    first, second = render.record(record, ())
    inputs = "query: @placeholder? entities: A, B passage: One. Two. Three"
    assert first["inputs"] == second["inputs"] == inputs
    assert (first["targets"], second["targets"]) == ("A", "B")
    assert first["answers"] == ["A", "B"] and first["idx/query"] == 2
    assert one(render.record, record | {"answers": []})["targets"] == "<unk>"


def wsc(text, index, pronoun="he", label=1):
    record = {"text": text, "span2_index": index, "span2_text": pronoun}
    return record | {"span1_text": "Tom", "label": label}


@pytest.mark.parametrize(
    ("text", "index", "shown"),
    [
        ("Tom said he ran.", 2, "Tom said *he* ran."),
        ("Now X said he ran.", 3, "Now *he* said *he* ran."),
        # The two that T5 mends by hand.
        ('"Good, he," said Tom. ', 1, '"Good, *he* ," said Tom.'),
        ("Tom said he , but", 1, "Tom said *he* , but"),
    ],
)
def test_wsc_stars_the_pronoun(text, index, shown):
    features = one(render.winograd, wsc(text, index))
    assert features == {
        "inputs": shown,
        "targets": "Tom",
        "referent": "Tom",
        "label": 1,
    }
    assert one(render.winograd, wsc(text, index, label=-1))["label"] == -1


@pytest.mark.parametrize("index", [0, 3, 99, -1])
def test_a_pronoun_elsewhere_is_an_error(index):
    with pytest.raises(
        DataError, match=r"is not word number|at word (99|-1) .*words 0 to 3"
    ):
        one(render.winograd, wsc("Tom said he hear", index))


def test_dpr_stars_the_first_pronoun_that_is_a_word():
    record = {"sentence": "Bob hears that he, and he alone, won.", "pronoun": "he"}
    record |= {"candidates": ["Bob", "Tom"], "label": 1}
    assert one(render.pronoun, record) == {
        "inputs": "Bob hears that *he*, and he alone, won.",
        "targets": "Tom",
    }


@pytest.mark.parametrize(
    "answers", [["a-b", "c"], {"text": ["a-b", "c"]}, [{"text": "a-b"}, {"text": "c"}]]
)
def test_questions_get_room_around_punctuation(answers):
    record = {
        "question": "Wh\u00f8s\u00a0he?",
        "context": "A (b)\n\tc.",
        "answers": answers,
    }
    assert one(render.question, record) == {
        "inputs": "question: Wh\u00f8s\u00a0he ? context: A ( b ) c . ",
        "targets": "a - b",
        "answers": ["a - b", "c"],
    }
    assert one(render.question, record | {"answers": []})["targets"] == "<unk>"
    with pytest.raises(DataError, match="it must hold strings"):
        one(render.question, record | {"answers": [3]})


def test_a_label_of_many_digits_is_none_of_the_labels():
    for label in ("9" * 5_000, "7", "1" * 10):
        with pytest.raises(DataError, match="it must be one of no, yes") as error:
            render.label_word({"label": label}, ("no", "yes"))
        assert len(str(error.value)) < 200
    assert render.label_word({"label": "1"}, ("no", "yes")) == "yes"
