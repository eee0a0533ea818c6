"""The pocket world: small English texts from a seed, and tasks on them.

Pre-training text (`documents`) tells what happens to a few people in a small world, and
asks and answers questions about it. The tasks ask for the same skills in formats that
the text never has, so a prompt can only call up what the frozen model has learned from
reading. They are analogues of the paper's: each has the fields and the metrics of the
real one in tasks/paper.py, with labels that are words of the world, and the splits
train, validation and test. None of it needs seqio or TensorFlow: `TASKS` are trained
and evaluated without them, and registered with seqio where that is asked for.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prompt_tuning.tasks import TextTask, accuracy, label_index, render, scoring
from prompt_tuning.tasks.files import Record
from prompt_tuning.tasks.pocket import (
    answered,
    choices,
    domains,
    judgements,
    transfer,
    variants,
)
from prompt_tuning.tasks.pocket.kinds import FEELINGS, KINDS, MOODS, THINGS, passages
from prompt_tuning.tasks.pocket.probes import SKILLS, probes
from prompt_tuning.tasks.pocket.text import documents
from prompt_tuning.tasks.render import Features

__all__ = ["EXAMPLES", "FEELINGS", "KINDS", "MIXTURES", "MOODS", "TASKS", "THINGS"]
__all__ += ["documents", "probes"]

TASKS: dict[str, TextTask] = {}
MIXTURES: dict[str, Sequence[str]] = {}  # of tasks that are drawn equally often

EXAMPLES = {"train": 4_008, "validation": 480, "test": 480}  # 24 divides each
UNTRAINED = {split: count for split, count in EXAMPLES.items() if split != "train"}
PROBES = {"validation": 100, "test": 100}  # of each skill
DOCUMENTS = {"train": 200_000, "validation": 2_000}

Render = Callable[[Record, Sequence[str]], Iterator[Features]]
# A label is one piece of the vocabulary. A model that has read little cannot spell, as
# T5 can, a word that it never read ("not_entailment": five pieces).
FALSE_TRUE = ("false", "true")
RTE = ("entailment", "contradiction")
CB = ("entailment", "contradiction", "neutral")
QQP = ("another", "duplicate")
MRPC = ("contradiction", "equivalent")
# For the class_label initialiser of tasks whose targets are free text.
COPA_WORDS = ("cause", "effect")
WIC_WORDS = ("mean", "means", "word", "sense")
RECORD_WORDS = ("who", "which", "one", "word")
WSC_WORDS = ("who", "meant", "because")


def _add(
    name: str,
    examples: Callable[[str], Iterator[Features]],
    counts: Mapping[str, int] = EXAMPLES,
    **more: Any,
) -> None:
    """Adds a task of these examples."""
    TASKS[name] = TextTask(name, counts, examples, **more)


def _add_records(
    name: str,
    records: Callable[[str, int], Iterator[Record]],
    show: Render,
    labels: Sequence[str] = (),
    metrics: Sequence[Callable] = (accuracy,),
    postprocess: Callable = label_index,
    counts: Mapping[str, int] = EXAMPLES,
    **keywords: Any,
) -> None:
    """Adds a task of records, rendered by `show`."""

    def examples(split: str) -> Iterator[Features]:
        for record in records(split, EXAMPLES[split]):
            yield from show(record, labels)

    if labels:
        keywords = {"label_classes": labels} | keywords
    _add(
        name,
        examples,
        counts,
        postprocess_fn=functools.partial(postprocess, **keywords),
        metric_fns=metrics,
    )


def _fields(*names: str) -> Render:
    return functools.partial(render.fields, names=names)


def _question(record: Record, labels: Sequence[str]) -> Iterator[Features]:
    """As render.question, but without spaces around punctuation, which text lacks."""
    answers = record["answers"]
    inputs = f"question: {record['question']} context: {record['context']}"
    yield {"inputs": inputs, "targets": answers[0], "answers": answers}


def _named(form: str, mood: bool) -> Callable[[str], Iterator[Features]]:
    """The examples of pocket_kind or pocket_mood."""

    def examples(split: str) -> Iterator[Features]:
        for text, label in passages(split, EXAMPLES[split], mood):
            yield {"inputs": form.format(text), "targets": label}

    return examples


def _text(split: str) -> Iterator[Features]:
    """The examples of pocket_text, the pre-training text."""
    seed = 0 if split == "train" else 1
    return ({"targets": text} for text in documents(seed, DOCUMENTS[split]))


def _probes(split: str) -> Iterator[Features]:
    """The examples of pocket_skill, the probes of a frozen model."""
    for skill, text, word in probes(list(PROBES).index(split), PROBES[split]):
        yield {"inputs": text, "targets": word, "skill": skill}


# Of several words for the same answer, the one that counts.
_SAME = {"true": "yes", "right": "yes", "false": "no", "wrong": "no"}


def first_words(
    text: str, example: Mapping[str, Any], is_target: bool = False, **unused: object
) -> dict[str, Any]:
    """A text's words; for a target also its skill, as "group"."""
    words = re.findall("[a-z']+", text)
    group = {"group": example["skill"].decode()} if is_target else {}
    return {"value": [_SAME.get(word, word) for word in words]} | group


def skill_accuracy(
    targets: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The accuracy of each skill: how often a text begins with the target's words.

    What follows them only tells the story on.
    """
    right: dict[str, list[bool]] = {}
    for target, prediction in zip(targets, predictions, strict=True):
        words = target["value"]
        equal = prediction["value"][: len(words)] == words
        right.setdefault(target["group"], []).append(equal)
    return {skill: 100 * sum(r) / len(r) for skill, r in sorted(right.items())}


_add(
    "pocket_kind",
    _named("passage: {} topic:", mood=False),
    postprocess_fn=functools.partial(label_index, label_classes=KINDS),
    metric_fns=(accuracy,),
)
_add(
    "pocket_mood",
    _named("passage: {} mood:", mood=True),
    postprocess_fn=functools.partial(label_index, label_classes=MOODS),
    metric_fns=(accuracy,),
)
_add_records(
    "pocket_boolq", judgements.boolq, _fields("passage", "question"), FALSE_TRUE
)
_add_records("pocket_rte", judgements.rte, _fields("hypothesis", "premise"), RTE)
_add_records(
    "pocket_cb",
    judgements.cb,
    _fields("hypothesis", "premise"),
    CB,
    (accuracy, scoring.mean_3class_f1),
)
_add_records(
    "pocket_copa",
    choices.copa,
    answered.choice,
    postprocess=answered.chosen,
    class_words=COPA_WORDS,
)
_add_records(
    "pocket_wic",
    judgements.wic,
    answered.meaning,
    postprocess=answered.chosen,
    class_words=WIC_WORDS,
)
_add_records(
    "pocket_multirc",
    judgements.multirc,
    render.multirc,
    FALSE_TRUE,
    (scoring.multirc_exact_match, scoring.multirc_f1),
    scoring.option_index,
)
_add_records(
    "pocket_wsc",
    choices.wsc,
    render.winograd,
    postprocess=scoring.same_referent,
    class_words=WSC_WORDS,
)
_add_records(
    "pocket_record",
    choices.record,
    render.record,
    metrics=(scoring.record,),
    postprocess=scoring.entity,
    class_words=RECORD_WORDS,
)
_QUESTIONS = {"metrics": (scoring.squad,), "postprocess": scoring.answers}
_add_records("pocket_squad", transfer.squad, _question, **_QUESTIONS)
for _name in domains.DOMAINS:
    _add_records(
        f"pocket_{_name}",
        functools.partial(transfer.domain, name=_name),
        _question,
        counts=UNTRAINED,
        **_QUESTIONS,
    )
    MIXTURES[f"pocket_squad_to_{_name}"] = ("pocket_squad", f"pocket_{_name}")

_F1 = (accuracy, scoring.f1)
_PARAPHRASES = {
    "qqp": (transfer.qqp, _fields("question1", "question2"), QQP),
    "mrpc": (transfer.mrpc, _fields("sentence1", "sentence2"), MRPC),
}
for _name, (_records, _show, _labels) in _PARAPHRASES.items():
    _add_records(f"pocket_{_name}", _records, _show, _labels, _F1)


def _translated(text: str, words: Sequence[str], labels: Sequence[str]) -> str:
    """The label that a model trained on the other task means by its word."""
    return dict(zip(words, labels, strict=True)).get(text, text)


for _name, _other in (("qqp", "mrpc"), ("mrpc", "qqp")):
    _records, _show, _labels = _PARAPHRASES[_name]
    _said = _PARAPHRASES[_other][2]
    _read = functools.partial(
        scoring.read_first,
        postprocess=label_index,
        read=functools.partial(_translated, words=_said, labels=_labels),
        said_classes=_said,
    )
    _from = f"pocket_{_name}_from_{_other}"
    _add_records(_from, _records, _show, _labels, _F1, _read, UNTRAINED)
    MIXTURES[f"{_from}_zeroshot"] = (f"pocket_{_other}", _from)

MIXTURES["pocket"] = ("pocket_kind", "pocket_mood")
# Of the paper's figures by size (reproduce/scales.py): the score is their mean.
SUITE = ("pocket_kind", "pocket_mood", "pocket_cb", "pocket_wsc")
for _task in [TASKS[_name] for _name in SUITE]:
    for _variant in (variants.named(_task), variants.with_sentinel(_task)):
        TASKS[_variant.name] = _variant
MIXTURES["pocket_suite"] = tuple(f"{_name}_named" for _name in SUITE)
_add("pocket_text", _text, DOCUMENTS, features=("targets",))
_add(
    "pocket_skill",
    _probes,
    {split: count * len(SKILLS) for split, count in PROBES.items()},
    postprocess_fn=first_words,
    metric_fns=(skill_accuracy,),
)
