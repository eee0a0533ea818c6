"""The pre-training text is clean, varied and true."""

import collections
import itertools
import re
import string

import numpy as np
import pocket_oracle
import pytest

from prompt_tuning.tasks.pocket import (
    domains,
    facts,
    inference,
    reports,
    text,
    wordings,
)
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


def read(document):
    """What is told before the first question, and (question, answer) after that."""
    sentences = re.split(r"(?<=[.?]) ", document)
    told = list(itertools.takewhile(lambda text: not text.endswith("?"), sentences))
    rest = sentences[len(told) :]
    assert len(rest) % 2 == 0, document
    return " ".join(told), list(zip(rest[::2], rest[1::2], strict=True))


def is_claim(question):
    return re.match(r"did |is it true that |was it \w+ who ", question)


@pytest.mark.parametrize("genre", [facts.lesson, facts.denials])
def test_questions_are_answered_and_claims_judged_rightly(genre):
    """By the oracle of the tasks, which knows nothing of how texts are made."""
    counts = collections.Counter()
    for document in made(genre, 1_000):
        told, asked = read(document)
        for question, answer in asked:
            if question.startswith("is it so or not that "):
                key, so, _ = pocket_oracle.stated(answer)
                claim = pocket_oracle.stated(question[21:-1])[0]
                assert key == claim
                known = {
                    pocket_oracle.stated(sentence)[:2]
                    for sentence in pocket_oracle.sentences(told)
                }
                assert (key, so) in known, document
                continue
            if not is_claim(question):
                solved = pocket_oracle.squad(f"question: {question} context: {told}")
                assert solved == answer.rstrip("."), document
                continue
            inputs = f"passage: {told} question: {question.rstrip('?')}"
            so = pocket_oracle.boolq(inputs) == "true"
            assert (YES if so else NO).match(answer), document
            explained = re.match("(yes|no), (?!it is )(.*)", answer)
            if explained:
                known, denied_or_not, _ = pocket_oracle.stated(explained[2])
                assert denied_or_not == so, document
                assert known in [
                    pocket_oracle.stated(sentence)[0]
                    for sentence in pocket_oracle.sentences(told)
                ]
            counts[so] += 1
    if genre is facts.denials:
        assert min(counts.values()) > 0.4 * sum(counts.values()) > 300


def test_consequences_follow():
    counts = collections.Counter()
    for document in made(inference.consequences, 1_000):
        sentences = re.split(r"(?<=[.?]) ", document)
        follows = dict(
            found for s in sentences if (found := pocket_oracle.implied(s[:-1]))
        )
        assert follows
        for sentence, answer in itertools.pairwise(sentences):
            if is_claim(sentence):
                forms = pocket_oracle._ASKED
                key = pocket_oracle._key(pocket_oracle._matched(forms, sentence[:-1]))
                assert (YES if follows[key] else NO).match(answer), document
                counts[follows[key]] += 1
        for sentence in sentences:
            if lead := re.match("(?:so|that is,|in fact) (.*)", sentence):
                key, so, _ = pocket_oracle.stated(lead[1])
                assert follows[key] == so, document
                counts["so", so] += 1
    assert len(counts) == 4 and min(counts.values()) > 100


def test_wordings_are_compared_rightly():
    counts = collections.Counter()
    for document in made(wordings.compared_wordings):
        sentences = re.split(r"(?<=[.?]) ", document)
        pairs, at = [], 0
        while at < len(sentences):
            one, two, judge = sentences[at : at + 3]
            at += 3
            if judge.startswith("do "):
                judge = sentences[at]
                at += 1
            pairs.append((one, two, judge))
        assert len(pairs) == 2
        for one, two, judge in pairs:
            same = not re.search(r"\bnot?\b", judge)
            if one.endswith("?"):
                assert pocket_oracle.ask_the_same(one, two) == same, document
            else:
                one, two = one.rstrip("."), two.rstrip(".")
                assert pocket_oracle.say_the_same(one, two) == same, document
            counts[one.endswith("?"), same] += 1
    assert len(counts) == 4 and min(counts.values()) > 150


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
    for _, told, answer in rows:
        assert re.fullmatch("[a-z' ]+", answer)
        assert re.search(r"[a-z?]$", told) and not re.search("[:*@_{}]", told)


def test_probes_of_denials_ask_for_what_is_so():
    counts = collections.Counter()
    for name, told, word in probes(3, 200):
        if name == "denials":
            passage, _, question = told.rpartition(". ")
            inputs = f"passage: {passage}. question: {question.rstrip('?')}"
            assert (pocket_oracle.boolq(inputs) == "true") == (word == "yes")
            counts[word] += 1
    assert min(counts.values()) > 70
