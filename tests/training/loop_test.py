"""The step trains what it should and nothing else; runs can be repeated and resumed."""

import dataclasses
import functools
import hashlib
import itertools
import json

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.t5 import network
from prompt_tuning.training import checkpoints, optimizer, train

ADAFACTOR = optimizer.adafactor(0.3)
SGD = optax.sgd(0.1)
RNG = jax.random.key(0)
STEP = train.make_step(tiny.MODEL, ADAFACTOR)


@pytest.fixture(scope="module")
def params():
    return tiny.params()


def digest(tree):
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaves)).hexdigest()


@functools.cache
def jitted(optimizer, **options):
    """A step that tests share, as compiling one takes seconds."""
    return jax.jit(train.make_step(tiny.MODEL, optimizer, **options))


def taken(optimizer, params, batch, steps=1, mesh=None, **options):
    """The state and the metrics after steps on one batch, on `mesh` if given."""
    state = train.new_state(tiny.prompt(), optimizer)
    if mesh:
        state = partitioning.placed(state, mesh)
        params = jax.device_put(params, partitioning.param_shardings(tiny.MODEL, mesh))
        batch = partitioning.shard_batch(batch, mesh)
    for _ in range(steps):
        state, metrics = jitted(optimizer, **options)(state, params, batch, RNG)
    return state, jax.tree.map(float, metrics)


def fitted(folder, params, steps=6, period=3, **options):
    """The state after `fit`, from the beginning or from options["state"]."""
    state = options.get("state") or train.new_state(tiny.prompt(), ADAFACTOR)
    batches = (tiny.batch(seed=i) for i in itertools.count(int(state.step)))
    return train.fit(
        state,
        params,
        options.get("step_fn", STEP),
        options.get("batches", batches),
        steps=steps,
        period=period,
        at_period=options.get("at_period", lambda state, step: {}),
        mesh=partitioning.mesh(),
        rng=RNG,
        log=folder / "train.jsonl",
        lengths=options.get("lengths", ()),
    )


def test_prompt_tuning_changes_the_prompt_alone_and_learns(params):
    frozen, batch = jax.tree.map(jnp.asarray, params), tiny.batch()
    before = digest(frozen)
    _, first = taken(ADAFACTOR, frozen, batch)
    state, last = taken(ADAFACTOR, frozen, batch, steps=20)
    assert digest(frozen) == before == digest(params)
    assert state.trained.shape == tiny.prompt().shape and state.step == 20
    assert last["loss"] < first["loss"] - 0.3 and first["ok"] and last["ok"]


def test_metrics_are_means_over_target_tokens(params):
    batch = tiny.batch()
    _, metrics = taken(SGD, params, batch)
    extra = tiny.extra(tiny.prompt())
    logits = jax.jit(tiny.MODEL.apply)({"params": params}, batch, extra)
    targets, real = batch["decoder_target_tokens"], batch["decoder_loss_weights"] > 0
    log_z = jax.nn.logsumexp(logits, axis=-1)
    each = log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    each += 1e-4 * log_z**2
    assert metrics["loss"] == pytest.approx(float(each[real].mean()), rel=1e-5)
    hits = (logits.argmax(-1) == targets)[real]
    assert metrics["accuracy"] == pytest.approx(float(hits.mean()))


def test_the_gradient_is_of_the_sum_over_target_tokens(params):
    batch = tiny.batch()
    one, metrics = taken(SGD, params, batch)
    gradient = (tiny.prompt() - one.trained) / 0.1
    assert metrics["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    doubled = batch | {"decoder_loss_weights": 2 * batch["decoder_loss_weights"]}
    two, metrics_of_two = taken(SGD, params, doubled)
    expected = tiny.prompt() - 0.2 * gradient
    np.testing.assert_allclose(two.trained, expected, atol=1e-5)
    assert metrics_of_two["loss"] == pytest.approx(metrics["loss"])


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # one by one, and all at once
@pytest.mark.parametrize("parts", [1, 2])
def test_a_joint_step_does_what_each_would_do_alone(
    params, parts, backend, monkeypatch
):
    config = dataclasses.replace(tiny.CONFIG, dropout_rate=0.1)
    model = network.Transformer(config)
    optimizers = [optimizer.adafactor(rate) for rate in (0.3, 0.1, 0.3)]
    prompts = [tiny.prompt(seed=seed) for seed in (1, 1, 2)]
    rngs = [jax.random.key(seed) for seed in (0, 0, 5)]
    states = tuple(map(train.new_state, prompts, optimizers))
    alone = list(states)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: backend)
        joint = jax.jit(train.make_joint_step(model, optimizers, parts))
    steps = [jax.jit(train.make_step(model, o, "prompt", parts)) for o in optimizers]
    for i in range(10):
        batches = [tiny.batch(seed=10 * i + n) for n in range(3)]
        batch = {key: np.stack([b[key] for b in batches], 1) for key in batches[0]}
        states, metrics = joint(states, params, batch, jnp.stack(rngs))
        for n, step in enumerate(steps):
            alone[n], expected = step(alone[n], params, batches[n], rngs[n])
            got = jax.tree.map(float, metrics[n])
            assert got == pytest.approx(jax.tree.map(float, expected), rel=1e-3)
    for n in range(3):
        assert jax.tree.structure(states[n]) == jax.tree.structure(alone[n])
        error = np.linalg.norm(states[n].trained - alone[n].trained)
        assert error < 1e-4 * np.linalg.norm(alone[n].trained)
    assert np.abs(states[0].trained - states[1].trained).max() > 0.1


def test_model_tuning_is_the_same_step_in_the_other_argument(params):
    slow = optax.sgd(0.01)
    step = jax.jit(train.make_step(tiny.MODEL, slow, "model"))
    state, losses = train.new_state(params, slow), []
    for _ in range(5):
        state, metrics = step(state, tiny.prompt(), tiny.batch(), RNG)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] and metrics["ok"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, state.trained)
    assert all(jax.tree.leaves(changed)), "every weight is trained"


def shapes_computed(jaxpr):
    """Shapes of all that a jaxpr computes, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from shapes_computed(inner)


def test_prompt_tuning_computes_no_gradient_of_a_weight(params):
    """Nothing in its step has a kernel's shape; it costs two thirds of the other."""
    sizes = {"vocab_size": 41, "emb_dim": 18, "head_dim": 5, "mlp_dim": 23}
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, **sizes))
    params, batch = tiny.params(model), tiny.batch(examples=7)
    prompt = np.zeros((3, 18), np.float32)
    kernels = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2}
    found, flops = {}, {}
    for tuning, trained, frozen in (
        ("prompt", prompt, params),
        ("model", params, prompt),
    ):
        step = train.make_step(model, SGD, tuning)
        arguments = train.new_state(trained, SGD), frozen, batch, RNG
        jaxpr = jax.make_jaxpr(step)(*arguments).jaxpr
        found[tuning] = kernels & set(shapes_computed(jaxpr))
        flops[tuning] = jax.jit(step).lower(*arguments).cost_analysis()["flops"]
    assert not found["prompt"] and found["model"] == kernels
    assert flops["prompt"] < 0.75 * flops["model"]


def test_microbatches_give_the_whole_batchs_update(params):
    batch = tiny.batch()
    whole, whole_metrics = taken(SGD, params, batch)
    state, metrics = taken(SGD, params, batch, num_microbatches=4)
    np.testing.assert_allclose(state.trained, whole.trained, atol=1e-5)
    assert metrics == pytest.approx(whole_metrics, rel=1e-5)


def test_microbatches_are_spread_over_all_devices(params):
    mesh, batch = partitioning.mesh(), tiny.batch(examples=32)
    state = partitioning.placed(train.new_state(tiny.prompt(), ADAFACTOR), mesh)
    batch = partitioning.shard_batch(batch, mesh)
    flops = []
    for parts in (1, 4):  # a loop's body is counted once
        step = jax.jit(train.make_step(tiny.MODEL, ADAFACTOR, num_microbatches=parts))
        executable = step.lower(state, params, batch, RNG).compile()
        flops.append(executable.cost_analysis()["flops"])
    assert flops[1] < 0.3 * flops[0]


@pytest.mark.parametrize(("data", "model"), [(8, 1), (4, 2)])
def test_many_devices_do_what_one_does(params, data, model):
    batch = tiny.batch()
    alone, alone_metrics = taken(SGD, params, batch, steps=3)
    mesh = partitioning.mesh(data, model)
    state, metrics = taken(SGD, params, batch, steps=3, mesh=mesh)
    assert len(state.trained.devices()) == 8
    np.testing.assert_allclose(state.trained, alone.trained, atol=1e-4)
    assert metrics == pytest.approx(alone_metrics, rel=1e-4)


def test_dropout_follows_the_step(params):
    config = dataclasses.replace(tiny.CONFIG, dropout_rate=0.5)
    model = network.Transformer(config)
    step = jax.jit(train.make_step(model, SGD))
    state = train.new_state(tiny.prompt(), SGD)
    later = state._replace(step=state.step + 1)
    losses = [step(s, params, tiny.batch(), RNG)[1]["loss"] for s in (state, later) * 2]
    assert losses[0] == losses[2] != losses[1] == losses[3]
    _, without = taken(SGD, params, tiny.batch())
    assert abs(losses[0] - without["loss"]) > 0.01


def test_the_loop_logs_each_step_and_calls_back(tmp_path, params):
    calls = []

    def at_period(state, step):
        calls.append((step, int(state.step)))
        return {"score": step}

    state = fitted(tmp_path, params, steps=5, period=2, at_period=at_period)
    assert state.step == 5 and calls == [(2, 2), (4, 4), (5, 5)]
    lines = [json.loads(x) for x in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(set(x) == {"step", "loss", "accuracy", "grad_norm"} for x in lines)
    assert fitted(tmp_path, params, steps=5, state=state) is not None, "nothing to do"
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 5


def test_the_step_is_compiled_once(tmp_path, params):
    """A state that leaves the step with another layout would have it compiled again."""
    compilations, after_step = [], []

    def listener(event, duration, **_):
        if "backend_compile" in event:
            compilations.append(duration)

    def at_period(state, step):
        after_step.append(len(compilations))
        return {}

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        step = train.make_step(tiny.MODEL, ADAFACTOR)
        fitted(tmp_path, params, 4, period=1, at_period=at_period, step_fn=step)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert after_step[0] > 0 and after_step == [after_step[0]] * 4


def test_two_runs_with_one_seed_and_a_resumed_one_are_the_same_bits(tmp_path, params):
    like = train.new_state(tiny.prompt(), ADAFACTOR)
    manager = checkpoints.manager(tmp_path / "states")

    def save(state, step):
        checkpoints.save_state(manager, state, step, score=0.0)
        return {}

    (tmp_path / "a").mkdir()
    fitted(tmp_path / "a", params, steps=3, at_period=save)
    manager.close()
    whole = fitted(tmp_path, params)
    again = fitted(tmp_path, params)
    reopened = checkpoints.manager(tmp_path / "states")
    restored = checkpoints.restore_state(reopened, like, reopened.latest_step())
    assert restored.step == 3
    resumed = fitted(tmp_path, params, state=restored)
    assert digest(whole) == digest(again) == digest(resumed)
    assert jax.tree.structure(whole) == jax.tree.structure(resumed)


@pytest.mark.parametrize("period", [1, 100])
def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path, params, period):
    batches = [tiny.batch(seed=i) for i in range(9)]
    for i, batch in enumerate(batches):
        weights = batch["decoder_loss_weights"].astype(np.float32)
        batch["decoder_loss_weights"] = weights * np.nan if i == 2 else weights
    calls = []

    def at_period(state, step):
        calls.append((step, bool(np.isfinite(state.trained).all())))
        return {}

    with pytest.raises(UserError, match="diverged at step 3: the loss is nan"):
        fitted(tmp_path, params, 9, period, at_period=at_period, batches=iter(batches))
    assert calls == ([(1, True), (2, True)] if period == 1 else [])
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 2


def test_keep_lines_drops_what_a_killed_run_left(tmp_path):
    log = tmp_path / "train.jsonl"
    assert train.keep_lines(log, 5) == []
    whole = "".join(json.dumps({"step": i, "loss": 0.5}) + "\n" for i in range(1, 5))
    log.write_text(whole + '{"step": 5, "lo')
    assert [line["step"] for line in train.keep_lines(log, 9)] == [1, 2, 3, 4]
    assert log.read_text() == whole
    assert len(train.keep_lines(log, 2)) == 2 == len(log.read_text().splitlines())
    assert list(tmp_path.iterdir()) == [log]


def test_the_steps_of_coming_lengths_are_compiled_ahead_and_once(
    tmp_path, params, monkeypatch
):
    compile_step, compiled = train.compile_step, []

    def noted(step_fn, state, frozen, batch, rng):
        compiled.append(batch["encoder_input_tokens"].shape)
        return compile_step(step_fn, state, frozen, batch, rng)

    monkeypatch.setattr(train, "compile_step", noted)
    batches = (tiny.batch(inputs=length, seed=length) for length in (6, 6, 9, 6, 7))
    state = fitted(tmp_path, params, batches=batches, steps=5, lengths=[6, 9])
    assert sorted(compiled) == [(8, 6), (8, 7), (8, 9)] and state.step == 5
    alone = train.new_state(tiny.prompt(), ADAFACTOR)
    for length in (6, 6, 9, 6, 7):
        batch = tiny.batch(inputs=length, seed=length)
        alone, _ = jitted(ADAFACTOR)(alone, params, batch, RNG)
    np.testing.assert_allclose(state.trained, alone.trained, atol=1e-5)


def test_an_error_in_the_data_ends_training(tmp_path, params):
    def batches():
        yield tiny.batch()
        raise UserError("the third line is no JSON")

    with pytest.raises(UserError, match="the third line is no JSON"):
        fitted(tmp_path, params, batches=batches())
