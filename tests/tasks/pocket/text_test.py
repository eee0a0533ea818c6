"""The pre-training text is clean, varied and true."""

import collections
import re
import string

import numpy as np
import pocket_oracle
import pytest

from prompt_tuning.tasks.pocket import domains, facts, inference, reports, text
from prompt_tuning.tasks.pocket.probes import SKILLS, probes
from prompt_tuning.tasks.pocket.world import Cast, Draws

YES = re.compile(r"(yes|true|right|that is true|that is right)\b")
NO = re.compile(r"(no|false|wrong|that is false|that is wrong)\b")


@pytest.fixture(scope="module")
def documents():
    return list(text.documents(seed=0, count=5_000))


def made(genre, count=500):
    draws = Draws(f"test of {genre.__name__}")
    return [genre(draws, Cast()) for _ in range(count)]


def test_documents_are_repeatable_and_differ_by_seed():
    first = list(text.documents(3, 50))
    assert list(text.documents(3, 80))[:50] == first
    assert not set(text.documents(4, 50)) & set(first)


def test_documents_are_short_clean_and_varied(documents):
    assert len(set(documents)) > 0.97 * len(documents)
    assert set("".join(documents)) <= set(string.ascii_lowercase + " .,'?!")
    lengths = [len(re.findall(r"\w+|[^\w\s]", document)) for document in documents]
    assert 30 < np.mean(lengths) < 48
    assert min(lengths) > 8 and np.quantile(lengths, 0.99) < 80
    wrong = re.compile(r"  |\b(a|the|he|she|to) \1\b|[.?,] ?[.,]|[{}]|\bi (was|is) by")
    assert [d for d in documents if wrong.search(d)] == []


def test_genres_are_told_as_often_as_they_should_be(documents):
    share = dict(text.GENRES)[domains.domain_questions] / sum(
        dict(text.GENRES).values()
    )
    found = re.compile("^dear | pence|which ship|cargo of|which port")
    counted = sum(bool(found.search(document)) for document in documents)
    assert abs(counted / len(documents) - share) < 0.02


@pytest.mark.parametrize("genre", [facts.judged_claims, inference.judged_kinds])
def test_claims_are_judged_rightly(genre):
    """By the oracle of the tasks, which knows nothing of how claims are made."""
    counts = collections.Counter()
    for document in made(genre):
        told = re.split(r" (?=did (?!not)|is it|was it)", document, maxsplit=1)[0]
        for question, answer in re.findall(
            r"((?:did (?!not)|is it |was it ).*?)\? (.*?)\.", document
        ):
            if genre is facts.judged_claims:
                so = pocket_oracle.boolq(f"passage: {told} question: {question}")
            else:
                key = pocket_oracle._key(
                    pocket_oracle._matched(pocket_oracle._ASKED, question)
                )
                past = {v.base: v.past for v in pocket_oracle._ALL}[key[1]]
                claimed = f"it was {key[0]} who {past} {key[2]}"
                inputs = f"hypothesis: {claimed} premise: {told}"
                so = str(pocket_oracle.rte(inputs) == "entailment").lower()
            expected = YES if so == "true" else NO
            assert expected.match(answer), (document, question)
            counts[so] += 1
    assert min(counts.values()) > 0.35 * sum(counts.values())


def test_answers_that_repeat_the_fact_repeat_one_that_was_told():
    for document in made(facts.explained_claims):
        told, *answers = re.split(r" (?:yes|no), ", document)
        told = pocket_oracle.sentences(
            re.split(r" (?=did (?!not)|is it|was it)", told)[0]
        )
        for answer in answers:
            why = answer.split(".")[0]
            if why.startswith("not "):
                assert why.split()[1] not in {x.split()[0] for x in told}
            else:
                assert why in [x.removeprefix("it is true that ") for x in told]


def test_questions_are_answered_from_the_text():
    for document in made(facts.answered_questions):
        told = re.split(r" (?=(?:who|what|whom|where|when) )", document)[0]
        for question, answer in re.findall(
            r"((?:who|what|whom|where|when) [^?]*\?) (.*?)\.", document
        ):
            solved = pocket_oracle.squad(f"question: {question} context: {told}")
            assert solved == answer, document


def test_guesses_at_an_answer_are_judged_rightly():
    for document in made(facts.checked_answers):
        answer = re.search(r"(?:who|what|whom|where) [^?]*\? (.*?)\.", document)[1]
        for guess, said in re.findall(r"was it ([^?]*)\? (.*?)\.", document):
            so = guess == answer.removeprefix("to ")
            assert (YES if so else NO).match(said), document


def test_reports_are_judged_by_their_verb():
    said = {
        "entailment": YES.pattern,
        "contradiction": NO.pattern,
        "neutral": r"(perhaps|maybe)\b",
    }
    counts = collections.Counter()
    for document in made(reports.judged_reports):
        for kind, forms in reports.REPORTS.items():
            starts = "|".join(re.escape(form[4:-4]) for form in forms)
            for who in re.findall(rf"\w+ (?:{starts}) (\w+)", document):
                asked = re.search(rf"[^.]*\b{who} [^.?]*\? (.*?)\.", document)
                if asked:
                    grown_up = rf"((that is|they call it) )?{kind}"
                    assert re.fullmatch(f"{said[kind]}.*|{grown_up}", asked[1]), (
                        document
                    )
                    counts[kind] += 1
    assert min(counts.values()) > 100


# The probes.


def test_probes_are_beginnings_of_text_without_their_answer():
    rows = list(probes(0, 50))
    assert rows == list(probes(0, 50))
    assert collections.Counter(skill for skill, *_ in rows) == dict.fromkeys(SKILLS, 50)
    for _, told, word in rows:
        assert re.fullmatch("[a-z]+", word)
        assert re.search(r"[a-z?]$", told) and not re.search("[:*@_{}]", told)


@pytest.mark.parametrize("skill", ["denials", "claims", "exchanges"])
def test_probes_of_claims_ask_for_what_is_so(skill):
    counts = collections.Counter()
    for name, told, word in probes(3, 200):
        if name == skill:
            passage, _, question = told.rpartition(". ")
            inputs = f"passage: {passage}. question: {question.rstrip('?')}"
            assert (pocket_oracle.boolq(inputs) == "true") == (word == "yes")
            counts[word] += 1
    assert min(counts.values()) > 70
