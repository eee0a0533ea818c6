"""The step trains what it should and nothing else, alone and together with others."""

import dataclasses
import functools
import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.settings import Adafactor, Run, Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import losses, optimizer, step

ADAFACTOR = optimizer.adafactor(0.3, Adafactor())
SGD = optax.sgd(0.1)
RNGS = jax.random.key(0)[None]
PROMPT, WHOLE = (methods.of(Settings(Run(method=name))) for name in ("prompt", "whole"))


@pytest.fixture(scope="module")
def params():
    return tiny.params()


@functools.cache
def jitted(optimizer, **options):
    """A step that tests share, as compiling one takes seconds."""
    return jax.jit(step.make_step(tiny.MODEL, PROMPT, [optimizer], **options))


def taken(optimizer, params, batch, steps=1, mesh=None, **options):
    """The state and the metrics after steps on one batch, on `mesh` if given."""
    state, batch = step.new_state(tiny.prompt(), optimizer), tiny.joint(batch)
    if mesh:
        state = partitioning.placed(state, mesh)
        params = jax.device_put(params, partitioning.param_shardings(tiny.MODEL, mesh))
        batch = partitioning.shard_batch(batch, mesh)
    for _ in range(steps):
        made = jitted(optimizer, **options)((state,), params, batch, RNGS)
        ((state,), (metrics,)) = made
    return state, jax.tree.map(float, metrics)


def test_prompt_tuning_changes_the_prompt_alone_and_learns(params):
    frozen, batch = jax.tree.map(jnp.asarray, params), tiny.batch()
    before = tiny.digest(frozen)
    _, first = taken(ADAFACTOR, frozen, batch)
    state, last = taken(ADAFACTOR, frozen, batch, steps=20)
    assert tiny.digest(frozen) == before == tiny.digest(params)
    assert state.trained.shape == tiny.prompt().shape and state.step == 20
    assert last["loss"] < first["loss"] - 0.3 and first["ok"] and last["ok"]


def test_metrics_are_means_over_target_tokens(params):
    batch = tiny.batch()
    _, metrics = taken(SGD, params, batch)
    logits = jax.jit(tiny.MODEL.apply)(
        {"params": params}, batch, tiny.extra(tiny.prompt())
    )
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
    rates = [optimizer.adafactor(rate, Adafactor()) for rate in (0.3, 0.1, 0.3)]
    prompts = [tiny.prompt(seed=seed) for seed in (1, 1, 2)]
    rngs = jnp.stack([jax.random.key(seed) for seed in (0, 0, 5)])
    states = tuple(map(step.new_state, prompts, rates))
    alone = list(states)
    joint = jax.jit(step.make_step(model, PROMPT, rates, parts))
    steps = [jax.jit(step.make_step(model, PROMPT, [o], parts)) for o in rates]
    for i in range(10):
        batches = [tiny.batch(seed=10 * i + n) for n in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(jax, "default_backend", lambda: backend)  # when it is traced
            states, metrics = joint(states, params, tiny.joint(*batches), rngs)
        for n, own in enumerate(steps):
            arguments = (alone[n],), params, tiny.joint(batches[n]), rngs[n : n + 1]
            ((alone[n],), (expected,)) = own(*arguments)
            got = jax.tree.map(float, metrics[n])
            assert got == pytest.approx(jax.tree.map(float, expected), rel=1e-3)
    for n in range(3):
        assert jax.tree.structure(states[n]) == jax.tree.structure(alone[n])
        error = np.linalg.norm(states[n].trained - alone[n].trained)
        assert error < 1e-4 * np.linalg.norm(alone[n].trained)
    assert np.abs(states[0].trained - states[1].trained).max() > 0.1


def test_the_joint_step_of_one_state_is_bit_for_bit_the_direct_step(params):
    """Which is written out here as a textbook has it."""
    # As a run compiles it, and conftest.py does not: the other way rounds differently.
    compiled = functools.partial(
        jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True}
    )
    config = dataclasses.replace(tiny.CONFIG, dropout_rate=0.1)
    model = network.Transformer(config)

    @compiled
    def direct(state, params, batch, rng):
        def loss(prompt):
            rngs = {"dropout": jax.random.fold_in(rng, state.step)}
            variables, extra = {"params": params}, tiny.extra(prompt)
            logits_BxSxV = model.apply(variables, batch, extra, rngs=rngs)
            targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
            return losses.cross_entropy(logits_BxSxV, *targets)[0]

        gradient = jax.grad(loss)(state.trained)
        updates, opt_state = ADAFACTOR.update(gradient, state.opt_state, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        return step.TrainState(state.step + 1, trained, opt_state)

    joint = compiled(step.make_step(model, PROMPT, [ADAFACTOR]))
    state = expected = step.new_state(tiny.prompt(), ADAFACTOR)
    for i in range(5):
        batch = tiny.batch(seed=i)
        ((state,), _) = joint((state,), params, tiny.joint(batch), RNGS)
        expected = direct(expected, params, batch, RNGS[0])
    assert tiny.digest(state) == tiny.digest(expected)
    assert np.abs(state.trained - tiny.prompt()).max() > 0.1


def test_model_tuning_is_the_same_step_in_the_other_argument(params):
    slow = optax.sgd(0.01)
    take = jax.jit(step.make_step(tiny.MODEL, WHOLE, [slow]))
    state, fall = step.new_state(params, slow), []
    for _ in range(5):
        batch = tiny.joint(tiny.batch())
        ((state,), (metrics,)) = take((state,), None, batch, RNGS)
        fall.append(float(metrics["loss"]))
    assert fall[-1] < fall[0] and metrics["ok"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, state.trained)
    assert all(jax.tree.leaves(changed)), "every weight is trained"


def test_prompt_tuning_computes_no_gradient_of_a_weight(params):
    """Nothing in its step has a kernel's shape; it costs two thirds of the other."""
    sizes = {"vocab_size": 41, "emb_dim": 18, "head_dim": 5, "mlp_dim": 23}
    model = network.Transformer(dataclasses.replace(tiny.CONFIG, **sizes))
    params, batch = tiny.params(model), tiny.joint(tiny.batch(examples=7))
    prompt = np.zeros((3, 18), np.float32)
    kernels = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2}
    found, flops = {}, {}
    # The same prompt in the input, but the weights are trained.
    weights = PROMPT._replace(bind=lambda trained, prompt: PROMPT.bind(prompt, trained))
    for name, method, trained, frozen in (
        ("prompt", PROMPT, prompt, params),
        ("weights", weights, params, prompt),
        ("whole", WHOLE, params, None),
    ):
        take = step.make_step(model, method, [SGD])
        arguments = (step.new_state(trained, SGD),), frozen, batch, RNGS
        jaxpr = jax.make_jaxpr(take)(*arguments).jaxpr
        found[name] = kernels & set(tiny.shapes_computed(jaxpr))
        flops[name] = jax.jit(take).lower(*arguments).cost_analysis()["flops"]
    assert not found["prompt"] and found["weights"] == found["whole"] == kernels
    assert flops["prompt"] < 0.75 * flops["weights"]


def test_microbatches_give_the_whole_batchs_update(params):
    batch = tiny.batch()
    whole, whole_metrics = taken(SGD, params, batch)
    state, metrics = taken(SGD, params, batch, num_microbatches=4)
    np.testing.assert_allclose(state.trained, whole.trained, atol=1e-5)
    assert metrics == pytest.approx(whole_metrics, rel=1e-5)


def test_a_penalty_is_added_to_the_loss_of_each_target_token(params):
    batch, ids = tiny.batch(), [5, 9]
    held = losses.near_text(ids, 0.01)
    plain, metrics = taken(SGD, params, batch)
    state, same = taken(SGD, params, batch, penalty=held)
    table_VxD = params["token_embedder"]["embedding"]
    pull_PxD = 0.01 * (tiny.prompt()[:2] - table_VxD[ids])  # 2 / n is 1
    pull_PxD *= batch["decoder_loss_weights"].sum()
    found = (plain.trained - state.trained) / 0.1
    np.testing.assert_allclose(found[:2], pull_PxD, atol=1e-4)
    np.testing.assert_allclose(found[2:], 0, atol=1e-6)
    assert (same["loss"], same["accuracy"]) == (metrics["loss"], metrics["accuracy"])
    parts, _ = taken(SGD, params, batch, penalty=held, num_microbatches=4)
    np.testing.assert_allclose(parts.trained, state.trained, atol=1e-5)


def test_microbatches_are_spread_over_all_devices(params):
    mesh, batch = partitioning.mesh(), tiny.joint(tiny.batch(examples=32))
    state = partitioning.placed(step.new_state(tiny.prompt(), ADAFACTOR), mesh)
    batch = partitioning.shard_batch(batch, mesh)
    flops = []
    for parts in (1, 4):  # a loop's body is counted once
        take = jax.jit(step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR], parts))
        executable = take.lower((state,), params, batch, RNGS).compile()
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
    take = jax.jit(step.make_step(model, PROMPT, [SGD]))
    state, batch = step.new_state(tiny.prompt(), SGD), tiny.joint(tiny.batch())
    later = state._replace(step=state.step + 1)
    found = [take((s,), params, batch, RNGS)[1][0]["loss"] for s in (state, later) * 2]
    assert found[0] == found[2] != found[1] == found[3]
    _, without = taken(SGD, params, tiny.batch())
    assert abs(found[0] - without["loss"]) > 0.01


def test_a_compiled_step_takes_the_states_over_and_keeps_where_they_are(params):
    mesh, batch = partitioning.mesh(), tiny.joint(tiny.batch())
    start = partitioning.placed((step.new_state(tiny.prompt(), ADAFACTOR),), mesh)
    frozen = jax.tree.map(jnp.asarray, params)
    make = step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR])
    compiled = step.compile_step(make, start, frozen, batch, RNGS)
    states, _ = compiled(start, frozen, batch, RNGS)
    assert start[0].trained.is_deleted(), "their memory is used again"
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(frozen))
    where = {leaf.sharding for leaf in jax.tree.leaves(states)}
    assert where == {partitioning.replicated(mesh)}


@pytest.mark.parametrize(
    ("number", "loss", "norm", "said", "unsaid"),
    [
        (1, np.nan, np.nan, "not the learning rate.*weights.*PROMPT_INIT", "lower"),
        (7, np.nan, np.nan, "train.jsonl. If they rose.*lower.*an example", "INIT"),
        (7, 2.5, 3.5, "loss is 2.5, .* gradient 3.5, but what this step made", "dtype"),
        (7, 2.5, np.inf, "gradient inf, but .*learning_rate.*T5Config.dtype", "INIT"),
    ],
)
def test_what_can_have_made_a_step_diverge(number, loss, norm, said, unsaid):
    told = step.diverged(number, {"loss": loss, "grad_norm": norm})
    assert re.search(said, told) and unsaid not in told


@pytest.mark.parametrize("count", [1, 2])
def test_parts_of_different_lengths_make_the_padded_batchs_update(params, count):
    """Loss, accuracy and the next state are those of the whole, padded batch."""
    batch = tiny.joint(*(tiny.batch(seed=seed) for seed in range(count)))
    batch["encoder_input_tokens"][:4, :, 4:] = 0
    rngs = jax.random.split(jax.random.key(0), count)
    states = tuple(step.new_state(tiny.prompt(seed=s), SGD) for s in range(count))
    made = tiny.MODEL, PROMPT, [SGD] * count
    held = losses.near_text([5, 9], 0.01)
    expected, expected_metrics = jax.jit(step.make_step(*made, penalty=held))(
        states, params, batch, rngs
    )
    in_parts = step.make_step_in_parts(*made, penalty=held)
    sums = in_parts.zeros(states)
    for number, length in enumerate((4, 6)):
        part = {name: x[4 * number : 4 * number + 4] for name, x in batch.items()}
        part["encoder_input_tokens"] = part["encoder_input_tokens"][..., :length]
        sums = jax.jit(in_parts.add)(sums, states, params, part, rngs, number)
    got, metrics = in_parts.update(states, sums)
    for one, other in zip(
        jax.tree.leaves((got, metrics)),
        jax.tree.leaves((expected, expected_metrics)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
