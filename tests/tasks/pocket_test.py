"""The tasks: solved by the rules of the world, and by nothing less."""

import collections
import functools
import re

import numpy as np
import pocket_oracle
import pytest
import seqio
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from prompt_tuning.tasks import pocket
from prompt_tuning.tasks.pocket import (
    inference,
    kinds,
    reasons,
    reports,
    senses,
    text,
    world,
)
from prompt_tuning.tasks_io.modules import import_tasks
from prompt_tuning.training.scoring import keywords

import_tasks("prompt_tuning.tasks.pocket")  # which registers them with seqio

# The fields of each task with labels; it takes every one of them to find the label,
# which in pocket_copa and pocket_wic is read from an answer in words.
FIELDS = {
    "pocket_boolq": ("passage", "question"),
    "pocket_rte": ("hypothesis", "premise"),
    "pocket_cb": ("hypothesis", "premise"),
    "pocket_copa": ("choice1", "choice2", "premise", "question"),
    "pocket_wic": ("sentence1", "meaning1", "sentence2", "word"),
    "pocket_multirc": ("question", "answer", "paragraph"),
    "pocket_qqp": ("question1", "question2"),
    "pocket_mrpc": ("sentence1", "sentence2"),
}
# Of these any can be left out: the others decide alone.
SPARE = {("pocket_copa", field) for field in ("choice1", "choice2", "question")}
SPARE |= {("pocket_wic", field) for field in ("sentence1", "meaning1", "word")}
NAMED = ("pocket_kind", "pocket_mood")
NAMES = {person.name for person in world.PEOPLE}
QUESTIONS = ("pocket_squad", "pocket_letters", "pocket_ships", "pocket_bills")
TRAINED = (*NAMED, *FIELDS, "pocket_wsc", "pocket_record", "pocket_squad")


@functools.cache
def examples(task, split):
    registered = seqio.TaskRegistry.get(task)
    dataset = registered.get_dataset(None, split, shuffle=False, num_epochs=1)
    return list(dataset.as_numpy_iterator())


@functools.cache
def pairs(task, split):
    """(inputs, targets) as texts."""
    return [
        tuple(e[f"{key}_pretokenized"].decode() for key in ("inputs", "targets"))
        for e in examples(task, split)
    ]


@functools.cache
def labelled(task, split):
    """(inputs, the label that the targets are scored as)."""
    post = seqio.TaskRegistry.get(task).postprocess_fn
    rows = []
    for (inputs, target), row in zip(
        pairs(task, split), examples(task, split), strict=True
    ):
        label = post(target, example=row, is_target=True)
        rows.append((inputs, label["value"] if isinstance(label, dict) else label))
    return rows


def splits(task):
    return seqio.TaskRegistry.get(task).splits


@pytest.mark.parametrize("task", pocket_oracle.TASKS)
def test_whoever_knows_the_rules_solves_every_example(task):
    solve = pocket_oracle.TASKS[task]
    registered = seqio.TaskRegistry.get(task)
    for split in splits(task):
        rows = examples(task, split)[:1_000]
        said = [solve(row["inputs_pretokenized"].decode()) for row in rows]
        targets = [row["targets_pretokenized"].decode() for row in rows]
        post = registered.postprocess_fn
        scores = registered.metric_fns[0](
            [
                post(target, example=row, is_target=True)
                for target, row in zip(targets, rows, strict=True)
            ],
            [
                post(text, example=row, is_target=False)
                for text, row in zip(said, rows, strict=True)
            ],
        )
        if task == "pocket_wsc" and split != "train":
            # Half of the examples name the other person.
            assert np.mean([s == t for s, t in zip(said, targets, strict=True)]) == 0.5
        else:
            assert said == targets
        assert set(scores.values()) == {100.0}


def scores(train, held_out):
    """The accuracy of a bag of words on both."""
    bag, model = CountVectorizer(), LogisticRegression(max_iter=500)
    model.fit(bag.fit_transform([x for x, _ in train]), [y for _, y in train])
    return [
        100 * model.score(bag.transform([x for x, _ in rows]), [y for _, y in rows])
        for rows in (train, held_out)
    ]


def majority(rows):
    counts = collections.Counter(label for _, label in rows)
    return 100 * max(counts.values()) / len(rows)


@pytest.mark.parametrize("task", [*NAMED, *FIELDS])
def test_a_bag_of_words_stays_at_the_majority(task):
    rows = labelled(task, "validation")
    train, found = scores(labelled(task, "train"), rows)
    if task in NAMED:
        assert train > 99, "the bag learned nothing: the test shows nothing"
    assert abs(found - majority(rows)) <= 5


def without(field, rows):
    shown = [(re.sub(rf"{field}: .*?(?= \w+: |$)", "", x), y) for x, y in rows]
    assert all(f"{field}:" not in x for x, _ in shown) and shown != rows
    return shown


@pytest.mark.parametrize(
    "task, field",
    [(t, f) for t, fs in FIELDS.items() for f in fs if (t, f) not in SPARE],
)
def test_without_a_field_that_decides_nothing_is_left(task, field):
    train, rows = (without(field, labelled(task, s)) for s in ("train", "validation"))
    assert abs(scores(train, rows)[1] - majority(rows)) <= 5


@pytest.mark.parametrize("task", [*NAMED, *FIELDS])
def test_labels_are_balanced(task):
    for split in splits(task):
        counts = collections.Counter(label for _, label in labelled(task, split))
        words = keywords(seqio.TaskRegistry.get(task).postprocessor)
        labels = words.get("label_classes", ("one", "other"))
        assert sorted(counts) == list(range(len(labels)))
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("task", ["pocket_record", *QUESTIONS])
def test_an_answer_stands_in_each_sentence_equally_often(task):
    at = collections.defaultdict(collections.Counter)
    for split in splits(task):
        for inputs, answer in pairs(task, split):
            told = re.split(r"(?:context|passage): (?:dear \w+, )?", inputs)[1]
            told = pocket_oracle.sentences(told)
            told = told[:-1] if task == "pocket_letters" else told
            where = [i for i, text in enumerate(told) if f" {answer} " in f" {text} "]
            if len(where) == 1:
                at[len(told)][where[0]] += 1
    for count, found in at.items():
        if count > 1:
            assert len(found) == count
            assert max(found.values()) < 1.35 * min(found.values()), (count, found)


@pytest.mark.parametrize("task", ["pocket_cb", "pocket_boolq", "pocket_multirc"])
def test_the_place_of_what_is_claimed_does_not_tell_the_label(task):
    counts = collections.defaultdict(collections.Counter)
    for inputs, label in pairs(task, "train"):
        told = re.search(r"(?:passage|premise|paragraph): (.*?)(?: \w+:|$)", inputs)[1]
        asked = re.sub(re.escape(told), "", inputs).split()
        sentences = pocket_oracle.sentences(told)
        where = [
            i for i, text in enumerate(sentences) if {*asked} & {*text.split()} & NAMES
        ]
        counts[len(sentences), tuple(where)][label] += 1
    for found in counts.values():
        if found.total() > 300:
            assert max(found.values()) < 1.4 * min(found.values()), counts


def test_the_longer_choice_is_no_better():
    counts = collections.Counter()
    for inputs, label in labelled("pocket_copa", "train"):
        one, two = re.match("choice1: (.*) choice2: (.*) premise", inputs).groups()
        if len(one) != len(two):
            counts[(len(one) > len(two)) == (label == 0)] += 1
    assert 0.8 < counts[True] / counts[False] < 1.25


IMPLICATIVES = [form for own in inference.IMPLICATIVES.values() for form in own]


def words(task, split):
    shown = [
        re.sub(r" meaning1: .*?(?= sentence2:)", "", x) for x, _ in pairs(task, split)
    ]
    return {word for inputs in shown for word in re.findall("[a-z]+", inputs)}


@pytest.mark.parametrize("task", TRAINED)
def test_no_split_shares_what_decides_with_another(task):
    names = NAMES | {place.name.split()[-1] for place in world.PLACES}
    names |= {name.split()[-1] for name in world.OBJECTS}
    if task in NAMED:  # a name like any other decides; persons do, too, but not here
        names = {*pocket_oracle.KIND, *pocket_oracle.MOOD}
    if task == "pocket_wic":
        names |= set(senses.WORDS)
    parts = [words(task, split) & names for split in splits(task)]
    assert [len(part) > 5 for part in parts] == [True] * 3
    assert sum(map(len, parts)) == len(set().union(*parts))


@pytest.mark.parametrize(
    "task, templates",
    [
        ("pocket_copa", [text for pair in reasons.CAUSES for text in pair]),
        ("pocket_wsc", [r for f in reasons.FRAMES for r in (*f.of_x, *f.of_y)]),
        ("pocket_cb", [form for forms in reports.REPORTS.values() for form in forms]),
        ("pocket_rte", IMPLICATIVES),
        ("pocket_qqp", IMPLICATIVES),
    ],
)
def test_no_split_shares_its_templates_with_another(task, templates):
    forms = [
        re.sub(r"\{[a-z]\}", r"[\\w ]+?", form.split(" {c}")[0]) for form in templates
    ]
    parts = []
    for split in splits(task):
        told = "\n".join(inputs for inputs, _ in pairs(task, split))
        parts.append({form for form in forms if re.search(rf"\b{form}\b", told)})
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(forms))


def test_the_other_domains_are_unlike_the_one_that_is_trained_on():
    def told(task, split="validation"):
        contexts = [x.split("context: ")[1] for x, _ in pairs(task, split)]
        found = {w for x in contexts for w in re.findall("[a-z]+", x)}
        return found - {w for p in world.PEOPLE for w in p} - {"the", "of", "for", "is"}

    village = told("pocket_squad", "train") | told("pocket_squad")
    assert not told("pocket_ships") & village  # in words
    assert not told("pocket_bills") & {v.past for v in pocket_oracle._ALL}  # in style
    letters = [x for x, _ in pairs("pocket_letters", "validation")]
    assert all(" context: dear " in x and re.search(r"\bi \w+", x) for x in letters)


@pytest.mark.parametrize("task", pocket_oracle.TASKS)
def test_encoded_examples_are_short_and_end(task):
    for example in examples(task, "validation"):
        assert len(example["inputs"]) <= 144 and len(example["targets"]) <= 16
        assert example["inputs"][-1] == example["targets"][-1] == 1
        assert 2 not in example["inputs"]


@pytest.mark.parametrize("task", pocket_oracle.TASKS)
def test_sources_give_as_many_examples_as_they_say(task):
    registered = seqio.TaskRegistry.get(task)
    for split in splits(task):
        assert registered.num_input_examples(split) == pocket.EXAMPLES[split]
        assert len(examples(task, split)) == pocket.EXAMPLES[split]


def test_questions_have_several_answers_to_judge_half_of_them_right():
    groups = collections.defaultdict(list)
    for row in examples("pocket_multirc", "validation"):
        groups[int(row["idx/question"])].append(row["targets_pretokenized"].decode())
    assert len(groups) == 120
    assert {tuple(sorted(labels)) for labels in groups.values()} == {
        ("false", "false", "true", "true")
    }


def test_all_training_examples_of_wsc_name_the_right_person():
    for split, rate in (("train", 1), ("validation", 0.5), ("test", 0.5)):
        assert np.mean([e["label"] for e in examples("pocket_wsc", split)]) == rate


@pytest.mark.parametrize("task, other", [("mrpc", "qqp"), ("qqp", "mrpc")])
def test_zero_shot_tasks_read_the_other_tasks_words_and_no_split_trains(task, other):
    own, name = f"pocket_{task}", f"pocket_{task}_from_{other}"
    assert pairs(name, "validation") == pairs(own, "validation")
    assert set(splits(name)) == {"validation", "test"}
    said = keywords(pocket.TASKS[f"pocket_{other}"].postprocess_fn)
    task = seqio.TaskRegistry.get(name)
    texts = (
        *said["label_classes"],
        *keywords(task.postprocessor)["label_classes"],
        "yes",
    )
    assert keywords(task.postprocessor)["said_classes"] == said["label_classes"]
    found = [task.postprocess_fn(t, example={}, is_target=False) for t in texts]
    assert found == [0, 1, 0, 1, -1]
    mixture = seqio.MixtureRegistry.get(f"{name}_zeroshot")
    assert {t.name for t in mixture.tasks} == {f"pocket_{other}", name}


def test_mixtures_train_on_the_village_alone():
    for name in ("letters", "ships", "bills"):
        mixture = seqio.MixtureRegistry.get(f"pocket_squad_to_{name}")
        trained = [t.name for t in mixture.tasks if "train" in t.splits]
        assert trained == ["pocket_squad"]


def test_the_formats_of_the_tasks_occur_in_no_pre_training_text():
    documents = [*text.documents(0, 10_000), *text.documents(1, 1_000)]
    for inputs, _ in (row for task in TRAINED for row in pairs(task, "train")[:50]):
        assert re.search("[:*]", inputs)
    assert not [document for document in documents if re.search("[:*@_]", document)]


@pytest.mark.parametrize("task", NAMED)
def test_nothing_but_the_name_differs_between_the_labels(task):
    meaning = pocket_oracle.KIND if task == "pocket_kind" else pocket_oracle.MOOD
    labels = kinds.KINDS if task == "pocket_kind" else kinds.MOODS
    frames = collections.defaultdict(collections.Counter)
    for inputs, label in pairs(task, "validation"):
        frame = re.sub("[a-z]+", lambda w: "_" if w[0] in meaning else w[0], inputs)
        assert not set(frame.split()) & set(labels)
        frames[frame][label] += 1
    for counts in frames.values():
        assert len(counts) == len(labels) and len(set(counts.values())) == 1
