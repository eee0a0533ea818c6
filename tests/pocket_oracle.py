"""Solves the tasks of the pocket world by its rules, from the rendered text alone.

It reads the sentences with regular expressions of its own, and knows only what a reader
of the pre-training text can know: words, kinds, causes, and what a report implies.
Nothing here is a test.
"""

import itertools
import re

from prompt_tuning.tasks.pocket import kinds, reasons, reports, senses, wordings
from prompt_tuning.tasks.pocket.facts import GO, MEET, VERBS
from prompt_tuning.tasks.pocket.inference import IMPLICATIVES

_ALL = (*VERBS, GO, MEET)
_PAST = {verb.past: verb.base for verb in _ALL}
_BASE = {verb.base: verb.base for verb in _ALL}
_PARTICIPLE = {verb.participle: verb.base for verb in VERBS}
_PASTS, _BASES, _PARTICIPLES = ("|".join(t) for t in (_PAST, _BASE, _PARTICIPLE))
KIND = {name: kind for kind, own in kinds.THINGS.items() for name in own}
MOOD = {name: mood for mood, own in kinds.FEELINGS.items() for name in own}

_WHO = r"(?P<who>@?\w+)"
_WHAT = r"(?P<what>(?:to )?(?:(?:the|a) )?(?:old )?\w+)"
_TAIL = r"(?P<tail>(?: (?:on|at|in|near|by|under|behind|last|one) .*| yesterday)?)"
_STATED = [
    re.compile(form)
    for form in (
        rf"(?P<when>.* )?{_WHO} did (?P<no>not) (?P<verb>{_BASES}) {_WHAT}{_TAIL}",
        rf"it was (?P<no>not )?{_WHO} who (?P<verb>{_PASTS}) {_WHAT}",
        rf"{_WHO} is the one who (?P<verb>{_PASTS}) {_WHAT}",
        rf"{_WHAT} was (?P<no>not )?(?P<verb>{_PARTICIPLES}) by {_WHO}",
        rf"(?P<when>.* )?{_WHO} (?P<verb>{_PASTS}) {_WHAT}{_TAIL}",
    )
]
_ASKED = [
    re.compile(form)
    for form in (
        rf"did {_WHO} (?P<verb>{_BASES}) {_WHAT}",
        rf"is it true that {_WHO} (?P<verb>{_PASTS}) {_WHAT}",
        rf"was it {_WHO} who (?P<verb>{_PASTS}) {_WHAT}",
    )
]
_WHO_ASKED = [
    re.compile(form)
    for form in (
        rf"(?:who|which person|who was it that) (?P<verb>{_PASTS}) {_WHAT}",
        rf"{_WHAT}, who (?P<verb>{_PASTS}) it",
    )
]
_WHAT_ASKED = [
    re.compile(form)
    for form in (
        rf"(?:what|where|whom) did {_WHO} (?P<verb>{_BASES})",
        rf"(?:what|where|whom) (?:was|is) it that {_WHO} (?P<verb>{_PASTS})",
        rf"tell me (?:what|where|whom) {_WHO} (?P<verb>{_PASTS})",
    )
]


def _matched(forms, text):
    """The groups of the first form that is the whole text; the verb as its base."""
    for form in forms:
        if match := form.fullmatch(text):
            found = {"what": None, "who": None} | match.groupdict()
            verb = found["verb"]
            found["verb"] = (_PAST | _PARTICIPLE | _BASE)[verb]
            return found
    raise AssertionError(f"not understood: {text!r}")


def _key(found):
    return found["who"], found["verb"], found["what"]


def stated(sentence):
    """(who, verb, what), whether it is said to be so, and where or when."""
    judged = re.fullmatch(r"it is (true|false) that (.*)", sentence.rstrip("."))
    found = _matched(_STATED, judged[2] if judged else sentence.rstrip("."))
    tail = (found.get("tail") or found.get("when") or "").strip()
    denied = found.get("no") or (judged and judged[1] == "false")
    return _key(found), not denied, tail


def sentences(text):
    return [part.strip() for part in text.rstrip(".").split(". ")]


def _question(text):
    text = text.rstrip("?")
    who = next((f for f in _WHO_ASKED if f.fullmatch(text)), None)
    return _key(_matched(_WHO_ASKED if who else _WHAT_ASKED, text))


def _parts(inputs, *names):
    """The texts behind `name:`, in this order."""
    pattern = " ".join(rf"{name}: (.*)" for name in names)
    match = re.fullmatch(pattern, inputs)
    assert match, inputs
    return match.groups()


def _claimed(passage, claim):
    facts = dict(stated(sentence)[:2] for sentence in sentences(passage))
    return facts.get(claim, False)


def boolq(inputs):
    passage, question = _parts(inputs, "passage", "question")
    return str(_claimed(passage, _key(_matched(_ASKED, question)))).lower()


_IMPLIED = [
    (re.compile(form.format(p=_WHO, v=rf"(?P<verb>{_BASES}) {_WHAT}")), so)
    for so, forms in IMPLICATIVES.items()
    for form in forms
]


def implied(sentence):
    """(who, verb, what), and whether the implicative says that it came about."""
    for form, so in _IMPLIED:
        if found := form.fullmatch(sentence):
            return (found["who"], found["verb"], found["what"]), so
    return None


def rte(inputs):
    hypothesis, premise = _parts(inputs, "hypothesis", "premise")
    follows = dict(implied(sentence) for sentence in sentences(premise))
    so = follows[stated(hypothesis)[0]]
    return "entailment" if so else "contradiction"


def cb(inputs):
    hypothesis, premise = _parts(inputs, "hypothesis", "premise")
    for sentence in sentences(premise):
        for kind, forms in reports.REPORTS.items():
            for form in forms:
                start = form.format(r=sentence.split()[0], c="")
                if sentence == start + hypothesis.rstrip("."):
                    return kind
    raise AssertionError(inputs)


def _fits(text, template):
    return re.fullmatch(template.replace("{p}", r"\w+"), text.rstrip(".")) is not None


def copa(inputs):
    one, two, premise, asked = _parts(
        inputs, "choice1", "choice2", "premise", "question"
    )
    fitting = set()
    for pair in reasons.CAUSES:
        cause, effect = pair
        given, sought = (effect, cause) if asked == "cause" else (cause, effect)
        if _fits(premise, given):
            fitting |= {text.rstrip(".") for text in (one, two) if _fits(text, sought)}
    [right] = fitting
    return right


def _sense(word, sentence):
    for sense in senses.SENSES[word]:
        if any(_fits(sentence, use) for use in sense.uses):
            return sense.meaning
    raise AssertionError(sentence)


def wic(inputs):
    _, _, two, word = _parts(inputs, "sentence1", "meaning1", "sentence2", "word")
    return _sense(word, two)


def multirc(inputs):
    question, answer, paragraph = _parts(inputs, "question", "answer", "paragraph")
    _, verb, what = _question(question)
    return str(_claimed(paragraph, (answer, verb, what))).lower()


def wsc(inputs):
    text, reason = re.fullmatch(r"(.*) because \*\w+\* (.*)\.", inputs).groups()
    for frame in reasons.FRAMES:
        form = frame.text.format(x=r"(\w+)", y=r"(\w+)")
        if match := re.fullmatch(form, text):
            return match[1 if reason in frame.of_x else 2]
    raise AssertionError(inputs)


def record(inputs):
    query, _, passage = _parts(inputs, "query", "entities", "passage")
    _, verb, what = stated(query)[0]
    [who] = [k[0] for k, *_ in map(stated, sentences(passage)) if k[1:] == (verb, what)]
    return who


def squad(inputs):
    question, context = _parts(inputs, "question", "context")
    told = [stated(sentence) for sentence in sentences(context)]
    if match := re.fullmatch(rf"(?:when|where) did (.*) ({_BASES}) (.+)\?", question):
        [tail] = [tail for key, _, tail in told if key == match.groups()]
        return tail
    who, verb, what = _question(question)
    [found] = {
        key[0] if who is None else key[2]
        for key, *_ in told
        if key[1] == verb and (key[2] == what if who is None else key[0] == who)
    }
    return found


def letters(inputs):
    question, context = _parts(inputs, "question", "context")
    writer = re.search(r"(\w+)\.$", context)[1]
    *told, _ = sentences(context.partition(", ")[2])
    told = [re.sub(r"^i ", f"{writer} ", sentence) for sentence in told]
    return squad(f"question: {question} context: {'. '.join(told)}.")


_VOYAGES = (
    r"laden with (?P<cargo>\w+), (?P<ship>the \w+) sailed for (?P<port>\w+)",
    r"(?P<ship>the \w+) of (?P<port>\w+) unloads (?P<cargo>\w+)",
    r"(?P<cargo>\w+) is shipped aboard (?P<ship>the \w+), bound for (?P<port>\w+)",
)
_OF_SHIPS = (
    (r"which ship bears (?P<cargo>\w+)\?", "ship"),
    (r"what is the cargo of (?P<ship>the \w+)\?", "cargo"),
    (r"which port belongs to (?P<ship>the \w+)\?", "port"),
)
_ROWS = (
    r"(?P<who>\w+), (?P<thing>\w+), (?P<pence>\w+) pence",
    r"(?P<thing>\w+), (?P<pence>\w+) pence, (?P<who>\w+)",
)
_OF_BILLS = (
    (r"how many pence for the (?P<thing>\w+)\?", "pence"),
    (r"who pays (?P<pence>\w+) pence\?", "who"),
    (r"what does (?P<who>\w+) pay for\?", "thing"),
    (r"who pays for the (?P<thing>\w+)\?", "who"),
)


def _looked_up(inputs, lines, questions):
    question, context = _parts(inputs, "question", "context")
    rows = [
        next(m for line in lines if (m := re.fullmatch(line, sentence))).groupdict()
        for sentence in sentences(context)
    ]
    for form, sought in questions:
        if match := re.fullmatch(form, question):
            [row] = [row for row in rows if match.groupdict().items() <= row.items()]
            return row[sought]
    raise AssertionError(question)


def ships(inputs):
    return _looked_up(inputs, _VOYAGES, _OF_SHIPS)


def bills(inputs):
    return _looked_up(inputs, _ROWS, _OF_BILLS)


def way_to_ask(question):
    """What is asked for, and the form in which."""
    done = {"p": r"\w+", "v": rf"({_BASES}) the \w+", "d": rf"({_PASTS}) the \w+"}
    [found] = [
        (part, form)
        for part, forms in wordings.QUESTIONS.items()
        for form in forms
        if re.fullmatch(form.replace("?", r"\?").format(**done), question)
    ]
    return found


def ask_the_same(one, two):
    return way_to_ask(one)[0] == way_to_ask(two)[0]


def say_the_same(one, two):
    first, second = (implied(text) or stated(text)[:2] for text in (one, two))
    assert first[0] == second[0], (one, two)
    return first == second


def qqp(inputs):
    one, two = _parts(inputs, "question1", "question2")
    asked = dict(implied(question.strip()) for question in one.split("?")[:-1])
    so = asked[_key(_matched(_ASKED, two.rstrip("?")))]
    return "duplicate" if so else "another"


def mrpc(inputs):
    told, said = _parts(inputs, "sentence1", "sentence2")
    return "equivalent" if _claimed(told, stated(said)[0]) else "contradiction"


def _named(inputs, meaning):
    [label] = [meaning[w] for w in re.findall("[a-z]+", inputs) if w in meaning]
    return label


def kind(inputs):
    return _named(inputs, KIND)


def mood(inputs):
    return _named(inputs, MOOD)


TASKS = {
    f"pocket_{solve.__name__}": solve
    for solve in itertools.chain(
        (kind, mood, boolq, cb, rte, copa, wic, multirc, wsc, record),
        (squad, letters, ships, bills, qqp, mrpc),
    )
}
