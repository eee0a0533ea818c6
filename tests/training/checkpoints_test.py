"""States come back as they went, whole or not at all, and hold no frozen weight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Adafactor, Run, T5Config
from prompt_tuning.t5 import network
from prompt_tuning.training import checkpoints, optimizer
from prompt_tuning.training.step import TrainState, new_state

ADAFACTOR = optimizer.adafactor(0.3, Adafactor())


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def a_state(step, length=3, scale=1.0):
    prompt = scale * tiny.prompt(length)
    return new_state(prompt, ADAFACTOR)._replace(step=jnp.int32(step))


def saved(folder, scores):
    manager = checkpoints.manager(folder)
    for step, score in scores.items():
        checkpoints.save_state(manager, a_state(step, scale=step), step, score)
    manager.close()
    return checkpoints.manager(folder)


@pytest.mark.parametrize(
    ("scores", "kept", "best"),
    [
        ({1: 10.0, 2: 70.0, 3: 20.0, 4: 30.0}, [2, 3, 4], 2),
        ({1: 10.0, 2: 20.0, 3: 30.0}, [2, 3], 3),
        ({1: 50.0, 2: 50.0, 3: 40.0}, [2, 3], 2),  # of equals the last
    ],
)
def test_the_last_and_the_best_state_are_kept(tmp_path, scores, kept, best):
    manager = saved(tmp_path / "states", scores)
    assert sorted(manager.all_steps()) == kept
    assert checkpoints.best_step(tmp_path / "states") == best
    assert manager.latest_step() == kept[-1]
    for step in kept:
        state = checkpoints.restore_state(manager, a_state(0), step)
        expected = a_state(step, scale=step)
        jax.tree.map(np.testing.assert_array_equal, state, expected)
        assert jax.tree.structure(state) == jax.tree.structure(expected)


def test_chosen_states_are_kept_too(tmp_path):
    run = Run(keep_steps=(1, 3), eval_period=1, train_steps=6)
    keep = checkpoints.kept_steps(tmp_path / "states", run)
    manager = checkpoints.manager(tmp_path / "states", keep)
    for step in range(7):
        checkpoints.save_state(manager, a_state(step), step, float(step))
    checkpoints.finish(manager)
    assert sorted(manager.all_steps()) == [1, 3, 5, 6]


@pytest.mark.parametrize("step", [-4, 3, 12])
def test_a_step_at_which_no_state_is_saved_cannot_be_kept(tmp_path, step):
    run = Run(keep_steps=(0, 4, 10, step), eval_period=4, train_steps=10)
    with pytest.raises(UserError, match=f"KEEP_STEPS has {step}, but states are"):
        checkpoints.kept_steps(tmp_path, run)
    (tmp_path / "3").mkdir()  # saved under another EVAL_PERIOD
    run = dataclasses.replace(run, keep_steps=(0, 3, 4, 10))
    assert checkpoints.kept_steps(tmp_path, run) == (0, 3, 4, 10)


def test_the_best_of_an_earlier_start_is_remembered(tmp_path):
    saved(tmp_path / "states", {1: 90.0, 2: 10.0}).close()
    manager = saved(tmp_path / "states", {3: 20.0, 4: 20.0})
    assert sorted(manager.all_steps()) == [1, 3, 4]
    assert checkpoints.best_step(tmp_path / "states") == 1


def test_a_state_saved_in_the_background_may_be_trained_on_meanwhile(tmp_path):
    """The step donates its buffers; what is saved must be a copy."""
    manager = checkpoints.manager(tmp_path / "states")
    state = TrainState(jnp.int32(0), jnp.zeros((1_000, 1_000)), ())
    add = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    for _ in range(3):
        state = add(state)
    checkpoints.save_state(manager, state, 3, 0.0)
    for _ in range(20):
        state = add(state)
    manager.wait_until_finished()
    restored = checkpoints.restore_state(manager, state, 3)
    assert restored.step == 3 and (restored.trained == 3).all()


def test_what_a_killed_save_left_is_no_state(tmp_path):
    saved(tmp_path / "states", {1: 10.0}).close()
    left = tmp_path / "states" / "2.orbax-checkpoint-tmp"
    (left / "default").mkdir(parents=True)
    manager = checkpoints.manager(tmp_path / "states")
    assert manager.all_steps() == [1]
    assert checkpoints.best_step(tmp_path / "states") == 1


def test_a_state_of_another_run_is_an_error(tmp_path):
    manager = saved(tmp_path / "states", {1: 10.0})
    for like in (a_state(0, length=4), a_state(0)._replace(opt_state=())):
        with pytest.raises(UserError, match=r"step 1 in .*states does not fit"):
            checkpoints.restore_state(manager, like, 1)


def test_a_state_is_as_small_as_the_prompt_and_holds_no_frozen_weight(tmp_path):
    """Random weights cannot be compressed: 4 MB of them do not hide in 200 kB."""
    model = network.Transformer(T5Config())
    shapes = jax.tree.leaves(partitioning.param_shapes(model))
    frozen = sum(4 * shape.size for shape in shapes)
    prompt = np.random.default_rng(0).normal(size=(100, 128)).astype(np.float32)
    state = new_state(prompt, ADAFACTOR)
    state = state._replace(opt_state=jax.tree.map(lambda x: x + 1, state.opt_state))
    manager = checkpoints.manager(tmp_path / "states")
    checkpoints.save_state(manager, state, 1, 10.0)
    manager.close()
    size = sum(path.stat().st_size for path in files(tmp_path))
    own = sum(np.size(leaf) * 4 for leaf in jax.tree.leaves(state))
    assert prompt.nbytes < size < own + 100_000 < frozen / 10
    assert not [path for path in files(tmp_path) if b"coder" in path.read_bytes()]


# Damaged states


def damage(folder, kind):
    """Damages one state in its folder."""
    metrics = folder / "metrics" / "metrics"
    (array,) = (folder / "default" / "d").iterdir()
    match kind:
        case "no metrics":
            metrics.unlink()
        case "zeros":
            metrics.write_bytes(bytes(14))
        case "no score":
            metrics.write_text('{"scores": 1.0}')
        case "NaN":
            metrics.write_text('{"score": NaN}')
        case "bytes":
            content = bytearray(array.read_bytes())
            content[len(content) // 2] ^= 0x55
            array.write_bytes(content)
        case "half":
            array.write_bytes(array.read_bytes()[:50])
        case "no arrays":
            array.unlink()


@pytest.mark.parametrize("kind", ["bytes", "half", "no arrays"])
def test_where_the_newest_state_is_damaged_the_one_before_is_used(
    tmp_path, kind, capsys
):
    saved(tmp_path, {1: 10.0, 2: 20.0, 3: 30.0}).close()
    damage(tmp_path / "3", kind)
    manager = checkpoints.manager(tmp_path)
    state = checkpoints.restore_last(manager, a_state(0))
    assert state is not None and state.step == 2
    error = capsys.readouterr().err
    assert "step 3 in" in error and "3.damaged" in error and error.count("\n") == 1
    assert checkpoints.best_step(tmp_path) == 2 and (tmp_path / "3.damaged").is_dir()
    checkpoints.save_state(manager, a_state(3, scale=3), 3, 30.0)  # made again
    checkpoints.finish(manager)
    assert sorted(checkpoints.scores(tmp_path)) == [2, 3]


@pytest.mark.parametrize("kind", ["no metrics", "zeros", "no score", "NaN"])
def test_a_state_whose_score_cannot_be_read_was_not_evaluated(tmp_path, kind, capsys):
    saved(tmp_path, {1: 10.0, 2: 20.0, 3: 30.0}).close()
    damage(tmp_path / "3", kind)
    assert checkpoints.scores(tmp_path) == {2: 20.0, 3: None}
    manager = checkpoints.manager(tmp_path)
    error = capsys.readouterr().err
    assert "the score of the state of step 3 in" in error and error.count("\n") == 1
    state = checkpoints.restore_last(manager, a_state(0))
    assert state is not None and state.step == 3
    assert checkpoints.best_step(tmp_path) == 2
    checkpoints.save_score(manager, 3, 30.0)  # evaluated again
    assert checkpoints.scores(tmp_path) == {2: 20.0, 3: 30.0}
    checkpoints.save_state(manager, a_state(4), 4, 10.0)
    checkpoints.save_state(manager, a_state(5), 5, 10.0)
    checkpoints.finish(manager)
    assert sorted(manager.all_steps()) == [3, 4, 5], "it is kept as the best"
    assert checkpoints.manager(tmp_path).all_steps() and not capsys.readouterr().err


def test_where_all_are_damaged_they_are_named(tmp_path):
    saved(tmp_path, {1: 10.0, 2: 20.0}).close()
    damage(tmp_path / "1", "half")
    damage(tmp_path / "2", "no arrays")
    with pytest.raises(UserError, match=r"1\.damaged, 2\.damaged.*remove .* anew"):
        checkpoints.restore_last(checkpoints.manager(tmp_path), a_state(0))


def test_a_kill_amid_deleting_leaves_no_half_state(tmp_path, monkeypatch, capsys):
    manager = saved(tmp_path, {1: 10.0, 2: 20.0})

    def killed(path):
        (array,) = (path / "1" / "default" / "d").iterdir()
        array.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", killed)
        checkpoints.save_state(manager, a_state(3), 3, 30.0)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.finish(manager)
    assert checkpoints.scores(tmp_path) == {2: 20.0, 3: 30.0}
    assert sorted(checkpoints.manager(tmp_path).all_steps()) == [2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    assert capsys.readouterr().err == ""


def test_what_is_named_like_no_state_is_none(tmp_path):
    saved(tmp_path, {1: 10.0, 2: 20.0}).close()
    for name in ("007", "x", "-3", "\N{ARABIC-INDIC DIGIT NINE}", "9.damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").touch()
    assert [*checkpoints.scores(tmp_path)] == [1, 2]
    state = checkpoints.restore_last(checkpoints.manager(tmp_path), a_state(0))
    assert state is not None and state.step == 2


def test_a_state_that_was_not_evaluated_is_never_the_best(tmp_path):
    manager = saved(tmp_path, {1: -5.0, 2: None, 3: None})
    assert sorted(manager.all_steps()) == [1, 2, 3]
    assert checkpoints.best_step(tmp_path) == 1
    state = checkpoints.restore_last(manager, a_state(0))
    assert state is not None and state.step == 3
    checkpoints.save_score(manager, 3, 1.0)  # evaluated now
    assert checkpoints.best_step(tmp_path) == 3
