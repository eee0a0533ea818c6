"""Examples for transfer: questions in four domains, paraphrases in two.

A prompt is trained on the first domain and tested on the others, which are unlike it.
As in judgements.py: records with TFDS's field names, and no split shares what decides.
"""

import itertools

from prompt_tuning.tasks.pocket import domains, facts, inference, wordings, world
from prompt_tuning.tasks.pocket.judgements import Records
from prompt_tuning.tasks.pocket.world import Draws, share


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
    """Two questions on one fact, which ask for the same part of it or not."""
    draws, cast = Draws(f"qqp {split}"), world.cast(split)
    forms = {part: share(own, split) for part, own in wordings.QUESTIONS.items()}
    unlike = list(itertools.permutations(wordings.PARTS, 2))
    for i in range(count):
        first, other = unlike[i // 2 % len(unlike)]
        parts = (first, first if i % 2 else other)
        one, two = wordings.questions(draws, cast, parts, forms)
        yield {"question1": one, "question2": two, "label": i % 2}


def mrpc(split: str, count: int) -> Records:
    """Two sentences on one fact, which say the same of it or not."""
    draws, cast = Draws(f"mrpc {split}"), world.cast(split)
    forms = {so: share(own, split) for so, own in inference.IMPLICATIVES.items()}
    for i in range(count):
        one, two = wordings.statements(draws, cast, bool(i % 2), forms)
        yield {"sentence1": f"{one}.", "sentence2": f"{two}.", "label": i % 2}
