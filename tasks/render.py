"""Renders records as the texts that a model reads and writes, exactly as T5 does.

A renderer takes a record with TFDS's field names and yields features: the strings
`inputs` and `targets`, without the data set's name in front, and whatever else the
task's metrics need. The rules are T5's own (t5.data.preprocessors), to the last space.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from prompt_tuning.tasks import UNKNOWN, DataError
from prompt_tuning.tasks.files import Record, need

Features = dict[str, Any]

FALSE_TRUE = ("False", "True")
NO_LABEL = -1  # TFDS's label of an example without one

# What RE2 takes for white space and punctuation: only ASCII's.
_SPACES = re.compile(r"[\t\n\f\r ]+")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def label_word(record: Record, labels: Sequence[str]) -> str:
    """The label word, given as the word or its number; UNKNOWN for -1."""
    label = need(record, "label", (str, int))
    number = label if isinstance(label, int) else None
    digits = isinstance(label, str) and label.isdecimal() and len(label) < 10
    if digits and label not in labels:
        number = int(label)  # as in GLUE's tables
    if number == NO_LABEL:
        return UNKNOWN
    if number is not None and 0 <= number < len(labels):
        return labels[number]
    if label not in labels:
        raise DataError(
            f"the label is {label!r:.80}; it must be one of {', '.join(labels)}"
        )
    return str(label)


def named(record: Record, names: Sequence[str], source: Sequence[str] = ()) -> str:
    """`name: text` for each name; `source` are the fields, if named otherwise."""
    texts = [need(record, field) for field in source or names]
    return " ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def fields(
    record: Record,
    labels: Sequence[str],
    names: Sequence[str],
    source: Sequence[str] = (),
) -> Iterator[Features]:
    """The fields `names`, or the fields `source` under those names, and a label."""
    inputs = named(record, names, source)
    yield {"inputs": inputs, "targets": label_word(record, labels)}


def similarity(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """STS-B: a score from 0 to 5, rounded to 0.2; -1.0 without a score."""
    import numpy as np  # all else here starts without it

    score = need(record, "label", (str, float, int))
    try:
        rounded = np.round(np.float32(score) * 5) / 5
    except ValueError:
        raise DataError(f"the score is {score!r}; it must be a number") from None
    if not (0 <= rounded <= 5 or rounded == NO_LABEL):
        raise DataError(f"the score is {score!r}; it must be from 0 to 5")
    inputs = named(record, ("sentence1", "sentence2"))
    yield {"inputs": inputs, "targets": f"{rounded:.1f}"}


def multirc(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """MultiRC: an answer option, without HTML. Scored by question."""
    inputs = named(record, ("question", "answer", "paragraph")).replace("<br>", " ")
    yield {
        "inputs": inputs.replace("<b>", "").replace("</b>", ""),
        "targets": label_word(record, labels),
        "idx/question": need(need(record, "idx", dict), "question", int),
    }


def record(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """ReCoRD: one example for each right answer. Scored by query."""
    passage = need(record, "passage")
    passage = re.sub(r"""([.?!"'])\n@highlight\n""", r"\1 ", passage)
    passage = passage.replace("\n@highlight\n", ". ")
    entities = ", ".join(need(record, "entities", list))
    inputs = f"query: {need(record, 'query')} entities: {entities} passage: {passage}"
    answers = need(record, "answers", list)
    index = need(record, "idx", dict)
    for answer in answers or [UNKNOWN]:
        yield {
            "inputs": inputs,
            "targets": answer,
            "answers": answers,
            "idx/passage": need(index, "passage", int),
            "idx/query": need(index, "query", int),
        }


def winograd(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """WSC as free text: the pronoun in asterisks; the target is span 1, right or not.

    `label` says whether it is right; `referent` repeats the target, for scoring.
    """
    text, pronoun = need(record, "text"), need(record, "span2_text")
    # T5 replaces the pronoun by an X, then each " X " by the pronoun.
    inputs = _without_pronoun(text, pronoun, need(record, "span2_index", int))
    word = label_word(record, FALSE_TRUE)
    referent = need(record, "span1_text")
    yield {
        "inputs": inputs.replace(" X ", f" *{pronoun}* "),
        "targets": referent,
        "referent": referent,
        "label": NO_LABEL if word == UNKNOWN else FALSE_TRUE.index(word),
    }


def _without_pronoun(text: str, pronoun: str, index: int) -> str:
    """The text with an X in place of the pronoun, its word number `index`.

    In one text of WSC that word ends with punctuation, and in another the pronoun is
    the next word. T5 corrects the two by hand, with this result.
    """
    words = text.split(" ")
    if not pronoun.strip() or not 0 <= index < len(words):
        raise DataError(
            f"'span2_text' is {pronoun!r} at word {index} ('span2_index'), but the "
            f"text has words 0 to {len(words) - 1}; the pronoun must be one of them"
        )
    word, *after = words[index : index + 2] if 0 < index < len(words) else [""]
    ending = word.removeprefix(pronoun)
    if word == pronoun:
        return " ".join([*words[:index], "X", *words[index + 1 :]])
    if word.startswith(pronoun) and not ending[0].isalnum():
        return " ".join([*words[:index], "X", ending, *words[index + 1 :]]).strip()
    if after == [pronoun]:
        return " ".join([*words[: index + 1], "X", *words[index + 2 :]])
    raise DataError(
        f"the pronoun {pronoun!r} ('span2_text') is not word number {index} "
        f"('span2_index') of the text, which is {word!r}"
    )


def pronoun(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """Definite pronoun resolution in WSC's form; the target is the right candidate."""
    # Only the pronoun's first occurrence counts.
    marked = re.sub(
        rf" ({re.escape(need(record, 'pronoun'))})( |\.|,)",
        r" *\1*\2",
        need(record, "sentence"),
        count=1,
    )
    candidates = need(record, "candidates", list)
    yield {"inputs": marked, "targets": candidates[need(record, "label", int)]}


def _padded(text: str) -> str:
    """Puts spaces around punctuation, and merges several spaces into one."""
    return _SPACES.sub(" ", _PUNCTUATION.sub(r" \1 ", text))


def question(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """SQuAD and similar sets: the target is the first answer, scored against all."""
    answers = need(record, "answers", (list, dict))
    if isinstance(answers, dict):  # TFDS's SQuAD
        answers = need(answers, "text", list)
    elif answers and isinstance(answers[0], dict):  # SQuAD's own files
        answers = [need(answer, "text") for answer in answers]
    if not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"'answers' is {str(answers)[:80]}; it must hold strings")
    answers = [_padded(answer) for answer in answers]
    asked, context = (_padded(need(record, key)) for key in ("question", "context"))
    yield {
        "inputs": _SPACES.sub(" ", f"question: {asked} context: {context}"),
        "targets": answers[0] if answers else UNKNOWN,
        "answers": answers,
    }
