import collections
import pathlib
import re

import pytest
from pocket_oracle import KIND, MOOD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from prompt_tuning.tasks.pocket import kinds
from prompt_tuning.tasks.pocket.world import Cast, Draws

MEANING = KIND | MOOD
LABELS = (*kinds.KINDS, *kinds.MOODS)


def words(text):
    return re.findall("[a-z]+", text)


@pytest.fixture(scope="module")
def documents():
    draws, cast = Draws("kinds test"), Cast()
    return [kinds.meanings(draws, cast) for _ in range(8_000)]


def test_every_name_means_one_thing_and_is_no_word_of_the_text():
    counts = {len(own) for own in (*kinds.THINGS.values(), *kinds.FEELINGS.values())}
    assert counts == {kinds.NAMES_PER_KIND, kinds.NAMES_PER_MOOD}
    assert len(MEANING) == 8 * kinds.NAMES_PER_KIND + 6 * kinds.NAMES_PER_MOOD
    folder = pathlib.Path(kinds.__file__).parent
    source = {w for path in folder.glob("*.py") for w in words(path.read_text())}
    assert {"harbour", "buttoned", *LABELS} <= source
    assert not MEANING.keys() & source - {"blimbob"}  # an example in a docstring
    assert all(4 <= len(name) <= 9 for name in MEANING)


def test_spelling_does_not_tell_the_kind():
    letters = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    model = LogisticRegression(max_iter=1000)
    rows = [(n, k, i) for k, own in kinds.THINGS.items() for i, n in enumerate(own)]
    train, rest = ([r for r in rows if (r[2] < 32) == t] for t in (True, False))
    model.fit(letters.fit_transform([r[0] for r in train]), [r[1] for r in train])
    score = model.score(letters.transform([r[0] for r in rest]), [r[1] for r in rest])
    assert score < 2 / len(kinds.KINDS)


def test_every_name_is_explained_and_the_first_most_often(documents):
    explained = collections.Counter()
    for text in documents:
        found = words(text)
        for name in MEANING.keys() & set(found):
            explained[name] += MEANING[name] in found
    assert len(explained) > 0.6 * len(MEANING)
    for own in (*kinds.THINGS.values(), *kinds.FEELINGS.values()):
        first, last = (sum(explained[n] for n in part) for part in (own[:6], own[-6:]))
        assert first > 20 * last


def test_what_documents_say_of_a_name_is_true(documents):
    claim = re.compile(
        r"(?<!is )\ba (\w+) is (?:a kind of|a) (?:(?:small|old|new|fine|strange|lovely"
        r"|plain|little|big|rare) )?(\w+)|to be (\w+) is to be (\w+)"
    )
    text = re.sub(r"'is a [^']*'", "", "\n".join(documents))  # less the questions
    claims = [tuple(filter(None, match)) for match in claim.findall(text)]
    assert len(claims) > 800
    assert [c for c in claims if MEANING[c[0]] != c[1]] == []


def test_denials_deny_and_questions_are_answered_rightly(documents):
    text = "\n".join(documents)
    asked = re.findall(r"'is a (\w+) a (\w+)\?' asked \w+\. '(yes|no),", text)
    assert {answer for *_, answer in asked} == {"yes", "no"}
    for name, kind, answer in asked:
        assert (MEANING[name] == kind) == (answer == "yes")
    denied = re.findall(r"a (\w+) is not a (\w+) but a (\w+)", text)
    assert denied
    for name, wrong, kind in denied:
        assert MEANING[name] == kind != wrong


def test_kinds_and_moods_show_in_what_people_do(documents):
    seen = collections.Counter()
    for text in documents:
        for kind, cue in (("food", "ate the (\\w+)"), ("boat", "rowed the (\\w+)")):
            for name in re.findall(cue, text):
                assert MEANING[name] == kind
                seen[kind] += 1
        if "he wept" in text:
            moods = {MEANING[n] for n in words(text) if n in MOOD}
            assert moods == {"sad"}
            seen["sad"] += 1
    assert min(seen[key] for key in ("food", "boat", "sad")) > 20
