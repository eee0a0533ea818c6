"""At every scale settings parse and tasks exist; at the paper's, steps lower."""

import dataclasses
import functools
import os
import subprocess
import sys

import pytest
from source import ROOT

from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.reproduce import experiments, grid, scales
from prompt_tuning.runs import parts
from prompt_tuning.tasks_io.modules import import_tasks
from prompt_tuning.tasks_io.quiet import seqio


@functools.cache
def cells_of(name):
    """One seed and learning rate of all of a scale."""
    scale = scales.SCALES[name]._replace(seeds=(0,), members=(0,), rates=(0.1,))
    return [
        (name, cell)
        for name, one in experiments.EXPERIMENTS.items()
        for cell in one.cells(scale)
    ]


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=scales.SCALES)
def test_every_cell_s_settings_parse_and_its_tasks_exist(scale):
    import_tasks(
        grid.settings_of(scale, cells_of(scale.name)[0][1]).run.mixture_or_task_module
    )
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    asked = {}
    for name, cell in cells_of(scale.name):
        settings = grid.settings_of(scale, cell)
        assert settings.run.mixture_or_task_name in known, (name, cell)
        asked |= dict.fromkeys(cell.asks)
    for task in asked:
        assert "validation" in seqio.get_mixture_or_task(task).splits, task
    for task in scale.tasks.described.values():
        assert task in known


def test_the_paper_s_settings_are_the_paper_s():
    """Section 3 of the paper, in numbers by hand."""
    cells = [cell for name, cell in cells_of("paper") if name == "fig1"]
    prompts, wholes, mixed = (
        [grid.settings_of(scales.PAPER, c) for c in cells if c.column == column]
        for column in ("prompt tuning", "model tuning", "multi-task model tuning")
    )
    assert (len(prompts), len(wholes), len(mixed)) == (40, 40, 5)
    for one in prompts:
        run = one.run
        assert (run.train_steps, run.batch_size, run.prompt_length) == (30_000, 32, 100)
        assert run.prompt_init == "class_label" and one.schedule.learning_rate == 0.3
        assert not one.adafactor.parameter_scaling
        assert "lm100k" in run.initial_checkpoint_path
    for one in wholes:
        assert one.run.batch_size * 512 == 2**16 and one.schedule.learning_rate == 1e-3
        assert "lm100k" not in one.run.initial_checkpoint_path
    assert {one.run.batch_size * 512 for one in mixed} == {2**20}


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=scales.SCALES)
def test_prompt_design_is_of_every_task_of_the_suite(scale):
    """And scores labels where there are any, which its run would tell."""
    found = [c for n, c in cells_of(scale.name) if n == "fig1" and "design" in c.column]
    assert len(found) == 2 * len(scale.models) * len(scale.tasks.suite)
    vocabulary = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    silent = set()
    for cell in found[: 2 * len(scale.tasks.suite)]:
        run = grid.settings_of(scale, cell).run
        pocket = "pocket_nano"  # the paper's models are in buckets
        run = dataclasses.replace(run, initial_checkpoint_path=pocket)
        task = parts.open_task(run, vocabulary)
        assert (run.decoding == "labels") == bool(task.label_words()), task.name
        silent |= set() if task.label_words() else {task.name}
    assert len(silent) in (1, 2)


# Lowered for the paper's mesh, in a process that has as many virtual devices

LOWER = """
import sys
import jax
from prompt_tuning import methods, partitioning
from prompt_tuning.reproduce import experiments, grid, scales
from prompt_tuning.settings import T5Config
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import plan, step

sizes, names = (text.split(",") for text in sys.argv[1:])
plan.use_virtual_devices(scales.PAPER.devices)
scale = scales.PAPER._replace(seeds=(0,), members=(0,), rates=(0.1,))
scale = scale._replace(models=tuple(m for m in scale.models if m.name in sizes))
seen = set()


def lower(settings):
    run = settings.run
    model = Transformer(T5Config(**settings.model))
    along, sharded = settings.mesh.model, settings.param_shardings.fully_sharded
    mesh = plan.virtual_mesh(scale.devices // along, along)
    partitioning.check_batch_size(run.batch_size, mesh, run.num_microbatches)
    partitioning.check_mesh(model, mesh, sharded)
    work = plan.Workload(
        run.prompt_length, run.batch_size, **run.task_feature_lengths,
        num_microbatches=run.num_microbatches,
    )
    own = plan.trained(settings, model, ((0,), (1,)))
    arguments = plan._arguments(model, mesh, work, own, fully_sharded=sharded)
    fn = step.make_step(model, own.method, [own.optimizer], run.num_microbatches)
    with jax.set_mesh(mesh):
        jax.jit(fn).lower(*arguments)


for name in names:
    for cell in experiments.EXPERIMENTS[name].cells(scale):
        one = grid.settings_of(scale, cell)
        run = one.run
        key = repr((
            sorted(one.model.items()), one.mesh, one.param_shardings, run.method,
            run.prompt_length * (run.method == "prompt"), run.batch_size,
            run.num_microbatches, run.task_feature_lengths, one.adafactor,
            getattr(one, run.method, None),
        ))
        if key not in seen and methods.of(one).trains:
            seen.add(key)
            lower(one)
print(len(seen), "lowered")
"""


def lowered(sizes, names):
    ended = subprocess.run(
        [sys.executable, "-c", LOWER, sizes, names],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return int(ended.stdout.split()[0])


def test_small_s_steps_lower_for_the_paper_s_devices():
    assert lowered("Small", "table1") == 2, "a prompt, and the model tuned"


@pytest.mark.slow
@pytest.mark.parametrize("size", [model.name for model in scales.PAPER.models])
def test_every_cell_s_step_lowers_for_the_paper_s_devices(size):
    assert lowered(size, ",".join(experiments.EXPERIMENTS)) > 10
