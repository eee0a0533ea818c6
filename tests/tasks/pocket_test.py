import collections
import functools
import itertools
import pathlib
import re
import runpy
import string

import numpy as np
import pytest
import seqio
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from prompt_tuning.tasks import pocket

ROOT = pathlib.Path(__file__).parents[2]
TASKS = {
    "pocket_kind": (pocket.THINGS, pocket.KINDS),
    "pocket_mood": (pocket.FEELINGS, pocket.MOODS),
}
MEANING = {
    name: label
    for names, _ in TASKS.values()
    for label, own in names.items()
    for name in own
}
LABELS = (*pocket.KINDS, *pocket.MOODS)


def words(text):
    return re.findall("[a-z]+", text)


def names_in(text):
    return [word for word in words(text) if word in MEANING]


@pytest.fixture(scope="module")
def documents():
    return list(pocket.documents(seed=0, count=20_000))


@pytest.fixture(scope="module")
def vocabulary():
    return seqio.get_mixture_or_task("pocket").output_features["targets"].vocabulary


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return request.param


@functools.cache
def examples(task, split):
    dataset = seqio.get_mixture_or_task(task).get_dataset(
        None, split, shuffle=False, num_epochs=1
    )
    return list(dataset.as_numpy_iterator())


@pytest.fixture(scope="module")
def pairs(task):
    """{split: [(passage, label)]} as the seqio task gives them."""
    return {
        split: [
            (e["inputs_pretokenized"].decode(), e["targets_pretokenized"].decode())
            for e in examples(task, split)
        ]
        for split in ("train", "validation")
    }


# The names.


def test_every_name_means_one_thing_and_is_no_word_of_the_text():
    counts = {len(own) for names, _ in TASKS.values() for own in names.values()}
    assert counts == {pocket.NAMES_PER_KIND, pocket.NAMES_PER_MOOD}
    assert len(MEANING) == 8 * pocket.NAMES_PER_KIND + 6 * pocket.NAMES_PER_MOOD
    source = pathlib.Path(pocket.__file__).read_text()
    assert {"harbour", "buttoned", *LABELS} <= set(words(source))
    assert not MEANING.keys() & set(words(source))
    assert all(4 <= len(name) <= 9 for name in MEANING)


def test_spelling_does_not_tell_the_kind():
    train, held_out = [], []
    for kind, names in pocket.THINGS.items():
        train += [(name, kind) for name in names[:32]]
        held_out += [(name, kind) for name in names[32:]]
    letters = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    assert scores(letters, train, held_out)["validation"] < 2 / len(pocket.KINDS)


# The pre-training text.


def test_documents_are_repeatable_and_differ_by_seed():
    first = list(pocket.documents(3, 50))
    assert list(pocket.documents(3, 80))[:50] == first
    assert not set(pocket.documents(4, 50)) & set(first)


def test_documents_are_short_clean_and_varied(documents, vocabulary):
    assert len(set(documents)) > 0.99 * len(documents)
    letters = set("".join(documents))
    assert letters <= set(string.ascii_lowercase + " .,'?!")
    lengths = [len(ids) for ids in vocabulary.tf_tokenizer.tokenize(documents).numpy()]
    assert 38 < np.mean(lengths) < 48
    assert min(lengths) > 15 and np.quantile(lengths, 0.99) < 80
    for text in documents:
        assert not re.search(r"  |\b(a|the|he|she) \1\b", text)


def test_every_name_is_used_and_explained_often(documents):
    explained = collections.Counter()
    for text in documents:
        found = words(text)
        for name in set(names_in(text)):
            explained[name] += MEANING[name] in found
    assert explained.keys() == MEANING.keys()
    assert min(explained.values()) >= 20  # of 20,000 documents; expected about 70


def test_what_documents_say_of_a_name_is_true(documents):
    claim = re.compile(
        r"(?<!is )\ba (\w+) is (?:a kind of|a) (?:(?:small|old|new|fine|strange|lovely"
        r"|plain|little|big|rare) )?(\w+)|to be (\w+) is to be (\w+)"
    )
    text = re.sub(r"'is a [^']*'", "", "\n".join(documents))  # less the questions
    claims = [tuple(filter(None, match)) for match in claim.findall(text)]
    assert len(claims) > 2_000
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
            moods = {MEANING[n] for n in names_in(text)} & set(pocket.MOODS)
            assert moods == {"sad"}
            seen["sad"] += 1
    assert min(seen[key] for key in ("food", "boat", "sad")) > 20


# What the tasks may not share with it.


def test_the_formats_of_the_tasks_occur_in_no_pre_training_text(documents):
    held_back = re.compile(r"passage|topic|mood|:")
    for text in itertools.chain(documents, pocket.documents(1, 2_000)):
        assert not held_back.search(text)
    for form in (pocket.KIND_FORMAT, pocket.MOOD_FORMAT):
        assert held_back.search(form.format("")) and form.endswith(":")


def test_probes_ask_in_natural_text_for_what_the_name_means():
    probes = pocket.skill_probes(0, 400)
    assert probes == pocket.skill_probes(0, 400)
    assert {answer for _, answer in probes} == set(LABELS)
    for text, answer in probes:
        assert {MEANING[name] for name in names_in(text)} == {answer}
        assert answer not in words(text)
        assert not re.search(r"passage|topic|mood|:|[{} ]$", text)


def test_probes_begin_as_documents_do():
    ends = {" ".join(text.split()[-2:]) for text, _ in pocket.skill_probes(0, 400)}
    text = "\n".join(pocket.documents(9, 20_000))
    known = [end for end in ends if re.search(rf"\b{re.escape(end)} ", text)]
    assert len(known) > 0.95 * len(ends)  # an end may hold a rare pair of words


# The tasks.


def scores(vectorizer, train, held_out):
    texts, labels = zip(*train, strict=True)
    model = LogisticRegression(max_iter=1000)
    model.fit(vectorizer.fit_transform(texts), labels)
    return {
        split: model.score(vectorizer.transform(texts), labels)
        for split, (texts, labels) in {
            "train": (texts, labels),
            "validation": tuple(zip(*held_out, strict=True)),
        }.items()
    }


def test_a_bag_of_words_stays_at_the_majority_class(pairs):
    bag = CountVectorizer(ngram_range=(1, 2))
    accuracy = scores(bag, pairs["train"], pairs["validation"])
    labels = collections.Counter(label for _, label in pairs["validation"])
    majority = max(labels.values()) / labels.total()
    assert accuracy["train"] > 0.99, "the bag learned nothing: the test shows nothing"
    assert abs(accuracy["validation"] - majority) <= 0.05


def test_labels_are_balanced_and_one_name_decides(task, pairs):
    labels = TASKS[task][1]
    names = {}
    for split, of_split in pairs.items():
        counts = collections.Counter(label for _, label in of_split)
        assert set(counts) == set(labels) and len(set(counts.values())) == 1
        found = [names_in(text) for text, _ in of_split]
        assert [[MEANING[n] for n in f] for f in found] == [[y] for _, y in of_split]
        names[split] = {f[0] for f in found}
    assert not names["train"] & names["validation"]
    assert names["train"] | names["validation"] == set().union(*TASKS[task][0].values())
    assert len(names["train"]) == 2 * len(names["validation"])


def test_nothing_but_the_name_differs_between_the_labels(task, pairs):
    for of_split in pairs.values():
        frames = collections.defaultdict(list)
        for text, label in of_split:
            frames[re.sub("|".join(names_in(text)), "_", text)].append(label)
        for labels in frames.values():
            counts = collections.Counter(labels)
            assert len(counts) == len(TASKS[task][1])
            assert len(set(counts.values())) == 1


def test_passages_name_no_label(pairs):
    for text, _ in pairs["train"] + pairs["validation"]:
        assert not set(words(text)) & set(LABELS)


def test_encoded_examples_are_short_and_end(task):
    of_task = examples(task, "validation")
    assert max(len(e["inputs"]) for e in of_task) <= 48
    for example in of_task:
        assert example["inputs"][-1] == example["targets"][-1] == 1
        assert len(example["targets"]) == 2  # one piece and EOS
        assert 2 not in example["inputs"]


def test_sources_give_as_many_examples_as_they_say(task):
    registered = seqio.get_mixture_or_task(task)
    for split, count in pocket.EXAMPLES.items():
        assert registered.num_input_examples(split) == count
        assert len(examples(task, split)) == count


def test_the_text_task_gives_the_documents():
    task = seqio.get_mixture_or_task("pocket_text")
    assert task.num_input_examples("train") == 400_000
    assert list(task.output_features) == ["targets"]
    for split, seed in (("train", 0), ("validation", 1)):
        dataset = task.get_dataset(None, split, shuffle=False).take(20)
        texts = [
            e["targets_pretokenized"].decode() for e in dataset.as_numpy_iterator()
        ]
        assert texts == list(pocket.documents(seed, 20))


def test_the_mixture_draws_from_both_tasks_equally():
    mixture = seqio.get_mixture_or_task("pocket")
    assert {t.name for t in mixture.tasks} == set(TASKS)
    assert len({mixture.get_rate(t) for t in mixture.tasks}) == 1


def test_decoded_labels_become_their_place_and_other_text_is_illegal(task):
    registered, labels = seqio.get_mixture_or_task(task), TASKS[task][1]
    decoded = (*labels, "", f"a {labels[0]}", labels[0].upper())
    found = [registered.postprocess_fn(t, example={}, is_target=False) for t in decoded]
    assert found == [*range(len(labels)), -1, -1, -1]
    [metric] = registered.metric_fns
    assert metric([0, 1, 2, 2], [0, 1, 1, -1]) == {"accuracy": 50.0}


# The vocabulary.


def test_the_vocabulary_has_2048_pieces_and_t5s_special_ids(vocabulary):
    assert vocabulary.vocab_size == 2048
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.bos_id is None or vocabulary.bos_id < 0
    assert vocabulary.decode([2047]) == "<extra_id_0>"


@pytest.mark.parametrize("word", [*LABELS, pocket.THINGS["gem"][40]])
def test_labels_and_names_are_one_piece(word, vocabulary):
    assert len(vocabulary.encode(word)) == 1


@pytest.mark.parametrize(
    "text", ["it was a coat.", "Not_Equivalent: 3.5% <br>?", "naïve Ω 東京 🦆"]
)
def test_any_text_can_be_encoded_and_comes_back(text, vocabulary):
    ids = vocabulary.encode(text)
    assert vocabulary.unk_id not in ids
    assert vocabulary.decode(ids) == text


@pytest.mark.slow
def test_the_shipped_vocabulary_is_what_its_script_makes():
    script = runpy.run_path(str(ROOT / "scripts/pocket_vocabulary.py"))
    shipped = ROOT / "prompt_tuning/pocket/spiece.model"
    assert script["train"]() == shipped.read_bytes()
