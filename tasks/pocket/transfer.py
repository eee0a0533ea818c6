"""Examples for transfer: questions in four domains, paraphrases in two.

A prompt is trained on the first domain and tested on the others, which are unlike it.
As in judgements.py: records with TFDS's field names, and no split shares what decides.
"""

from prompt_tuning.tasks.pocket import domains, facts, inference, world
from prompt_tuning.tasks.pocket.facts import Fact
from prompt_tuning.tasks.pocket.judgements import Records
from prompt_tuning.tasks.pocket.world import Draws


def squad(split: str, count: int) -> Records:
    """The village: one to three facts, and a question on one of them."""
    draws, cast = Draws(f"squad {split}"), world.cast(split)
    for i in range(count):
        given = facts.facts(draws, cast, 1 + i % 3, same=0.3, tails=0.5)
        asked, answer = facts.question(draws, draws.one(given))
        context = facts.tell(draws, given)
        yield {"context": context, "question": asked, "answers": [answer]}


def domain(split: str, count: int, name: str) -> Records:
    """One of domains.DOMAINS: one to three facts of its own, and a question."""
    draws, cast = Draws(f"{name} {split}"), world.cast(split)
    for i in range(count):
        text = domains.DOMAINS[name](draws, cast, 1 + i % 3)
        asked, answer = draws.one(text.questions)
        yield {"context": text.context, "question": asked, "answers": [answer]}


def qqp(split: str, count: int) -> Records:
    """One to three questions ("ben managed to find the kite?"), and one in other words.

    It asks for the same as one of them, or for the contrary. Of several, at least one
    is on what came about, and at least one on what did not.
    """
    draws, cast = Draws(f"qqp {split}"), world.cast(split)
    forms = inference.shared(split)
    for i in range(count):
        given = inference.given(draws, cast, 1 + i // 2 % 3, so=bool(i % 2))
        told = [inference.implied(draws, fact, forms[fact.so]) for fact in given]
        asked = facts.claim(draws, given, bool(i % 2))
        yield {
            "question1": " ".join(f"{text}?" for text in told),
            "question2": draws.one(facts.ASKED)(asked),
            "label": i % 2,
        }


def mrpc(split: str, count: int) -> Records:
    """Two or three statements, some of them denied, and one of them in other words.

    It says the same, or the contrary. Every passage has one of each.
    """
    draws, cast = Draws(f"mrpc {split}"), world.cast(split)
    for i in range(count // 2):
        given = facts.denied(draws, facts.facts(draws, cast, 2 + i % 2, same=0.2))
        told = " ".join(_stated(draws, fact) for fact in given)
        say = draws.one(facts.WORDINGS)
        for so in draws.shuffled((False, True)):
            said = say(facts.claim(draws, given, so))
            yield {"sentence1": told, "sentence2": f"{said}.", "label": int(so)}


def _stated(draws: Draws, fact: Fact) -> str:
    """States or denies a fact, with one form of the verb, which so tells nothing."""
    if fact.so and draws.chance(0.5):
        return f"{facts.clause(fact)}."
    lead = "it is true that" if fact.so else "it is false that"
    return f"{lead} {facts.clause(fact._replace(so=True))}."
