"""Examples of choosing: a cause or an effect, who a pronoun means, who fills a gap.

As in judgements.py: records with TFDS's field names, and no split shares what decides.
"""

from prompt_tuning.tasks.pocket import facts, reasons, world
from prompt_tuning.tasks.pocket.judgements import Records
from prompt_tuning.tasks.pocket.world import Draws, share


def copa(split: str, count: int) -> Records:
    """A premise, and which of two sentences is its cause or its effect."""
    draws, cast = Draws(f"copa {split}"), world.cast(split)
    pairs = share(reasons.CAUSES, split)
    for i in range(count):
        (cause, effect), (other_cause, other_effect) = draws.shuffled(pairs)[:2]
        p = draws.zipf(cast.people).name
        if i // 2 % 2:
            asked, premise, right, wrong = "cause", effect, cause, other_cause
        else:
            asked, premise, right, wrong = "effect", cause, effect, other_effect
        choices = (wrong, right) if i % 2 else (right, wrong)
        one, two, premise = (f"{t.format(p=p)}." for t in (*choices, premise))
        yield {
            "premise": premise,
            "question": asked,
            "choice1": one,
            "choice2": two,
            "label": i % 2,
        }


def wsc(split: str, count: int) -> Records:
    """A sentence on two persons with a pronoun, and whether it means the one named.

    As in T5's task, all training examples name the right one, for a model to learn to
    write it.
    """
    draws, cast = Draws(f"wsc {split}"), world.cast(split)
    for i in range(count):
        frame = draws.one(share(reasons.FRAMES, split))
        x, y = reasons.pair(draws, cast)
        of_x, right = bool(i % 2), split == "train" or bool(i // 2 % 2)
        reason = draws.one(frame.of_x if of_x else frame.of_y)
        text = f"{reasons.because(frame, x, y, reason)}."
        yield {
            "text": text,
            "span1_text": (x if of_x == right else y).name,
            "span2_text": x.he,
            "span2_index": text.split(" because ")[0].count(" ") + 2,
            "label": int(right),
        }


def record(split: str, count: int) -> Records:
    """A passage of two to four facts, and one of them in other words with a gap."""
    draws, cast = Draws(f"record {split}"), world.cast(split)
    for i in range(count):
        given = facts.facts(draws, cast, 2 + i % 3, same=0.2)
        asked = draws.one(given)
        gap = asked._replace(person=world.Person("@placeholder", "", ""))
        entities = {fact.p for fact in given}
        entities |= {fact.what for fact in given if fact.verb.asks == "whom"}
        yield {
            "passage": facts.tell(draws, given),
            "query": f"{draws.one(facts.WORDINGS)(gap)}.",
            "entities": sorted(entities),
            "answers": [asked.p],
            "idx": {"passage": i, "query": i},
        }
