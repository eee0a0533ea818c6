"""Tasks to batches: what is found, tokenised, cut, ordered and padded."""

import functools
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import seqio
import tensorflow as tf

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io import data
from prompt_tuning.training import batching

ROOT = Path(__file__).resolve().parents[2]
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
    return data.load_vocabulary(spiece)


def make_task(vocabulary, texts=TEXTS, name="small", labels=("yes", "no"), **changes):
    def dataset(split, shuffle_files, seed=None):
        inputs, targets = zip(*texts, strict=True)
        lines = {"inputs": list(inputs), "targets": list(targets)}
        return tf.data.Dataset.from_tensor_slices(lines)

    def postprocess(text, label_classes, **_):
        return label_classes.index(text)

    feature = seqio.Feature(vocabulary, add_eos=True)
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


# Vocabulary.


def test_a_vocabulary_has_100_sentinels_counted_from_the_end(vocabulary):
    pieces = vocabulary.vocab_size - 100
    assert vocabulary.encode("<extra_id_0> cat")[0] == pieces + 99
    assert vocabulary.eos_id == 1


def test_t5s_vocabulary_has_the_papers_ids(shared):
    vocabulary = data.load_vocabulary(str(shared / "data" / "t5" / "spiece.model"))
    assert vocabulary.vocab_size == 32_100
    assert vocabulary.encode("not_equivalent") == [59, 834, 15, 1169, 15592]
    assert vocabulary.encode("<extra_id_0>") == [32_099]


def test_sentinels_that_a_vocabulary_has_are_not_added_again(tmp_path):
    """mT5's file has them; 100 more would be too many for its embedding."""
    own = [f"▁<extra_id_{i}>" for i in reversed(range(3))]
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    path = train_spiece(tmp_path, user_defined_symbols=own, **ids)
    vocabulary = data.load_vocabulary(path)
    first = vocabulary.encode("<extra_id_0>")[-1]
    assert vocabulary.tokenizer.id_to_piece(first) == "▁<extra_id_0>"
    assert vocabulary.vocab_size < 100


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_an_unreadable_vocabulary_is_a_user_error(tmp_path, content):
    path = tmp_path / "spiece.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        data.load_vocabulary(str(path))


def test_a_vocabulary_without_t5s_special_ids_is_a_user_error(tmp_path):
    path = train_spiece(tmp_path)  # SentencePiece's own: unk 0, bos 1, eos 2
    with pytest.raises(UserError, match="pad_id=0"):
        data.load_vocabulary(path)


def test_a_vocabulary_larger_than_the_embedding_is_a_user_error():
    data.check_vocabulary(32_100, 32_128)
    data.check_vocabulary(2_048, 2_048)
    with pytest.raises(UserError, match=r"32100 ids.*embeds 2048"):
        data.check_vocabulary(32_100, 2_048)


# Finding tasks.


def test_an_unknown_task_is_answered_with_names_near_it(vocabulary, register):
    register(make_task(vocabulary, name="weather"))
    with pytest.raises(UserError, match=r"'wether'.*near it: weather"):
        data.get_task("wether")


def test_a_module_is_imported_by_name_first(tmp_path, monkeypatch):
    (tmp_path / "own_tasks.py").write_text("import seqio\nname = 'imported'\n")
    (tmp_path / "broken_tasks.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    data.import_tasks("own_tasks")
    assert sys.modules.pop("own_tasks").name == "imported"
    with pytest.raises(UserError, match=r"no module 'my_task' "):
        data.import_tasks(["my_task"])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        data.import_tasks("broken_tasks")


def test_a_task_is_fitted_to_the_models_vocabulary(vocabulary, register):
    task = register(make_task(seqio.ByteVocabulary()))
    fitted = data.get_task("small", vocabulary=vocabulary)
    assert data.load_examples(fitted, "train").inputs[0].tolist() == [
        *vocabulary.encode("the cat"),
        1,
    ]
    assert fitted.name == "small"
    kept = task.output_features["inputs"].vocabulary
    assert isinstance(kept, seqio.ByteVocabulary), "the registered task has changed"


def test_a_mixture_is_fitted_with_its_tasks_and_rates(vocabulary, register):
    tasks = [make_task(seqio.ByteVocabulary(), name=name) for name in ("one", "two")]
    inner = seqio.Mixture("inner", [(tasks[0], 3), (tasks[1], 1)])
    register(seqio.Mixture("outer", [(inner, 8)]))
    fitted = data.get_task("outer", vocabulary=vocabulary)
    assert {task.name: fitted.get_rate(task) for task in fitted.tasks} == {
        "one": 6.0,
        "two": 2.0,
    }
    assert fitted.output_features["targets"].vocabulary == vocabulary


def test_data_dir_goes_to_the_sources_that_can_read_files(vocabulary, register):
    class Source(seqio.FunctionDataSource):
        def at(self, data_dir):
            other = make_task(vocabulary, [(data_dir, "yes")])
            return other.source

    dataset = make_task(vocabulary).source.get_dataset
    source = Source(lambda split, shuffle_files, seed=None: dataset(), ["train"])
    register(make_task(vocabulary, name="files", source=source))
    register(make_task(vocabulary, name="no_files"))
    assert len(data.load_examples(data.get_task("files"), "train")) == 3
    fitted = data.get_task("files", data_dir="a dog")
    (row,) = data.load_examples(fitted, "train").inputs
    assert vocabulary.decode(row.tolist()) == "a dog"
    same = data.get_task("no_files", data_dir="a dog")
    assert len(data.load_examples(same, "train")) == 3


def test_bytes_are_a_vocabulary_too():
    assert data.load_vocabulary("byt5").encode("a") == [ord("a") + 3]


def test_label_words_come_from_the_postprocess_function(vocabulary):
    task = make_task(vocabulary)
    free = make_task(vocabulary, name="free", postprocess_fn=lambda text, **_: text)
    more = make_task(vocabulary, name="more", labels=("no", "maybe"))
    assert data.label_words(task) == ("yes", "no")
    assert data.label_words(free) is None
    assert data.label_words(make_task(vocabulary, postprocess_fn=None)) is None
    mixture = seqio.Mixture("mixed", [task, free, more], default_rate=1)
    # seqio orders the tasks of a mixture by name: free, more, small.
    assert data.label_words(mixture) == ("no", "maybe", "yes")


def test_words_of_a_variant_are_those_its_model_knows(vocabulary):
    keywords = {
        "said_classes": ("<extra_id_0> yes", "<extra_id_0> no"),
        "read": str.upper,
    }
    task = make_task(vocabulary)
    post = functools.partial(task.postprocessor, **keywords)
    variant = make_task(vocabulary, postprocess_fn=post)
    assert data.label_words(variant) == ("yes", "no")
    assert data.reading(variant)("a") == "A" and data.reading(task)("a") == "a"
    sentinel = vocabulary.vocab_size - 1
    expected = [[sentinel, *vocabulary.encode(word), 1] for word in ("yes", "no")]
    width = max(map(len, expected))
    assert data.label_tokens(variant).tolist() == [
        row + [0] * (width - len(row)) for row in expected
    ]
    assert data.label_tokens(make_task(vocabulary, postprocess_fn=None)) is None


def test_class_words_are_those_of_the_tasks_to_train_on(vocabulary):
    free = functools.partial(lambda text, **_: text, class_words=("big", "idea"))
    task = make_task(vocabulary, name="free", postprocess_fn=free)
    assert data.class_words(task, "train") == ("big", "idea")
    other = make_task(vocabulary, name="other")
    mixture = seqio.Mixture("mixed", [task, other], default_rate=1)
    assert data.class_words(mixture, "train") == ("big", "idea", "yes", "no")
    assert data.class_words(mixture, "validation") is None


# Tokenising.


def test_targets_are_as_long_as_the_longest_label(vocabulary):
    labels = ("yes", "the cat and a dog")
    task = make_task(vocabulary, [("a cat", "yes")], labels=labels)
    length = data.load_examples(task, "test").lengths["targets"]
    assert length == len(vocabulary.encode(labels[1])) + 1


def test_lengths_default_to_the_longest_example(vocabulary):
    examples = data.load_examples(make_task(vocabulary), "train")
    longest = max(len(vocabulary.encode(text)) for text, _ in TEXTS)
    target = max(len(vocabulary.encode(text)) for _, text in TEXTS)
    assert examples.lengths == {"inputs": longest + 1, "targets": target + 1}
    assert examples.cut == {"inputs": 0, "targets": 0}
    assert all(row[-1] == 1 for row in examples.inputs + examples.targets)


def test_inputs_are_512_tokens_at_most(vocabulary):
    texts = [("a cat " * 400, "yes"), ("a", "no")]
    examples = data.load_examples(make_task(vocabulary, texts), "train")
    assert examples.lengths["inputs"] == 512
    assert examples.cut["inputs"] == 1


def test_what_is_over_length_is_cut_before_its_eos_and_counted(vocabulary):
    task = make_task(vocabulary)
    lengths = {"inputs": 4, "targets": 8}
    examples = data.load_examples(task, "train", lengths)
    assert examples.lengths == lengths
    by_seqio = task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator()
    for row, expected in zip(examples.inputs, by_seqio, strict=True):
        assert row.tolist() == expected["inputs"].tolist()
        assert row[-1] == 1 and row.dtype == np.int32
    tokens = [len(vocabulary.encode(text)) + 1 for text, _ in TEXTS]
    assert examples.cut == {"inputs": sum(n > 4 for n in tokens), "targets": 0}
    assert examples.cut["inputs"] > 0
    exact = data.load_examples(task, "train", {"inputs": max(tokens)})
    assert exact.cut["inputs"] == 0, "as long as the longest is not too long"


def test_no_eos_is_added_by_cutting_where_the_feature_has_none(vocabulary):
    feature = seqio.Feature(vocabulary, add_eos=False)
    task = make_task(
        vocabulary, output_features={"inputs": feature, "targets": feature}
    )
    examples = data.load_examples(task, "train", {"inputs": 2, "targets": 2})
    assert examples.inputs[1].tolist() == vocabulary.encode(TEXTS[1][0])[:2]


def test_a_preprocessor_that_needs_lengths_gets_them(vocabulary):
    @seqio.map_over_dataset
    def keep_end(example, sequence_length):
        return example | {"inputs": example["inputs"][1 - sequence_length["inputs"] :]}

    tokenize, append_eos = PREPROCESSORS
    task = make_task(vocabulary, preprocessors=[tokenize, keep_end, append_eos])
    examples = data.load_examples(task, "train", {"inputs": 3, "targets": 40})
    assert examples.inputs[1].tolist() == [*vocabulary.encode(TEXTS[1][0])[-2:], 1]
    assert examples.cut["inputs"] == 0


def test_a_missing_split_is_a_user_error(vocabulary):
    with pytest.raises(UserError, match=r"no split 'validation'; it has train, test"):
        data.load_examples(make_task(vocabulary), "validation")


@pytest.mark.parametrize("lengths", [{"input": 8}, {"inputs": 0}, {"targets": "8"}])
def test_lengths_that_mean_nothing_are_a_user_error(vocabulary, lengths):
    with pytest.raises(UserError, match="TASK_FEATURE_LENGTHS has"):
        data.load_examples(make_task(vocabulary), "train", lengths)


def test_an_empty_split_is_a_user_error(vocabulary):
    task = make_task(vocabulary)
    nothing = [lambda dataset: dataset.filter(lambda _: False), *PREPROCESSORS]
    with pytest.raises(UserError, match="no examples in its split 'train'"):
        data.load_examples(task.replace(preprocessors=nothing), "train")


def test_encode_agrees_with_load_examples(vocabulary):
    task = make_task(vocabulary)
    texts = [text for text, _ in TEXTS]
    for length in (None, 4):
        lengths = length and {"inputs": length}
        examples = data.load_examples(task, "train", lengths)
        tokens, cut = data.encode(texts, task.output_features["inputs"], length)
        padded = batching.pad(examples.inputs, examples.lengths["inputs"])
        np.testing.assert_array_equal(tokens, padded)
        assert cut == examples.cut["inputs"] and tokens.dtype == np.int32


# Batches.


def test_a_batch_is_what_seqio_makes_of_the_same_examples(vocabulary):
    task = make_task(vocabulary)
    lengths = {"inputs": 9, "targets": 5}
    examples = data.load_examples(task, "train", lengths)
    batch = next(batching.batches(examples, batch_size=3, seed=0))
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
    seldom = make_task(vocabulary, [("a", "cat")] * 3, name="seldom")
    mixture = seqio.Mixture("mixed", [(seldom, 1), (often, 4)])
    examples = data.load_examples(mixture, "train")
    assert examples.sizes == {"often": 2, "seldom": 3}
    assert examples.rates == {"often": 4, "seldom": 1}
    assert list(examples.rows("seldom")) == [2, 3, 4]


def test_a_mixture_leaves_out_tasks_without_the_split(vocabulary):
    task = make_task(vocabulary)
    only_test = make_task(vocabulary, name="only_test")
    only_test.source._splits = ("test",)
    mixture = seqio.Mixture("mixed", [(task, 1), (only_test, 1)])
    assert data.load_examples(mixture, "train").sizes == {"small": 3}
    assert data.load_examples(mixture, "test").sizes == {"only_test": 3, "small": 3}


# Quiet.


def test_seqio_is_silent_below_errors_and_others_are_not(caplog):
    def record(path, level):
        return logging.LogRecord("absl", level, path, 1, "message", (), None)

    logger = logging.getLogger("absl")
    for path, level, is_heard in (
        ("/lib/seqio/evaluation.py", logging.WARNING, False),
        ("/lib/seqio/evaluation.py", logging.ERROR, True),
        ("/lib/tensorflow_datasets/core/load.py", logging.INFO, False),
        ("/lib/orbax/checkpoint.py", logging.WARNING, True),
    ):
        assert bool(logger.filter(record(path, level))) == is_heard


def test_starting_writes_nothing_and_leaves_gpus_to_jax():
    started = subprocess.run(
        [
            sys.executable,
            "-c",
            "from prompt_tuning import evaluate; import tensorflow as tf;"
            "assert tf.config.get_visible_devices('GPU') == []",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")


def test_held_stderr_is_shown_after_all_when_something_fails(capfd):
    with data._held_stderr():
        print("unimportant", file=sys.__stderr__, flush=True)
    with pytest.raises(ImportError), data._held_stderr():
        subprocess.run("echo important >&2", shell=True, check=True)
        raise ImportError
    assert capfd.readouterr().err == "important\n"


def test_the_readmes_own_task_can_be_loaded(tmp_path, monkeypatch, vocabulary):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme[readme.index("    import functools\n") : readme.index("and then\n")]
    (tmp_path / "readme_tasks.py").write_text(textwrap.dedent(code))
    for split, rows in {"train": 3, "validation": 2}.items():
        (tmp_path / f"{split}.tsv").write_text("a fine day\tgood\n" * rows)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    task = data.get_task("tone", "readme_tasks", vocabulary)
    assert data.label_words(task) == ("good", "bad")
    assert len(data.load_examples(task, "train")) == 3
