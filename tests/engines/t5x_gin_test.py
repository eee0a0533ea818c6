"""gin/t5x makes whole runs of T5X, and our engine reads what these leave behind."""

import dataclasses
import json
import re
import sys

import gin
import jax
import numpy as np
import pytest
import small
from table_4 import TABLE_4

from prompt_tuning import config, exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

t5x = pytest.importorskip("t5x", reason="T5X is not here: docs/t5x.md")
for _name in ("train", "eval", "infer"):
    pytest.importorskip(f"t5x.{_name}")  # which import all of it
t5x_engine = pytest.importorskip("prompt_tuning.engines.t5x")

GIN_FILES = sorted(
    path.relative_to(config.GIN_ROOT).as_posix()
    for path in config.GIN_ROOT.glob("gin/t5x/**/*.gin")
)
RUN_FILES = [name for name in GIN_FILES if "/models/" not in name]
TRAIN = "gin/t5x/prompt_tune.gin"
# What these files need and a parsed one need not have.
UNREAD = dict.fromkeys(
    ("MODEL_DIR", "CHECKPOINT_PATH", "EVAL_OUTPUT_DIR", "INFER_OUTPUT_DIR"), "/unread"
)


@pytest.fixture(autouse=True)
def no_settings():
    """What a test binds with gin ends with it."""
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Split by eight, as T5X puts several CPU devices along "model" alone."""
    size = dataclasses.replace(small.CONFIG, num_heads=8, head_dim=4)
    path = tmp_path_factory.mktemp("frozen") / "frozen.safetensors"
    return small.save_frozen(path, network.Transformer(size))


def script(name):
    """The module of T5X that a run file is for."""
    name = re.search(r"(\w+)\.gin", name)[1]
    return getattr(t5x, {"prompt_tune": "train"}.get(name, name))


@pytest.fixture
def parse(monkeypatch):
    """Parses as `python -m t5x.SCRIPT` does, and returns its configured function."""

    def parse_files(script, files, **bindings):
        monkeypatch.setitem(sys.modules, "__main__", script)
        gin.clear_config()
        gin.add_config_file_search_path(str(config.GIN_ROOT))
        names = {"train": "train", "eval": "evaluate", "infer": "infer"}
        function = getattr(script, names[script.__name__.removeprefix("t5x.")])
        gin.parse_config_files_and_bindings(
            files, [f"{name} = {value!r}" for name, value in bindings.items()]
        )
        return gin.get_configurable(function)

    return parse_files


# What is bound.


BUILT = [(name, "pocket") for name in RUN_FILES]
BUILT += [(TRAIN, size) for size in TABLE_4]


@pytest.mark.parametrize(("name", "size"), BUILT)
def test_run_files_build_the_papers_models_in_any_order(parse, name, size):
    files = [name, f"gin/t5x/models/{size}.gin"]
    parse(script(name), files[::-1], **UNREAD)
    backwards = gin.config_str()
    vocabulary = str(weights.POCKET / weights.VOCABULARY)
    parse(script(name), files, PROMPT_LENGTH=150, VOCABULARY=vocabulary, **UNREAD)
    gin.unlock_config()
    model = gin.get_configurable(t5x_engine.PromptedT5)()
    made = t5x.utils.TrainStateInitializer(
        model.optimizer_def,
        model.get_initial_variables,
        {},
        t5x.partitioning.PjitPartitioner(num_partitions=1),
    )
    sizes = jax.tree.map(lambda x: x.size, made.global_train_state_shape.params)
    expected = {size: rows[1][-1] for size, rows in TABLE_4.items()}
    expected["pocket"] = 1_162_816 + 150 * 96
    assert sum(jax.tree.leaves(sizes)) == expected[size]
    parse(script(name), files, **UNREAD)
    assert gin.config_str() == backwards


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_file_opens_with_its_command(name):
    opening = config.find_file(name).read_text().split("\n\n")[0]
    assert f"python -m {script(name).__name__} --gin_file={name}" in opening


def test_the_macros_are_the_run_in_every_scope(parse):
    files = [TRAIN, "gin/t5x/models/pocket.gin"]
    bindings = {"MODEL_DIR": "/x", "PROMPT_LENGTH": 7, "CLASS_LABELS": ("a", "b")}
    parse(t5x.train, files, DROPOUT_RATE=0.1, **bindings)
    with gin.config_scope("train"):
        made = t5x_engine.settings()
    run = Run(
        model_dir="/x",
        prompt_length=7,
        class_labels=("a", "b"),
        task_feature_lengths={"inputs": 34, "targets": 2},
    )
    assert made == Settings(run, model={"dropout_rate": 0.1})


def test_the_reported_rate_is_the_optimizers(parse):
    bindings = {"schedule.learning_rate": 0.2, "schedule.warmup_steps": 4}
    parse(t5x.train, [TRAIN, "gin/t5x/models/pocket.gin"], MODEL_DIR="/x", **bindings)
    assert t5x_engine.settings().schedule.learning_rate == 0.2
    rate = gin.get_configurable(t5x_engine.learning_rate)()
    np.testing.assert_allclose([rate(1), rate(9)], [0.05, 0.2], rtol=1e-6)


def test_a_relative_model_dir_is_one_plain_message(parse):
    parse(t5x.train, [TRAIN, "gin/t5x/models/pocket.gin"], MODEL_DIR="runs/x")
    with pytest.raises(UserError, match="MODEL_DIR is 'runs/x'; T5X needs it from"):
        t5x_engine.settings()


def test_labels_cannot_be_scored(parse):
    parse(t5x.train, [TRAIN, "gin/t5x/models/pocket.gin"], DECODING="labels")
    with pytest.raises(UserError, match="DECODING is 'labels'; T5X decodes greedily"):
        t5x_engine.settings()


def test_a_wayward_prompt_is_not_trained_here(parse):
    text = {"wayward.text": "the boat"}
    parse(t5x.train, [TRAIN, "gin/t5x/models/pocket.gin"], **text)
    with pytest.raises(UserError, match=r"are of `prompt-tuning train` alone: leave"):
        t5x_engine.settings()


# Whole runs.


@pytest.fixture
def bindings(frozen):
    return {
        "MIXTURE_OR_TASK_MODULE": "small",
        "MIXTURE_OR_TASK_NAME": "small_kind",
        "INITIAL_CHECKPOINT_PATH": str(frozen),
        "TASK_FEATURE_LENGTHS": {"inputs": 6, "targets": 3},
        "PROMPT_LENGTH": 4,
        "BATCH_SIZE": 8,
    }


def predictions(file, key="prediction"):
    return [json.loads(line)[key] for line in file.read_text().splitlines()]


@pytest.fixture
def inferred(parse, bindings, tmp_path):
    """What T5X predicts with a checkpoint."""

    def infer(checkpoint, **more):
        lengths = {"TASK_FEATURE_LENGTHS": {"inputs": 6, "targets": 2}}  # as evaluated
        paths = {"CHECKPOINT_PATH": str(checkpoint)}
        paths["INFER_OUTPUT_DIR"] = str(tmp_path / "infer")
        parse(t5x.infer, ["gin/t5x/infer.gin"], **bindings | paths | lengths | more)()
        (file,) = (tmp_path / "infer").glob("*.jsonl-00000-of-00001")
        return predictions(file)

    return infer


def evaluated(folder, prompt, **settings):
    """What our engine predicts with a prompt, or the run in a folder."""
    gin.clear_config()  # which T5X locked
    folder.mkdir()
    assert not small.main(
        "evaluate", f"--prompt={prompt}", MODEL_DIR=folder, **settings
    )
    return predictions(folder / "predictions_validation.jsonl")


@pytest.mark.parametrize("use_orbax", [True, False])
def test_t5x_trains_evaluates_and_infers(
    parse, bindings, inferred, frozen, tmp_path, use_orbax
):
    folder = tmp_path / "run"
    training = bindings | {"MODEL_DIR": str(folder), "EVAL_PERIOD": 2}
    training["train.use_orbax"] = use_orbax
    for steps in (2, 4):  # the second goes on with the first
        last, state = parse(t5x.train, [TRAIN], TRAIN_STEPS=steps, **training)()
        assert last == int(state.step) == steps
    assert [p.name for p in folder.glob("checkpoint_*")] == ["checkpoint_4"]
    scores = (folder / "inference_eval/small_kind-metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in scores.splitlines()] == [0, 2, 2, 4]
    prompts = {
        name: exchange.load_prompt(folder / f"{name}.npy")
        for name in ("prompt", "prompt_2", "prompt_4")
    }
    np.testing.assert_array_equal(prompts["prompt"], state.params["prompt"])
    np.testing.assert_array_equal(prompts["prompt"], prompts["prompt_4"])
    assert not np.array_equal(prompts["prompt"], prompts["prompt_2"])
    said = exchange.read_description(folder / "prompt.npy")
    assert said["step"] == 4
    assert exchange.read_description(folder / "prompt_2.npy") == said | {"step": 2}

    checkpoint = folder / "checkpoint_4"
    outputs = {"EVAL_OUTPUT_DIR": str(folder / "eval"), "evaluate.use_orbax": use_orbax}
    parse(
        t5x.eval,
        ["gin/t5x/eval.gin"],
        CHECKPOINT_PATH=str(checkpoint),
        **bindings | outputs,
    )()
    (metrics,) = (folder / "eval").rglob("*-metrics.jsonl")
    assert json.loads(metrics.read_text()) == json.loads(scores.splitlines()[-1])

    theirs = inferred(checkpoint, **{"infer.use_orbax": use_orbax})
    whole = {"INITIAL_CHECKPOINT_PATH": checkpoint}
    whole["VOCABULARY"] = weights.POCKET / weights.VOCABULARY
    assert theirs == evaluated(tmp_path / "ours", checkpoint, **whole)
    # Of the frozen model, its task and all else the prompt's file itself tells.
    assert theirs == evaluated(tmp_path / "told", folder / "prompt.npy")
    assert said["frozen_model"] == str(frozen)
    assert said["frozen_fingerprint"] == weights.fingerprint(str(checkpoint))
    assert said["label_words"] == list(small.LABELS)


@pytest.mark.parametrize("method", ["whole", "prepended"])
def test_a_model_that_t5x_trains_is_shipped(
    parse, bindings, inferred, tmp_path, method
):
    folder = tmp_path / "run"
    bound = {"METHOD": method, "schedule.learning_rate": 0.003}
    training = bindings | bound | {"MODEL_DIR": str(folder), "EVAL_PERIOD": 4}
    parse(t5x.train, [TRAIN], TRAIN_STEPS=8, **training)()
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"model.safetensors", "model.json", "spiece.model"} <= files
    assert ("prompt.npy" in files) == (method == "prepended")
    assert not {"prompt_4.npy", "prompt_8.npy"} & files, "of the last model alone"
    theirs = inferred(folder / "checkpoint_8", **bound)
    assert theirs == evaluated(tmp_path / "ours", folder)
