"""Examples to judge: yes/no questions, entailment, a word's sense, several answers.

Each function yields the records of a split, with the field names of the real data set
in TFDS, and as many of each label. What decides (persons, things, verbs, words) is
never shared by two splits.
"""

from collections.abc import Iterator
from typing import Any

from prompt_tuning.tasks.pocket import facts, inference, reports, senses, world
from prompt_tuning.tasks.pocket.kinds import THINGS
from prompt_tuning.tasks.pocket.world import Draws, share

Records = Iterator[dict[str, Any]]


def boolq(split: str, count: int) -> Records:
    """A passage of two or three facts, and a question to be answered yes or no.

    Every passage has one of each. Of three passages, in one the wrong question is about
    a fact that is denied, in one about a person or thing that nobody named, and in one
    about two facts that exchanged a part.
    """
    draws, cast = Draws(f"boolq {split}"), world.cast(split)
    for i in range(count // 2):
        level = i % 3
        given = facts.facts(
            draws, cast, draws.one((2, 3)), same=0.3 if level < 2 else 1
        )
        if level == 0:
            given = facts.denied(draws, given)
        passage, ask = facts.tell(draws, given), draws.one(facts.ASKED)
        for so in draws.shuffled((False, True)):
            asked = facts.claim(draws, cast, given, so, hard=float(level == 2))
            question = ask(asked).rstrip("?")
            yield {"passage": passage, "question": question, "label": int(so)}


def rte(split: str, count: int) -> Records:
    """A premise of facts about invented things; a hypothesis on their kinds.

    Every premise has one that follows and one that does not.
    """
    draws, cast = Draws(f"rte {split}"), world.cast(split)
    names = {kind: share(own, split) for kind, own in THINGS.items()}
    for i in range(count // 2):
        given = inference.things(draws, cast, names, 1 + i % 2)
        premise = facts.tell(draws, [fact for fact, _ in given])
        wording = draws.one(facts.WORDINGS)
        for so in draws.shuffled((False, True)):
            hypothesis = f"{wording(inference.follows(draws, given, so))}."
            yield {"premise": premise, "hypothesis": hypothesis, "label": int(not so)}


def cb(split: str, count: int) -> Records:
    """A premise of three reports, of which one is true, one false and one open."""
    draws, cast = Draws(f"cb {split}"), world.cast(split)
    forms = {kind: share(own, split) for kind, own in reports.REPORTS.items()}
    for i in range(count):
        items = reports.reported(draws, cast, reports.KINDS_OF_REPORT)
        told = [reports.report(draws, item, forms) for item in draws.shuffled(items)]
        yield {
            "premise": ". ".join(told) + ".",
            "hypothesis": f"{facts.clause(items[i % 3].fact)}.",
            "label": i % 3,
        }


def wic(split: str, count: int) -> Records:
    """Two sentences with one word, in the same sense or in two."""
    draws, cast = Draws(f"wic {split}"), world.cast(split)
    for i in range(count):
        word = draws.one(share(senses.WORDS, split))
        one, two = draws.shuffled(senses.SENSES[word])
        first = second = senses.use(draws, cast, one)
        while second == first:
            second = senses.use(draws, cast, one if i % 2 else two)
        yield {
            "word": word,
            "sentence1": f"{first}.",
            "sentence2": f"{second}.",
            "label": i % 2,
        }


def multirc(split: str, count: int) -> Records:
    """A paragraph on four persons, a question, and each of them as an answer to judge.

    Two of the four answers are right. In every other paragraph the two groups are told
    one after the other, otherwise person by person.
    """
    draws, cast = Draws(f"multirc {split}"), world.cast(split)
    for i in range(count // 4):
        four = facts.facts(draws, cast, 4, same=1)
        right, wrong = four[0].what, four[1].what
        if four[0].verb.asks == "whom":
            continue_with = [
                p.name for p in cast.people if p not in [f.person for f in four]
            ]
            right, wrong = draws.several(continue_with, 2)
        told = [f._replace(what=(right, wrong)[n // 2]) for n, f in enumerate(four)]
        ordered = draws.shuffled(told)
        paragraph = facts.tell(draws, ordered) if i % 2 else _grouped(draws, told)
        for fact in draws.shuffled(told):
            yield {
                "paragraph": paragraph,
                "question": f"who {fact.verb.past} {right}?",
                "answer": fact.p,
                "idx": {"question": i},
                "label": int(fact.what == right),
            }


def _grouped(draws: Draws, told: list[facts.Fact]) -> str:
    pairs = draws.shuffled([draws.shuffled(told[:2]), draws.shuffled(told[2:])])
    return " ".join(f"{a.p} and {facts.clause(b)}." for a, b in pairs)
