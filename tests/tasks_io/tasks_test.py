"""Tasks to batches: what is found, tokenised, cut, ordered and padded."""

import functools
import re

import numpy as np
import pages
import pytest
import sentencepiece
import seqio
import tensorflow as tf
from source import ROOT

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.tasks_io import evaluate, tasks
from prompt_tuning.training import batching, scoring
from prompt_tuning.training.task import encode_rows, label_ids

BYTES = load_vocabulary("byt5")
TEXTS = [("the cat", "yes"), ("a dog sat on the mat", "no"), ("a cat", "yes")]
PREPROCESSORS = [
    seqio.preprocessors.tokenize,
    seqio.preprocessors.append_eos_after_trim,
]


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    """A SentencePiece model of its own, so that ids here depend on nothing shipped."""
    return train_spiece(
        tmp_path_factory.mktemp("vocabulary"), pad_id=0, eos_id=1, unk_id=2, bos_id=-1
    )


def train_spiece(folder, **ids):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat and a dog sat on the mat yes no maybe"] * 9),
        model_prefix=str(folder / "m"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    return str(folder / "m.model")


@pytest.fixture
def vocabulary(spiece):
    return load_vocabulary(spiece)


def load(task, vocabulary, split, lengths=None):
    """The examples of a task that is not registered."""
    return tasks.SeqioTask(task, vocabulary).load(split, lengths).examples


def make_task(vocabulary, texts=TEXTS, name="small", labels=("yes", "no"), **changes):
    def dataset(split, shuffle_files, seed=None):
        inputs, targets = zip(*texts, strict=True)
        lines = {"inputs": list(inputs), "targets": list(targets)}
        return tf.data.Dataset.from_tensor_slices(lines)

    def postprocess(text, label_classes, **_):
        return label_classes.index(text)

    feature = seqio.Feature(tasks.seqio_vocabulary(vocabulary), add_eos=True)
    return seqio.Task(
        **{
            "name": name,
            "source": seqio.FunctionDataSource(dataset, splits=["train", "test"]),
            "preprocessors": PREPROCESSORS,
            "output_features": {"inputs": feature, "targets": feature},
            "postprocess_fn": functools.partial(postprocess, label_classes=labels),
        }
        | changes
    )


@pytest.fixture
def register():
    """Registers a task or mixture for the length of a test."""
    added = []

    def add(provider):
        is_task = isinstance(provider, seqio.Task)
        registry = seqio.TaskRegistry if is_task else seqio.MixtureRegistry
        registry.add_provider(provider.name, provider)
        added.append((registry, provider.name))
        return provider

    yield add
    for registry, name in added:
        registry.remove(name)


# Finding tasks.


def test_an_unknown_task_is_answered_with_names_near_it(vocabulary, register):
    register(make_task(vocabulary, name="weather"))
    with pytest.raises(UserError, match=r"'wether'.*near it: weather"):
        tasks.open_task("wether", (), vocabulary)


def test_a_task_is_fitted_to_the_models_vocabulary(vocabulary, register):
    task = register(make_task(BYTES))
    fitted = tasks.open_task("small", (), vocabulary)
    assert fitted.load("train").examples.inputs[0].tolist() == [
        *vocabulary.encode("the cat"),
        1,
    ]
    assert (fitted.name, fitted.splits) == ("small", ("train", "test"))
    assert fitted.vocabulary is vocabulary
    kept = task.output_features["inputs"].vocabulary
    assert isinstance(kept, seqio.ByteVocabulary), "the registered task has changed"


def test_a_mixture_is_fitted_with_its_tasks_and_rates(vocabulary, register):
    parts = [make_task(BYTES, name=name) for name in ("one", "two")]
    inner = seqio.Mixture("inner", [(parts[0], 3), (parts[1], 1)])
    register(seqio.Mixture("outer", [(inner, 8)]))
    fitted = tasks.open_task("outer", (), vocabulary).seqio_task
    assert {task.name: fitted.get_rate(task) for task in fitted.tasks} == {
        "one": 6.0,
        "two": 2.0,
    }
    of_targets = fitted.output_features["targets"].vocabulary
    assert of_targets == tasks.seqio_vocabulary(vocabulary)


def test_data_dir_goes_to_the_sources_that_can_read_files(vocabulary, register):
    class Source(seqio.FunctionDataSource):
        def at(self, data_dir):
            other = make_task(vocabulary, [(data_dir, "yes")])
            return other.source

    dataset = make_task(vocabulary).source.get_dataset
    source = Source(lambda split, shuffle_files, seed=None: dataset(), ["train"])
    register(make_task(vocabulary, name="files", source=source))
    register(make_task(vocabulary, name="no_files"))
    assert len(tasks.open_task("files", (), vocabulary).load("train").examples) == 3
    fitted = tasks.open_task("files", (), vocabulary, data_dir="a dog")
    (row,) = fitted.load("train").examples.inputs
    assert vocabulary.decode(row.tolist()) == "a dog"
    same = tasks.open_task("no_files", (), vocabulary, data_dir="a dog")
    assert len(same.load("train").examples) == 3


def test_seqios_vocabulary_has_the_same_ids(vocabulary):
    for ours in (vocabulary, BYTES):
        theirs = tasks.seqio_vocabulary(ours)
        assert theirs.vocab_size == ours.vocab_size
        for text in ("the cat", "<extra_id_0> yes", "é"):
            assert theirs.encode(text) == ours.encode(text)
            assert theirs.encode_tf(text).numpy().tolist() == ours.encode(text)


def label_words(task, vocabulary):
    return tasks.SeqioTask(task, vocabulary).label_words()


def test_label_words_come_from_the_postprocess_function(vocabulary):
    task = make_task(vocabulary)
    free = make_task(vocabulary, name="free", postprocess_fn=lambda text, **_: text)
    more = make_task(vocabulary, name="more", labels=("no", "maybe"))
    silent = make_task(vocabulary, postprocess_fn=None)
    assert label_words(task, vocabulary) == ("yes", "no")
    assert label_words(free, vocabulary) is None
    assert label_words(silent, vocabulary) is None
    mixture = seqio.Mixture("mixed", [task, free, more], default_rate=1)
    # seqio orders the tasks of a mixture by name: free, more, small.
    assert label_words(mixture, vocabulary) == ("no", "maybe", "yes")


@pytest.mark.parametrize("words", [("yes", "no", "yes"), "yes", (1, 2), ("yes", None)])
def test_label_words_are_distinct_texts(vocabulary, words):
    task = make_task(vocabulary, labels=words)
    with pytest.raises(
        UserError, match=r"the label_classes of small are .* each of th"
    ):
        load(task, vocabulary, "train")


@pytest.mark.parametrize(
    "word", ["maybe  yes", " yes", "{yes}", "\uff21", "\U0001f642"]
)
def test_label_words_that_cannot_be_written_are_named(vocabulary, word):
    task = make_task(vocabulary, labels=("yes", "no", word))
    with pytest.raises(UserError, match=re.escape(f"cannot write the label {word!r}")):
        load(task, vocabulary, "train")


def test_words_of_a_variant_are_those_its_model_knows(vocabulary):
    said = ("<extra_id_0> yes", "<extra_id_0> no")
    task = make_task(vocabulary)
    post = functools.partial(task.postprocessor, said_classes=said)
    variant = make_task(vocabulary, postprocess_fn=post)
    assert label_words(variant, vocabulary) == said
    own = scoring.first_words(evaluate.keywords([variant]), "label_classes")
    assert own == ("yes", "no")
    sentinel = vocabulary.vocab_size - 1
    expected = [[sentinel, *vocabulary.encode(word), 1] for word in ("yes", "no")]
    width = max(map(len, expected))
    assert label_ids(said, vocabulary).tolist() == [
        row + [0] * (width - len(row)) for row in expected
    ]
    assert load(variant, vocabulary, "train").lengths["targets"] == width


def test_class_words_are_those_of_the_tasks_to_train_on(vocabulary):
    free = functools.partial(lambda text, **_: text, class_words=("big", "idea"))
    task = make_task(vocabulary, name="free", postprocess_fn=free)
    assert tasks.SeqioTask(task, vocabulary).class_words("train") == ("big", "idea")
    other = make_task(vocabulary, name="other")
    mixture = tasks.SeqioTask(
        seqio.Mixture("mixed", [task, other], default_rate=1), vocabulary
    )
    assert mixture.class_words("train") == ("big", "idea", "yes", "no")
    assert mixture.class_words("validation") is None
    assert mixture.tasks("train") == (*mixture.load("train").examples.sizes,)
    assert mixture.tasks("train") == ("free", "other")
    assert mixture.tasks("validation") == ()


# Tokenising.


def test_targets_are_as_long_as_the_longest_label(vocabulary):
    labels = ("yes", "the cat and a dog")
    task = make_task(vocabulary, [("a cat", "yes")], labels=labels)
    length = load(task, vocabulary, "test").lengths["targets"]
    assert length == len(vocabulary.encode(labels[1])) + 1


def test_lengths_default_to_the_longest_example(vocabulary):
    examples = load(make_task(vocabulary), vocabulary, "train")
    longest = max(len(vocabulary.encode(text)) for text, _ in TEXTS)
    target = max(len(vocabulary.encode(text)) for _, text in TEXTS)
    assert examples.lengths == {"inputs": longest + 1, "targets": target + 1}
    assert examples.cut == {"inputs": 0, "targets": 0}
    assert all(row[-1] == 1 for row in examples.inputs + examples.targets)


def test_inputs_are_512_tokens_at_most(vocabulary):
    texts = [("a cat " * 400, "yes"), ("a", "no")]
    examples = load(make_task(vocabulary, texts), vocabulary, "train")
    assert examples.lengths["inputs"] == 512
    assert examples.cut["inputs"] == 1


def test_what_is_over_length_is_cut_before_its_eos_and_counted(vocabulary):
    task = make_task(vocabulary)
    lengths = {"inputs": 4, "targets": 8}
    examples = load(task, vocabulary, "train", lengths)
    assert examples.lengths == lengths
    by_seqio = task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator()
    for row, expected in zip(examples.inputs, by_seqio, strict=True):
        assert row.tolist() == expected["inputs"].tolist()
        assert row[-1] == 1 and row.dtype == np.int32
    tokens = [len(vocabulary.encode(text)) + 1 for text, _ in TEXTS]
    assert examples.cut == {"inputs": sum(n > 4 for n in tokens), "targets": 0}
    assert examples.cut["inputs"] > 0
    exact = load(task, vocabulary, "train", {"inputs": max(tokens)})
    assert exact.cut["inputs"] == 0, "as long as the longest is not too long"


def test_no_eos_is_added_by_cutting_where_the_feature_has_none(vocabulary):
    feature = seqio.Feature(tasks.seqio_vocabulary(vocabulary), add_eos=False)
    task = make_task(
        vocabulary, output_features={"inputs": feature, "targets": feature}
    )
    examples = load(task, vocabulary, "train", {"inputs": 2, "targets": 2})
    assert examples.inputs[1].tolist() == vocabulary.encode(TEXTS[1][0])[:2]


def test_a_preprocessor_that_needs_lengths_gets_them(vocabulary):
    @seqio.map_over_dataset
    def keep_end(example, sequence_length):
        return example | {"inputs": example["inputs"][1 - sequence_length["inputs"] :]}

    tokenize, append_eos = PREPROCESSORS
    task = make_task(vocabulary, preprocessors=[tokenize, keep_end, append_eos])
    examples = load(task, vocabulary, "train", {"inputs": 3, "targets": 40})
    assert examples.inputs[1].tolist() == [*vocabulary.encode(TEXTS[1][0])[-2:], 1]
    assert examples.cut["inputs"] == 0


def test_a_preprocessor_that_gets_no_lengths_is_a_user_error(vocabulary):
    def keep_end(dataset, sequence_length):
        return dataset

    task = make_task(vocabulary, preprocessors=[keep_end, *PREPROCESSORS])
    with pytest.raises(UserError, match="give TASK_FEATURE_LENGTHS"):
        load(task, vocabulary, "train")


def test_lengths_of_features_reach_evaluation_that_cuts_no_targets(vocabulary):
    @seqio.map_over_dataset
    def noted(example, sequence_length, output_features):
        assert output_features.keys() == {"inputs", "targets"}
        return example | {"inputs": [sequence_length["targets"], 1]}

    tokenize, append_eos = PREPROCESSORS
    task = make_task(vocabulary, preprocessors=[tokenize, append_eos, noted])
    lengths = {"inputs": 9, "targets": 2}
    given = tasks.SeqioTask(task, vocabulary, lengths)
    examples = given.load("test", {"inputs": 9}).examples
    assert examples.inputs[0].tolist() == [2, 1]
    longest = max(len(vocabulary.encode(text)) for _, text in TEXTS) + 1
    assert examples.lengths["targets"] == longest > 2
    assert examples.cut == {"inputs": 0, "targets": 0}
    with pytest.raises(UserError, match="give TASK_FEATURE_LENGTHS"):
        load(task, vocabulary, "train", {"inputs": 9})


def test_a_placeholder_for_a_cache_is_a_preprocessor_like_others(vocabulary):
    tokenize, append_eos = PREPROCESSORS
    cached = [tokenize, seqio.CacheDatasetPlaceholder(), append_eos]
    task = make_task(vocabulary, preprocessors=cached)
    assert len(load(task, vocabulary, "train")) == 3


def test_a_missing_split_is_a_user_error(vocabulary):
    with pytest.raises(UserError, match=r"no split 'validation'; it has train, test"):
        load(make_task(vocabulary), vocabulary, "validation")


@pytest.mark.parametrize("lengths", [{"input": 8}, {"inputs": 0}, {"targets": "8"}])
def test_lengths_that_mean_nothing_are_a_user_error(vocabulary, lengths):
    with pytest.raises(UserError, match="TASK_FEATURE_LENGTHS has"):
        load(make_task(vocabulary), vocabulary, "train", lengths)


def test_an_empty_split_is_a_user_error(vocabulary):
    task = make_task(vocabulary)
    nothing = [lambda dataset: dataset.filter(lambda _: False), *PREPROCESSORS]
    with pytest.raises(UserError, match="no examples in its split 'train'"):
        load(task.replace(preprocessors=nothing), vocabulary, "train")


def test_rows_are_encoded_for_prediction_as_the_tasks_are(vocabulary):
    texts = [text for text, _ in TEXTS]
    for length in (None, 4):
        lengths = length and {"inputs": length}
        examples = load(make_task(vocabulary), vocabulary, "train", lengths)
        tokens, cut = encode_rows(texts, vocabulary, length)
        padded = batching.pad(examples.inputs, examples.lengths["inputs"])
        np.testing.assert_array_equal(tokens, padded)
        assert cut == examples.cut["inputs"] and tokens.dtype == np.int32


def plain_text(texts, add_eos=True):
    """A task of bytes."""
    feature = seqio.Feature(tasks.seqio_vocabulary(BYTES), add_eos=add_eos)
    task = make_task(BYTES, [("", text) for text in texts])
    task = task.replace(output_features={"targets": feature}, postprocess_fn=None)
    return tasks.SeqioTask(task, BYTES)


@pytest.mark.parametrize("add_eos", [True, False])
def test_documents_are_the_texts_of_two_tokens_or_more(add_eos):
    documents = plain_text(["the cat", "a", "ab"], add_eos).documents("train")
    expected = [BYTES.encode(text) for text in ("the cat", "ab")]
    assert [row.tolist() for row in documents] == expected
    for split, texts in (("validation", ["the cat"]), ("train", ["a"])):
        with pytest.raises(UserError, match="no texts of two tokens"):
            plain_text(texts).documents(split)


def test_plain_text_is_not_to_be_tuned_on():
    with pytest.raises(UserError, match="small has no inputs: it is plain text"):
        plain_text(["the cat"]).load("train")


# Batches.


def test_a_batch_is_what_seqio_makes_of_the_same_examples(vocabulary):
    task = make_task(vocabulary)
    lengths = {"inputs": 9, "targets": 5}
    examples = load(task, vocabulary, "train", lengths)
    batch = next(batching.batches(examples, 3, seeds=[0]))
    batch = {key: value[:, 0] for key, value in batch.items()}
    dataset = task.get_dataset(lengths, "train", shuffle=False)
    converted = seqio.EncDecFeatureConverter(pack=False)(dataset, lengths)
    expected = {
        example["encoder_input_tokens"].tobytes(): example
        for example in converted.as_numpy_iterator()
    }
    for row, inputs in enumerate(batch["encoder_input_tokens"]):
        example = expected.pop(inputs.tobytes())
        assert batch.keys() == example.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key][row], example[key])
            assert batch[key].dtype == np.int32
    assert not expected, "an example is missing from an epoch of one batch"


def test_a_mixture_has_the_rows_and_rates_of_its_tasks(vocabulary):
    often = make_task(vocabulary, [("a", "yes"), ("a", "no")], name="often")
    cat = {"name": "seldom", "labels": ("cat",)}
    seldom = make_task(vocabulary, [("a", "cat")] * 3, **cat)
    mixture = seqio.Mixture("mixed", [(seldom, 1), (often, 4)])
    examples = load(mixture, vocabulary, "train")
    assert examples.sizes == {"often": 2, "seldom": 3}
    assert examples.rates == {"often": 4, "seldom": 1}
    assert list(examples.rows("seldom")) == [2, 3, 4]


def test_a_mixtures_rates_may_be_numbers_of_examples(vocabulary, register):
    def counted(name, count):
        task = make_task(vocabulary, [("a", "yes")] * count, name=name)
        get_dataset = task.source.get_dataset
        source = seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: get_dataset(split),
            ["train"],
            num_input_examples={"train": count},
        )
        return task.replace(source=source)

    rate = functools.partial(seqio.mixing_rate_num_examples, maximum=5)
    parts = [counted("few", 3), counted("many", 9)]
    inner = seqio.Mixture("inner", parts, default_rate=rate)
    register(inner)
    register(seqio.Mixture("outer", [(inner, 16)]))
    for name, scale in (("inner", 1), ("outer", 2)):
        examples = tasks.open_task(name, (), vocabulary).load("train").examples
        assert examples.rates == {"few": 3 * scale, "many": 5 * scale}


def test_a_rate_may_count_what_is_read_from_data_dir(vocabulary, register):
    """Of the new source, in nested mixtures too, and of the same task in two."""

    class Source(seqio.FunctionDataSource):
        def at(self, data_dir):
            return Source(self._dataset_fn, ["train"], {"train": int(data_dir)})

    dataset = make_task(vocabulary).source._dataset_fn
    one, two = (
        make_task(vocabulary, name=name, source=Source(dataset, ["train"]))
        for name in ("one", "two")
    )
    rate = seqio.mixing_rate_num_examples
    inner = seqio.Mixture("inner", [(one, rate), (two, 1)])
    register(seqio.Mixture("outer", [(inner, 8), (one, rate)]))
    task = tasks.open_task("outer", (), vocabulary, data_dir="3")
    examples = task.load("train").examples
    assert examples.sizes == {"one": 3, "two": 3}
    assert examples.rates == {"one": 3 + 8 * 3 / 4, "two": 8 * 1 / 4}


def test_a_rate_that_cannot_be_computed_is_left_to_training(vocabulary, register):
    """Evaluation draws nothing."""
    one, two = (make_task(vocabulary, name=name) for name in ("one", "two"))
    rate = seqio.mixing_rate_num_examples  # which this source does not know
    register(seqio.Mixture("outer", [(one, rate), (two, 2)]))
    rates = tasks.open_task("outer", (), vocabulary).load("test").examples.rates
    assert np.isnan(rates["one"]) and rates["two"] == 2


def test_a_mixture_leaves_out_tasks_without_the_split(vocabulary):
    task = make_task(vocabulary)
    only_test = make_task(vocabulary, name="only_test")
    only_test.source._splits = ("test",)
    mixture = seqio.Mixture("mixed", [(task, 1), (only_test, 1)])
    assert load(mixture, vocabulary, "train").sizes == {"small": 3}
    assert load(mixture, vocabulary, "test").sizes == {"only_test": 3, "small": 3}


def test_the_docs_own_task_can_be_loaded(tmp_path, monkeypatch, vocabulary):
    blocks = pages.blocks(ROOT / "docs" / "own_task.md")
    (code,) = (block.text for block in blocks if "seqio.TaskRegistry" in block.text)
    (tmp_path / "docs_tasks.py").write_text(code)
    for split, rows in {"train": 3, "validation": 2}.items():
        (tmp_path / f"{split}.tsv").write_text("a fine day\tgood\n" * rows)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    task = tasks.open_task("tone", "docs_tasks", vocabulary)
    assert task.label_words() == ("good", "bad")
    assert len(task.load("train").examples) == 3
