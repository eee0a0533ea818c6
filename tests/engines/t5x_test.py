"""T5X with our model is our engine: same prompt, same predictions, same checkpoints.

    PYTHONPATH=T5X:AIRIO:JESTIMATOR python -m pytest tests/engines/t5x_test.py

T5X puts several CPU devices along "model" alone, so the frozen model here can be split
by eight.
"""

import dataclasses
import hashlib
import itertools

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from prompt_tuning import exchange, methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import parts
from prompt_tuning.settings import Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import (
    batching,
    checkpoints,
    optimizer,
    plan,
    predictor,
    step,
)

t5x = pytest.importorskip("t5x", reason="T5X is not here: docs/t5x.md")
for _name in ("train", "eval", "infer"):
    pytest.importorskip(f"t5x.{_name}")  # which import all of it
t5x_engine = pytest.importorskip("prompt_tuning.engines.t5x")

CONFIG = dataclasses.replace(small.CONFIG, num_heads=8, head_dim=4)
MODEL = network.Transformer(CONFIG)
VOCABULARY = {"VOCABULARY": str(weights.POCKET / weights.VOCABULARY)}
LENGTHS = {"inputs": 6, "targets": 3}


@pytest.fixture(autouse=True)
def no_settings():
    """What a test binds with gin ends with it."""
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return small.save_frozen(tmp_path_factory.mktemp("frozen") / "f.safetensors", MODEL)


@pytest.fixture
def settings(frozen, tmp_path):
    """A function to the Settings of both engines."""

    def make(**changes):
        sizes = {f"T5Config.{k}": v for k, v in dataclasses.asdict(CONFIG).items()}
        paths = {"MODEL_DIR": tmp_path, "INITIAL_CHECKPOINT_PATH": frozen}
        return small.settings(**sizes | paths | VOCABULARY | changes)

    return make


class Mesh4x2(t5x.partitioning.PjitPartitioner):
    """T5X's partitioner on the mesh of our engine, as accelerators would have it."""

    mesh = property(lambda self: partitioning.mesh(4, 2))


def partitioner():
    return Mesh4x2(num_partitions=2)


def first_state(model, split, read=True):
    """What makes T5X's states, and with `read` the one of step 0."""
    made = t5x_engine.FirstState(
        model.optimizer_def, model.get_initial_variables, {}, split
    )
    return made, made.from_scratch(jax.random.PRNGKey(0)) if read else None


def trainer(model, split=None, num_microbatches=None, read=True):
    """What makes T5X's states, and its trainer at step 0."""
    split = split or partitioner()
    made, state = first_state(model, split, read)
    return made, t5x.trainer.Trainer(
        model,
        state,
        split,
        eval_names=[],
        summary_dir=None,
        train_state_axes=made.train_state_axes,
        rng=jax.random.PRNGKey(0),
        learning_rate_fn=t5x_engine.learning_rate(model.settings),
        num_microbatches=num_microbatches,
    )


def joint_batches(settings):
    """Our engine's, of one state: [B, 1, ...]."""
    run, vocabulary = settings.run, parts.build(settings, frozen=False).vocabulary
    examples = parts.open_task(run, vocabulary).load("train", LENGTHS).examples
    return batching.batches(examples, run.batch_size, [run.seed])


def batches(settings):
    """T5X's."""
    for batch in joint_batches(settings):
        yield {key: x[:, 0] for key, x in batch.items()}


def digest(tree):
    """A hash of each array, the prompt's own beside those of all others."""
    hashes = {
        jax.tree_util.keystr(path): hashlib.sha256(np.asarray(x).tobytes()).hexdigest()
        for path, x in jax.tree.leaves_with_path(tree)
    }
    return hashes.pop("['prompt']"), hashes


# Training.


def test_only_the_prompt_changes_and_has_optimizer_state(settings):
    settings = settings()
    _, t5x_trainer = trainer(t5x_engine.PromptedT5(settings))
    prompt, others = digest(t5x_trainer.train_state.params)
    assert len(others) == len(jax.tree.leaves(partitioning.param_shapes(MODEL)))
    t5x_trainer.train(batches(settings), 3).result()
    trained, others_after = digest(t5x_trainer.train_state.params)
    assert trained != prompt
    assert others_after == others
    sizes = [x.size for x in jax.tree.leaves(t5x_trainer.train_state.param_states)]
    assert max(sizes) == settings.run.prompt_length * CONFIG.emb_dim


class Own:
    """Our engine, before the first step."""

    def __init__(self, settings):
        self.model, run = parts.build(settings), settings.run
        task = parts.open_task(run, self.model.vocabulary)
        self.method = methods.of(settings)
        self.first = parts.start(settings, task, self.model)
        self.frozen = methods.left_frozen(self.model.params, self.first)
        self.adafactor = optimizer.of(settings)

    def trained(self, batches):
        """What is trained after a step on each of the batches."""
        state = step.new_state(self.first, self.adafactor)
        states = (partitioning.placed(state, self.model.mesh),)
        made = step.make_step(self.model.network, self.method, [self.adafactor])
        step_fn, rngs = jax.jit(made), jax.random.split(jax.random.key(0), 1)
        for batch in batches:
            states, _ = step_fn(states, self.frozen, batch, rngs)
        return states[0].trained

    def predictions(self, trained, inputs_BxT):
        length = LENGTHS["targets"]
        fn = predictor.make_predict_fn(self.model.network, self.model.mesh, length)
        return fn(*self.method.bind(trained, self.frozen))(inputs_BxT)


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))


def less(a, b):
    return jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b)


# A prompt moves far at the paper's rate of 0.3, at which a whole model is lost.
SLOWLY = {"schedule.learning_rate": 0.003}


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 0.1),
        ({"PROMPT_PLACE": "suffix"}, 0.1),
        ({"METHOD": "whole", **SLOWLY}, 0.01),
        ({"METHOD": "prepended", **SLOWLY}, 0.01),
        ({"METHOD": "lora", **SLOWLY}, 0.01),
    ],
)
def test_twenty_steps_train_what_our_engine_does(settings, changes, least):
    settings = settings(**changes)
    model, own = t5x_engine.PromptedT5(settings), Own(settings)
    _, t5x_trainer = trainer(model)
    first, frozen = model.split(jax.device_get(t5x_trainer.train_state.params))
    jax.tree.map(np.testing.assert_array_equal, own.first, first)
    jax.tree.map(np.testing.assert_array_equal, own.frozen, frozen)
    t5x_trainer.train(batches(settings), 20).result()
    params = t5x_trainer.train_state.params
    theirs, frozen = model.split(params)
    jax.tree.map(np.testing.assert_array_equal, own.frozen, frozen)

    ours = own.trained(itertools.islice(joint_batches(settings), 20))
    assert norm(less(ours, first)) > least * norm(first)
    assert norm(less(ours, theirs)) <= 1e-3 * norm(ours)

    batch = next(batches(settings))
    np.testing.assert_array_equal(
        jax.jit(model.predict_batch)(params, batch),
        own.predictions(ours, batch["encoder_input_tokens"]),
    )


@pytest.mark.parametrize("method", ["whole", "prepended"])
def test_a_model_that_is_trained_is_not_kept_twice(settings, method):
    settings = settings(METHOD=method, **SLOWLY)
    model = t5x_engine.PromptedT5(settings)
    _, t5x_trainer = trainer(model)
    before = jax.tree.map(np.asarray, t5x_trainer.train_state.params)
    assert list(before) == ["trained"]
    leaves = jax.tree.leaves(t5x_trainer.train_state.params)
    assert any("model" in x.sharding.spec for x in leaves), "split as when frozen"
    batch = next(batches(settings))
    t5x_trainer.train(itertools.repeat(batch), 5).result()
    after = t5x_trainer.train_state.params
    losses = [model.loss_fn(params, batch, None)[0] for params in (before, after)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("parts", [1, 2])
def test_the_compiled_step_has_the_operations_of_our_own(settings, parts):
    size = network.T5Config(mlp_dim=512)  # wide enough for weights to count
    changes = {f"T5Config.{k}": v for k, v in dataclasses.asdict(size).items()}
    changes["INITIAL_CHECKPOINT_PATH"] = "gs://unread"
    model = t5x_engine.PromptedT5(settings(PROMPT_LENGTH=20, **changes))
    made, t5x_trainer = trainer(model, num_microbatches=parts, read=False)
    mesh = t5x_trainer._partitioner.mesh
    work = plan.Workload(20, 8, 64, 4, parts)
    arguments = plan._arguments(model.module, mesh, work)
    state = made.global_train_state_shape
    batch = jax.eval_shape(
        lambda joint: jax.tree.map(lambda x: x[:, 0], joint), arguments[2]
    )
    step_fn = step.make_step(model.module, model.method, [plan._ADAFACTOR], parts)
    theirs, ours = (
        lowered.compile()
        for lowered in (
            t5x_trainer._partitioned_train_step.lower(state, batch),
            jax.jit(step_fn, donate_argnums=0).lower(*arguments),
        )
    )
    flops = [compiled.cost_analysis()["flops"] for compiled in (theirs, ours)]
    assert flops[0] == pytest.approx(flops[1], rel=0.02)
    # Nor is there a tree of gradients that were never made.
    memory = [c.memory_analysis().temp_size_in_bytes for c in (theirs, ours)]
    assert memory[0] < 1.2 * memory[1]


def test_dropout_is_off_unless_asked_for(settings):
    batch = next(batches(settings()))

    def loss(rng, **changes):
        model = t5x_engine.PromptedT5(settings(**changes))
        _, state = first_state(model, partitioner())
        return float(model.loss_fn(state.params, batch, rng)[0])

    rng = jax.random.PRNGKey(1)
    assert loss(rng) == loss(None)
    assert loss(rng, **{"T5Config.dropout_rate": 0.1}) != loss(None)


# Starting and restoring.


def test_weights_that_nothing_reads_are_nan_not_random(settings):
    model = t5x_engine.PromptedT5(settings())
    variables = jax.jit(model.get_initial_variables, static_argnums=1)(None, None)
    assert all(jnp.isnan(x).all() for x in jax.tree.leaves(variables["params"]))


def test_a_frozen_model_of_another_size_is_one_plain_message(settings):
    settings = settings(**{"T5Config.mlp_dim": 48})
    with pytest.raises(UserError, match=r"T5Config.mlp_dim is 48, but .* mlp_dim 24"):
        first_state(t5x_engine.PromptedT5(settings), partitioner())


def test_a_search_is_one_plain_message(settings):
    with pytest.raises(UserError, match="'autoprompt', a search whose steps T5X"):
        t5x_engine.PromptedT5(settings(METHOD="autoprompt"))


def test_a_prompt_for_each_task_is_one_plain_message(settings):
    """T5X's batches do not say which task an example is of."""
    several = settings(METHOD="multitask", MIXTURE_OR_TASK_NAME="small_both")
    model = t5x_engine.PromptedT5(several)

    def loss(batch):
        params = model.get_initial_variables(None, None)["params"]
        return model.loss_fn(params, batch, None)

    with pytest.raises(UserError, match=r"for each of 2 tasks.*`prompt-tuning train`"):
        jax.eval_shape(loss, next(batches(settings())))


@pytest.mark.parametrize("change", [{"scan_layers": True}, {"param_dtype": "int8"}])
def test_weights_that_t5x_cannot_keep_are_one_plain_message(settings, change):
    settings = settings(**{f"T5Config.{k}": v for k, v in change.items()})
    with pytest.raises(UserError, match="under T5X they must be False and float32"):
        t5x_engine.PromptedT5(settings)


def manager(folder, made, split, use_orbax, **restoring):
    """T5X's state restored as `restoring` says, and its checkpoint manager."""
    restore = None
    if restoring:
        restore = t5x.utils.RestoreCheckpointConfig(mode="specific", **restoring)
    return t5x.utils.create_checkpoint_manager_and_restore(
        made,
        split,
        restore,
        restoring.get("path"),
        jax.random.PRNGKey(0),
        save_checkpoint_cfg=t5x.utils.SaveCheckpointConfig(period=1),
        model_dir=str(folder),
        use_orbax=use_orbax,
    )


@pytest.mark.parametrize("use_orbax", [True, False])
def test_checkpoints_of_t5x_are_read_by_both_engines(
    settings, frozen, tmp_path, use_orbax
):
    model, split = t5x_engine.PromptedT5(settings()), partitioner()
    made, t5x_trainer = trainer(model, split)
    t5x_trainer.train(batches(settings()), 2).result()
    state = t5x_trainer.train_state
    _, saving = manager(tmp_path, made, split, use_orbax)
    saving.save(state)
    saving.wait_until_finished()
    path = tmp_path / "checkpoint_2"

    again, _ = manager(tmp_path, made, split, use_orbax, path=str(path))
    assert digest(again.params) == digest(state.params)
    for a, b in zip(*map(jax.tree.leaves, (again, state)), strict=True):
        np.testing.assert_array_equal(a, b)

    ours, theirs = (
        weights.load_frozen(str(place), MODEL, partitioning.mesh())
        for place in (path, frozen)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    prompt_PxD = exchange.load_prompt(path)
    np.testing.assert_array_equal(prompt_PxD, state.params["prompt"])

    # And T5X starts from it as our engine would.
    onwards = settings(
        INITIAL_CHECKPOINT_PATH=path, PROMPT_INIT="file", PROMPT_FILE=path
    )
    _, state = first_state(t5x_engine.PromptedT5(onwards), partitioner())
    assert digest(state.params) == digest(again.params)
    assert int(state.step) == 0


def test_t5x_starts_from_the_prompts_and_states_that_our_engine_writes(
    settings, tmp_path
):
    values = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    exchange.save_prompt(tmp_path / "prompt.npy", values, {})
    states = checkpoints.manager(tmp_path / "checkpoints")
    saved = step.new_state(jnp.asarray(values + 1), optimizer.of(Settings()))
    checkpoints.save_state(states, saved, 7, 1.0)
    states.wait_until_finished()
    for file, expected in {
        "prompt.npy": values,
        "checkpoints/7": values + 1,
    }.items():
        changes = {"PROMPT_INIT": "file", "PROMPT_FILE": tmp_path / file}
        model = t5x_engine.PromptedT5(settings(**changes))
        _, state = first_state(model, partitioner())
        np.testing.assert_array_equal(state.params["prompt"], expected)


@pytest.mark.parametrize("use_orbax", [True, False])
def test_a_public_checkpoint_loads_through_t5xs_own_restoring(
    settings, shared, tmp_path, use_orbax
):
    (path,) = (shared / "data" / "t5" / "test_t5_1_1_tiny").glob("checkpoint_*")
    size = network.T5Config(32_128, 4, 2, 2, 8, 2, 2, 4, 8)
    changes = {f"T5Config.{k}": v for k, v in dataclasses.asdict(size).items()}
    settings = settings(
        INITIAL_CHECKPOINT_PATH=path, PROMPT_INIT="random_uniform", **changes
    )
    model, split = t5x_engine.PromptedT5(settings), partitioner()
    made, ours = first_state(model, split)
    restored, _ = manager(
        tmp_path,
        made,
        split,
        use_orbax,
        path=str(path),
        fallback_to_scratch=True,
        assignment_map=[("state.*", None)],
    )
    assert digest(restored.params) == digest(ours.params)
    assert int(restored.step) == 0
