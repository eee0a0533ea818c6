"""The loop logs, calls back, compiles ahead; runs can be repeated and resumed."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Adafactor, Settings
from prompt_tuning.t5 import network
from prompt_tuning.training import (
    checkpoints,
    loop,
    optimizer,
    plan,
    progress,
    step,
)

ADAFACTOR = optimizer.adafactor(0.3, Adafactor())
RNGS = jax.random.key(0)[None]
PROMPT = methods.of(Settings())
STEP = step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR])


@pytest.fixture(scope="module")
def params():
    return tiny.params()


def first_states(*seeds):
    return tuple(step.new_state(tiny.prompt(seed=s), ADAFACTOR) for s in seeds or [1])


def fitted(folder, params, steps=6, period=3, **options):
    """The states after `fit`, from the beginning or from options["states"]."""
    states = options.get("states") or first_states()
    numbers = itertools.count(int(states[0].step))
    batches = (tiny.joint(tiny.batch(seed=i)) for i in numbers)
    return loop.fit(
        states,
        params,
        options.get("step_fn", STEP),
        options.get("batches", batches),
        steps=steps,
        period=period,
        at_period=options.get("at_period", lambda states, step: {}),
        at_stop=options.get("at_stop", lambda states, step: None),
        mesh=options.get("mesh") or partitioning.mesh(),
        rngs=options.get("rngs", RNGS),
        logs=options.get("logs", [folder / "train.jsonl"]),
        work=progress.Work([lambda step: 0.3] * len(states), lambda batch: 1e9),
        lengths=options.get("lengths", ()),
    )


def test_the_loop_logs_each_step_and_calls_back(tmp_path, params):
    calls = []

    def at_period(states, step):
        calls.append((step, int(states[0].step)))
        return {"score": step}

    states = fitted(tmp_path, params, steps=5, period=2, at_period=at_period)
    assert states[0].step == 5 and calls == [(2, 2), (4, 4), (5, 5)]
    log = tiny.lines(tmp_path / "train.jsonl")
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5]
    assert all(
        set(x) == {"step", "loss", "accuracy", "grad_norm", "learning_rate"}
        for x in log
    )
    assert fitted(tmp_path, params, steps=5, states=states), "nothing to do"
    assert tiny.lines(tmp_path / "train.jsonl") == log


def test_each_of_several_states_has_its_log_and_its_key(tmp_path, params):
    logs = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    several = {
        "states": first_states(1, 1, 2),
        "step_fn": step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR] * 3),
        "batches": (tiny.joint(*[tiny.batch(seed=i)] * 3) for i in itertools.count()),
        "rngs": jax.random.split(jax.random.key(0), 3),
        "logs": logs,
    }
    states = fitted(tmp_path, params, steps=3, **several)
    same, as_well, other = map(tiny.lines, logs)
    assert [line["step"] for line in other] == [1, 2, 3]
    assert same == as_well != other
    assert tiny.digest(states[0].trained) == tiny.digest(states[1].trained)
    alone = fitted(tmp_path, params, steps=3)
    np.testing.assert_allclose(states[0].trained, alone[0].trained, atol=1e-5)


def test_of_several_the_one_that_diverges_is_named(tmp_path, params):
    def batches():
        batch = tiny.joint(*[tiny.batch()] * 2)
        weights = batch["decoder_loss_weights"].astype(np.float32)
        weights[:, 1] *= np.nan
        yield batch | {"decoder_loss_weights": weights}

    logs = []
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        logs.append(tmp_path / name / "train.jsonl")
    several = {
        "states": first_states(1, 2),
        "step_fn": step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR] * 2),
        "rngs": jax.random.split(jax.random.key(0), 2),
        "logs": logs,
    }
    named = f"at step 1 in {tmp_path / 'bad'}: .*or continue without this prompt"
    with pytest.raises(UserError, match=named):
        fitted(tmp_path, params, 1, batches=batches(), **several)
    assert [log.read_text() for log in logs] == ["", ""]


def test_the_step_is_compiled_once(tmp_path, params):
    """A state that leaves the step with another layout would have it compiled again."""
    compilations, after_step = [], []

    def listener(event, duration, **_):
        if "backend_compile" in event:
            compilations.append(duration)

    def at_period(states, step):
        after_step.append(len(compilations))
        return {}

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        new = step.make_step(tiny.MODEL, PROMPT, [ADAFACTOR])
        fitted(tmp_path, params, 4, period=1, at_period=at_period, step_fn=new)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert after_step[0] > 0 and after_step == [after_step[0]] * 4


def test_two_runs_with_one_seed_and_a_resumed_one_are_the_same_bits(tmp_path, params):
    (like,) = first_states()
    manager = checkpoints.manager(tmp_path / "states")

    def save(states, step):
        checkpoints.save_state(manager, states[0], step, score=0.0)
        return {}

    (tmp_path / "a").mkdir()
    fitted(tmp_path / "a", params, steps=3, at_period=save)
    manager.close()
    whole = fitted(tmp_path, params)
    again = fitted(tmp_path, params)
    reopened = checkpoints.manager(tmp_path / "states")
    restored = checkpoints.restore_state(reopened, like, reopened.latest_step())
    assert restored.step == 3
    resumed = fitted(tmp_path, params, states=(restored,))
    assert tiny.digest(whole) == tiny.digest(again) == tiny.digest(resumed)
    assert jax.tree.structure(whole) == jax.tree.structure(resumed)


@pytest.mark.parametrize("period", [1, 100])
def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path, params, period):
    batches = [tiny.joint(tiny.batch(seed=i)) for i in range(9)]
    for i, batch in enumerate(batches):
        weights = batch["decoder_loss_weights"].astype(np.float32)
        batch["decoder_loss_weights"] = weights * np.nan if i == 2 else weights
    calls = []

    def at_period(states, step):
        calls.append((step, bool(np.isfinite(states[0].trained).all())))
        return {}

    with pytest.raises(UserError, match="diverged at step 3: the loss is nan"):
        fitted(tmp_path, params, 9, period, at_period=at_period, batches=iter(batches))
    assert calls == ([(1, True), (2, True)] if period == 1 else [])
    assert len(tiny.lines(tmp_path / "train.jsonl")) == 2


def test_the_steps_of_coming_lengths_are_compiled_ahead_and_once(
    tmp_path, params, monkeypatch
):
    compile_step, compiled = loop.compile_step, []

    def noted(step_fn, states, frozen, batch, rngs):
        compiled.append(batch["encoder_input_tokens"].shape)
        return compile_step(step_fn, states, frozen, batch, rngs)

    monkeypatch.setattr(loop, "compile_step", noted)
    lengths = 6, 6, 9, 6, 7
    batches = [tiny.joint(tiny.batch(inputs=n, seed=n)) for n in lengths]
    ahead = {"batches": iter(batches), "lengths": [6, 9]}
    (trained,) = fitted(tmp_path, params, steps=5, **ahead)
    assert sorted(compiled) == [(8, 1, 6), (8, 1, 7), (8, 1, 9)] and trained.step == 5
    alone, take = first_states(), jax.jit(STEP)
    for batch in batches:
        alone, _ = take(alone, params, batch, RNGS)
    np.testing.assert_allclose(trained.trained, alone[0].trained, atol=1e-5)


def test_an_error_in_the_data_ends_training(tmp_path, params):
    def batches():
        yield tiny.joint(tiny.batch())
        raise UserError("the third line is no JSON")

    with pytest.raises(UserError, match="the third line is no JSON"):
        fitted(tmp_path, params, batches=batches())


def parted(start):
    """Batches in two parts of four, the first cut to four tokens."""
    for number in itertools.count(start):
        batch = tiny.joint(tiny.batch(seed=number))
        parts = [{k: v[rows] for k, v in batch.items()} for rows in np.split(ROWS, 2)]
        parts[0]["encoder_input_tokens"] = parts[0]["encoder_input_tokens"][..., :4]
        yield parts


ROWS = np.arange(8)


def test_steps_in_parts_repeat_and_resume_bit_for_bit(tmp_path, params):
    """With dropout, whose keys are the step's and the part's."""
    drops = dataclasses.replace(tiny.CONFIG, dropout_rate=0.1)
    step_fn = step.make_step_in_parts(network.Transformer(drops), PROMPT, [ADAFACTOR])
    how = {"step_fn": step_fn, "mesh": plan.virtual_mesh(1, 1), "lengths": [4, 6]}

    def trained(steps, folder, **options):
        start = int(options["states"][0].step) if "states" in options else 0
        return fitted(folder, params, steps, batches=parted(start), **how, **options)

    unbroken, other = tmp_path / "a", tmp_path / "b"
    unbroken.mkdir(), other.mkdir()
    whole = trained(5, unbroken)
    first = trained(2, other)
    resumed = trained(5, other, states=first)
    assert whole[0].step == resumed[0].step == 5
    assert tiny.digest(whole) == tiny.digest(resumed)
    assert tiny.lines(unbroken / "train.jsonl") == tiny.lines(other / "train.jsonl")
