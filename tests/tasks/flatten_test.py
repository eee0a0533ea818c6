"""SuperGLUE's nested lines become TFDS's records."""

import pytest

from prompt_tuning.tasks import DataError, flatten


def test_multirc_makes_a_record_of_each_option():
    options = [{"text": "a", "idx": 0, "label": 1}, {"text": "b", "idx": 1}]
    question = {"question": "Q?", "idx": 5, "answers": options}
    line = {"idx": 0, "passage": {"text": "T", "questions": [question]}}
    shared = {"paragraph": "T", "question": "Q?", "idx": {"question": 5}}
    assert flatten.multirc(line) == [
        shared | {"answer": "a", "label": 1},
        shared | {"answer": "b"},
    ]
    with pytest.raises(DataError, match="no field 'text'"):
        flatten.multirc({"passage": {"questions": [question]}})


def test_record_names_entities_and_answers_once_in_order():
    spans = [{"start": 4, "end": 6}, {"start": 0, "end": 2}, {"start": 4, "end": 6}]
    passage = {"text": "Tom Ann", "entities": spans}
    answers = [{"text": "Tom"}, {"text": "Ann"}, {"text": "Tom"}]
    queries = [
        {"query": "@placeholder ran", "idx": 8, "answers": answers},
        {"query": "@placeholder sat", "idx": 9},
    ]
    line = {"idx": 3, "passage": passage, "qas": queries}
    first, second = flatten.record(line)
    assert first == {
        "passage": "Tom Ann",
        "query": "@placeholder ran",
        "entities": ["Ann", "Tom"],
        "answers": ["Ann", "Tom"],
        "idx": {"passage": 3, "query": 8},
    }
    assert "answers" not in second, "a test example"


def wsc(span1, index=2, text="Then Ann saw the dog . It ran."):
    target = {"span1_text": span1, "span1_index": index}
    target |= {"span2_text": "It", "span2_index": 6}
    return {"text": text, "target": target, "label": True}


@pytest.mark.parametrize(
    ("span", "index", "mended"),
    [
        ("the dog", 3, "the dog"),
        ("The dog", 3, "the dog"),
        ("ann", 1, "Ann"),
        ("The dog.", 3, "the dog"),
        ("The\ndog", 3, "the dog"),
        ("Kamenev and Zinoviev", 0, "Kamenev and Zinoviev"),
    ],
)
def test_wsc_spans_are_made_to_be_in_the_text(span, index, mended):
    (record,) = flatten.winograd(wsc(span, index))
    assert record["span1_text"] == mended
    assert record["span2_index"] == 6 and record["label"] is True


@pytest.mark.parametrize(
    ("span", "index", "reason"),
    [
        ("a cat", 3, "not in the text"),
        ("x", 99, "words 0 to "),
        ("x", -1, "words 0 to "),
        (" ", 3, "must be words"),
    ],
)
def test_a_span_of_another_text_is_an_error(span, index, reason):
    with pytest.raises(DataError, match=reason):
        flatten.winograd(wsc(span, index))
