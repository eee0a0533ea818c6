"""A run's settings, the folder it may write, and what the settings build."""

import numpy as np
import pytest
import small

from prompt_tuning import config, run
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.t5 import network
from prompt_tuning.tasks_io import data, evaluate


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return small.save_frozen(tmp_path_factory.mktemp("model") / "frozen.safetensors")


@pytest.fixture(scope="module")
def parts(frozen):
    return run.setup(small.settings(INITIAL_CHECKPOINT_PATH=frozen))


# Settings


def test_the_defaults_are_the_papers():
    """Section 3.1 and 3.2: 100 vectors, 30,000 steps of 32 examples, class labels."""
    settings = run.Run()
    assert settings.prompt_length == 100 and settings.prompt_init == "class_label"
    assert settings.train_steps == 30_000 and settings.batch_size == 32
    assert settings.tuning == "prompt" and settings.prompt_place == "prefix"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"tuning": "both"}, "TUNING is 'both'; it must be one of prompt, model"),
        ({"prompt_init": "zeros"}, "PROMPT_INIT is 'zeros'; .*sampled_vocab"),
        ({"prompt_place": "middle"}, "PROMPT_PLACE is 'middle'; .*prefix, suffix"),
        ({"decoding": "beam"}, "DECODING is 'beam'; .*greedy, labels"),
        ({"prompt_length": 0}, "PROMPT_LENGTH is 0; .*at least 1"),
        ({"num_microbatches": -1}, "NUM_MICROBATCHES is -1"),
        ({"eval_period": 0}, "EVAL_PERIOD is 0"),
        ({"train_steps": 1e3}, r"TRAIN_STEPS is 1000\.0; it must be of type int"),
        ({"batch_size": "many"}, "BATCH_SIZE is 'many'; it must be of type int"),
        ({"model_dir": 5}, "MODEL_DIR is 5; it must be of type str"),
        ({"task_feature_lengths": 512}, "LENGTHS is 512; .*dict or NoneType"),
        # One label of a word, not labels of its letters.
        ({"class_labels": "yes"}, "CLASS_LABELS is 'yes'; .*list or tuple"),
        ({"prompt_init": "string"}, "PROMPT_STRING is not set"),
        ({"prompt_init": "file"}, "PROMPT_FILE is not set"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(wrong, message):
    with pytest.raises(UserError, match=message):
        run.Run(**wrong)


# The vocabulary


def test_the_vocabulary_is_as_set_or_beside_the_weights_or_t5s(tmp_path, frozen):
    def name(**changes):
        return run.vocabulary_name(small.settings(**changes))

    assert name(INITIAL_CHECKPOINT_PATH=frozen) == str(frozen.parent / "spiece.model")
    assert name(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY="mt5") == "mt5"
    assert name() == str(weights.POCKET / "spiece.model")
    (tmp_path / "x.safetensors").touch()
    for path in (tmp_path, tmp_path / "x.safetensors", "gs://bucket/checkpoint_1"):
        assert name(INITIAL_CHECKPOINT_PATH=path) == "t5"
    with pytest.raises(UserError, match="no frozen model at 'nowhere'"):
        name(INITIAL_CHECKPOINT_PATH="nowhere")


def test_weights_are_kept_with_the_vocabulary_in_use(tmp_path, frozen):
    """Not with that of the model which INITIAL_CHECKPOINT_PATH still names."""
    path = tmp_path / "other.model"
    path.write_bytes((weights.POCKET / "spiece.model").read_bytes())
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY=path)
    assert run.vocabulary_file(run.setup(settings, frozen=False)) == str(path)
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY="byt5")
    assert run.vocabulary_file(run.setup(settings, frozen=False)) is None


# MODEL_DIR


def test_the_model_dir_is_made_with_the_folders_above_it(tmp_path):
    folder = run.make_model_dir(run.Run(model_dir=str(tmp_path / "a" / "b")))
    assert folder.is_dir() and not list(folder.iterdir())
    assert run.make_model_dir(run.Run(model_dir=str(folder))) == folder  # and again


def test_a_model_dir_must_be_set_and_writable(tmp_path):
    with pytest.raises(UserError, match="MODEL_DIR is not set"):
        run.make_model_dir(run.Run())
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "mine")
    with pytest.raises(UserError, match=f"MODEL_DIR '{below}' .*Not a directory"):
        run.make_model_dir(run.Run(model_dir=below))


def keep(path, *bindings, check=True):
    """Keeps the settings of a run that was started with these bindings."""
    config.parse([], bindings)
    run.Run(), network.T5Config()
    run.keep_settings(path, check)


def test_a_setting_may_be_given_in_another_way(tmp_path):
    path = tmp_path / "config.gin"
    # A value too long for a line of gin, and one of several lines.
    long = f"INITIAL_CHECKPOINT_PATH=/{'a' * 100}"
    labels = f"CLASS_LABELS={['word' * 5] * 8}"
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, check=False)
    keep(path, "Run.seed=3", "X=16", "BATCH_SIZE=%X", labels, long, "DECODING=greedy")
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, "MODEL_DIR=moved")
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, "TRAIN_STEPS=9")
    config.parse([str(path)])
    assert run.Run().train_steps == 9 and run.Run().seed == 3


def test_a_changed_setting_is_named_and_the_old_ones_are_kept(tmp_path):
    path = tmp_path / "config.gin"
    keep(path, "SEED=3", "PROMPT_LENGTH=20", check=False)
    before = path.read_text()
    with pytest.raises(
        UserError, match="prompt_length is 100 and was 20; seed is 4 an"
    ):
        keep(path, "SEED=4")
    with pytest.raises(
        UserError, match=r"settings: T5Config.emb_dim is 64 and was 128\."
    ):
        keep(path, "SEED=3", "PROMPT_LENGTH=20", "T5Config.emb_dim=64")
    assert path.read_text() == before
    keep(path, "SEED=4", check=False)
    assert path.read_text() != before


# The prompt


def first_prompt(parts, **changes):
    return np.asarray(run.initial_prompt(small.settings(**changes), parts))


def table(parts):
    return np.asarray(parts.params["token_embedder"]["embedding"])


def rows_of(prompt, parts):
    """The ids of the embeddings that a prompt is made of; -1 is none."""
    same = (prompt[:, None] == table(parts)[None]).all(-1)
    return np.where(same.any(1), same.argmax(1), -1).tolist()


def ids(word):
    return small.VOCABULARY.encode(word)


def test_class_labels_come_first_and_are_the_tasks_own(parts):
    labels = [ids(label) for label in small.LABELS]
    found = rows_of(first_prompt(parts, PROMPT_INIT="class_label"), parts)
    assert found[:3] == [id for (id,) in labels] and found[3] >= 0
    changed = first_prompt(parts, CLASS_LABELS='("unheard", "bird")')
    mean = table(parts)[ids("unheard")].mean(0)
    assert len(ids("unheard")) > 1
    np.testing.assert_allclose(changed[0], mean, rtol=1e-6)
    assert rows_of(changed, parts)[1:2] == ids("bird")


def test_the_other_initialisers(parts, tmp_path):
    sampled = rows_of(first_prompt(parts, PROMPT_INIT="sampled_vocab"), parts)
    assert min(sampled) >= 0 and len(set(sampled)) == 4
    uniform = first_prompt(parts, PROMPT_INIT="random_uniform", PROMPT_LENGTH=50)
    assert uniform.shape == (50, 16) and 0.45 < np.abs(uniform).max() <= 0.5
    text = {"PROMPT_INIT": "string", "PROMPT_STRING": "the bird sang"}
    words = ids("the bird sang")
    found = rows_of(first_prompt(parts, PROMPT_LENGTH=9, **text), parts)
    assert found[: len(words)] == words and min(found) >= 0
    np.save(tmp_path / "p.npy", uniform)
    file = {"PROMPT_INIT": "file", "PROMPT_FILE": tmp_path / "p.npy"}
    np.testing.assert_array_equal(
        first_prompt(parts, PROMPT_LENGTH=50, **file), uniform
    )
    with pytest.raises(
        UserError, match=r"\(50, 16\) .*needs \(4, 16\): set PROMPT_LEN"
    ):
        first_prompt(parts, **file)


def test_the_seed_draws_the_prompt(parts):
    drawn = [
        first_prompt(parts, PROMPT_INIT="random_uniform", SEED=s) for s in (5, 5, 6)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


# Model and predictions


def test_setup_builds_what_the_settings_say(frozen):
    settings = small.settings(
        INITIAL_CHECKPOINT_PATH=frozen, PROMPT_PLACE="suffix", **{"mesh.model": 2}
    )
    mesh, model, params, task = run.setup(settings)
    assert mesh.shape == {"data": 4, "model": 2}
    assert model.config == small.CONFIG
    assert task.name == "small_kind" and data.label_words(task) == small.LABELS
    assert table(run.Setup(mesh, model, params, task)).shape == (2_048, 16)
    assert run.setup(settings, frozen=False).params is None


def test_greedy_predictions_are_as_long_as_asked(parts):
    inputs = np.full((8, 5), 7, np.int32)
    prompt = first_prompt(parts)
    predict = run.make_predict_fn(small.settings(), parts, length=3)
    tokens = predict(parts.params, prompt)(inputs)
    assert tokens.shape == (8, 3) and (tokens == tokens[0]).all()
    # Compiled for all prompts, not with the first one in it.
    other = predict(parts.params, -9 * prompt)(inputs)
    assert not np.array_equal(tokens, other)
    assert np.array_equal(predict(parts.params, prompt)(inputs), tokens)


def test_label_predictions_are_labels_whatever_the_input(parts):
    predict = run.make_predict_fn(small.settings(DECODING="labels"), parts, length=3)
    inputs = np.random.default_rng(0).integers(3, 2_000, (64, 5)).astype(np.int32)
    fn = predict(parts.params, first_prompt(parts))
    tokens = evaluate.predict_in_batches(fn, inputs, 8)
    words = [small.VOCABULARY.decode(row) for row in tokens.tolist()]
    assert set(words) <= set(small.LABELS) and len(set(words)) > 1
