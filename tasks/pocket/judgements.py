"""Examples to judge: yes/no questions, entailment, a word's sense, several answers.

Each function yields the records of a split, with the field names of the real data set
in TFDS, and as many of each label. What decides (persons, things, verbs, words) is
never shared by two splits.
"""

from collections.abc import Iterator
from typing import Any

from prompt_tuning.tasks.pocket import facts, inference, reports, senses, world
from prompt_tuning.tasks.pocket.world import Draws, share

Records = Iterator[dict[str, Any]]


def boolq(split: str, count: int) -> Records:
    """A passage of two or three facts, some of them denied, and a yes/no question.

    Every passage has one of each.
    """
    draws, cast = Draws(f"boolq {split}"), world.cast(split)
    for i in range(count // 2):
        given = facts.facts(draws, cast, 2 + i % 2, same=0.2)
        given = facts.denied(draws, given)
        passage, ask = facts.tell(draws, given), draws.one(facts.ASKED)
        for so in draws.shuffled((False, True)):
            question = ask(facts.claim(draws, given, so)).rstrip("?")
            yield {"passage": passage, "question": question, "label": int(so)}


def rte(split: str, count: int) -> Records:
    """One to three implicatives ("managed to", "failed to"); does a fact follow?

    Of several, at least one fact follows and of at least one the contrary.
    """
    draws, cast = Draws(f"rte {split}"), world.cast(split)
    forms = inference.shared(split)
    for i in range(count):
        so = i % 2 == 0
        given = inference.given(draws, cast, 1 + i // 2 % 3, so)
        yield {
            "premise": inference.tell(draws, given, forms),
            "hypothesis": f"{facts.clause(facts.claim(draws, given, so))}.",
            "label": int(not so),
        }


def cb(split: str, count: int) -> Records:
    """A premise of one to three reports of different kinds, and what one reports."""
    draws, cast = Draws(f"cb {split}"), world.cast(split)
    forms = {kind: share(own, split) for kind, own in reports.REPORTS.items()}
    for i in range(count):
        kind = reports.KINDS_OF_REPORT[i % 3]
        others = [other for other in reports.KINDS_OF_REPORT if other != kind]
        kinds = (kind, *draws.shuffled(others)[: i // 3 % 3])
        first, *rest = reports.reported(draws, cast, kinds)
        told = [
            reports.report(draws, item, forms)
            for item in draws.shuffled([first, *rest])
        ]
        yield {
            "premise": f"{'. '.join(told)}.",
            "hypothesis": f"{facts.clause(first.fact)}.",
            "label": i % 3,
        }


def wic(split: str, count: int) -> Records:
    """Two sentences with one word, in the same sense or in two.

    `meaning1` is what it means in the first, and `other` what it does not. Every first
    sentence has one of each.
    """
    draws, cast = Draws(f"wic {split}"), world.cast(split)
    for _ in range(count // 2):
        word = draws.one(share(senses.WORDS, split))
        one, other = draws.shuffled(senses.SENSES[word])
        first = senses.use(draws, cast, one)
        for same in draws.shuffled((False, True)):
            second = first
            while second == first:
                second = senses.use(draws, cast, one if same else other)
            yield {
                "word": word,
                "sentence1": f"{first}.",
                "sentence2": f"{second}.",
                "meaning1": one.meaning,
                "other": other.meaning,
                "label": int(same),
            }


def multirc(split: str, count: int) -> Records:
    """A paragraph on four persons, a question, and each of them as an answer to judge.

    Two of the four did what is asked for, of the other two it is denied.
    """
    draws, cast = Draws(f"multirc {split}"), world.cast(split)
    for i in range(count // 4):
        four = facts.facts(draws, cast, 4)
        asked = draws.one([fact for fact in four if fact.verb.asks != "whom"])
        told = [asked._replace(person=f.person, so=n < 2) for n, f in enumerate(four)]
        paragraph = facts.tell(draws, draws.shuffled(told))
        for fact in draws.shuffled(told):
            yield {
                "paragraph": paragraph,
                "question": f"who {fact.verb.past} {fact.what}?",
                "answer": fact.p,
                "idx": {"question": i},
                "label": int(fact.so),
            }
