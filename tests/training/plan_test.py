"""Memory and operations are what the compiler and arithmetic say."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import Residual
from prompt_tuning.runs import parameters
from prompt_tuning.settings import Adafactor, Run, Settings, T5Config
from prompt_tuning.t5 import network
from prompt_tuning.training import losses, optimizer, plan, step

ROOT = Path(__file__).resolve().parents[2]


def test_a_mesh_that_does_not_divide_the_heads_is_an_error():
    with pytest.raises(UserError, match="do not divide num_heads 4"):
        next(plan.describe(T5Config(), Run(), (1, 8), plan.LENGTHS))


@pytest.mark.parametrize("text", ["8", "8x", "0x4", "axb", "8x4x2"])
def test_a_mesh_that_is_none_is_an_error(text):
    with pytest.raises(UserError, match=r"--mesh is .*such as 8x4"):
        plan.parse_mesh(text)


MODEL = network.Transformer(
    dataclasses.replace(tiny.CONFIG, vocab_size=64, emb_dim=32, num_heads=8)
)
WORK = plan.Workload(prompt_length=4, batch_size=16, inputs=32, targets=4)


def step_of(model):
    """The step of prompt tuning."""
    adafactor = optimizer.adafactor(0.3, Adafactor())
    return step.make_step(model, methods.of(Settings()), [adafactor])


def test_bytes_of_weights_follow_from_shapes_and_types():
    alone = plan.need(MODEL, plan.virtual_mesh(1, 1), WORK)
    assert alone.weights == 4 * plan.count(MODEL)
    # The prompt, its second moments (unfactored below 128), and three counters.
    assert 2 * 4 * 4 * 32 < alone.state < 2 * 4 * 4 * 32 + 32
    split = plan.need(MODEL, plan.virtual_mesh(1, 8), WORK)
    assert alone.weights / 8 < split.weights < alone.weights / 7
    assert split.state == alone.state
    half = network.Transformer(
        dataclasses.replace(MODEL.config, param_dtype="bfloat16", dtype="bfloat16")
    )
    needed = plan.need(half, plan.virtual_mesh(1, 1), WORK)
    assert alone.weights / 2 < needed.weights < alone.weights * 0.55
    assert needed.activations + needed.temporaries == pytest.approx(
        (alone.activations + alone.temporaries) / 2, abs=2
    )


def test_the_state_is_what_the_method_trains():
    """The MLP of residual prompt tuning, and its second moments, are in it."""
    run = Run(method="residual", prompt_length=4, prompt_init="sampled_vocab")
    method = methods.of(Settings(run, residual=Residual(bottleneck=8)))
    start = methods.Start((), list)
    shapes = partitioning.param_shapes(MODEL)
    key = jax.random.key(0)
    tree = jax.eval_shape(lambda frozen: method.init(key, frozen, start), shapes)
    needed = plan.need(MODEL, plan.virtual_mesh(1, 1), WORK, plan.Trained(method, tree))
    values = 4 * 32 + 2 * 32 * 8 + 8 + 3 * 32
    assert 2 * 4 * values <= needed.state < 2 * 4 * values + 200


def test_the_rest_is_what_the_compiled_step_holds():
    mesh = plan.virtual_mesh(4, 2)
    needed = plan.need(MODEL, mesh, WORK)
    with jax.set_mesh(mesh):
        compiled = (
            jax.jit(step_of(MODEL)).lower(*plan._arguments(MODEL, mesh, WORK)).compile()
        )
    held = compiled.memory_analysis().temp_size_in_bytes
    assert needed.activations + needed.temporaries == held
    assert needed.activations > needed.temporaries > 0


def test_activations_shrink_with_the_batch_and_with_remat():
    def activations(data, **changes):
        changed = network.Transformer(dataclasses.replace(MODEL.config, **changes))
        return plan.need(changed, plan.virtual_mesh(data, 1), WORK).activations

    deep = {"num_encoder_layers": 8, "scan_layers": True}
    whole = activations(1, **deep)
    assert activations(8, **deep) < whole / 4
    assert activations(1, **deep, remat=True) < whole / 3


def test_the_fewest_devices_are_found(monkeypatch):
    def need(model, mesh, work, trained, fully_sharded):
        assert trained is None and fully_sharded and 16 % mesh.shape["data"] == 0
        return plan.Need(800 // mesh.size, 0, 90, 10)

    monkeypatch.setattr(plan, "need", need)
    memory = {"all": 1_001e-9, "half": 557e-9, "less": 554e-9, "tiny": 100e-9}
    monkeypatch.setattr(plan, "MEMORY", memory)
    fits = plan.smallest_meshes(MODEL, WORK)
    sizes = {chip: mesh.size for chip, (mesh, _) in fits.items()}
    assert sizes == {"all": 1, "half": 2, "less": 4}, "900, 500 and 300 bytes are used"


def test_xxl_s_step_compiles_for_32_devices_without_any_weight():
    """And stays within what a TPU v5e has: T5 1.1 XXL on the paper's mesh and more."""
    code = """
import dataclasses
from prompt_tuning.runs import parameters
from prompt_tuning.t5 import network
from prompt_tuning.training import plan
plan.use_virtual_devices(32)
config = dataclasses.replace(
    parameters.size("xxl"), dtype="bfloat16", param_dtype="bfloat16",
    remat=True, scan_layers=True,
)
work = plan.Workload(prompt_length=100, batch_size=32, inputs=512, targets=8)
needed = plan.need(network.Transformer(config), plan.virtual_mesh(8, 4), work)
print(*needed)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    needed = plan.Need(*map(int, result.stdout.split()))
    assert needed.weights == pytest.approx(2 * 11_135_332_352 / 4, rel=1e-3)
    assert 5.8e9 < needed.total < 8e9


def test_plan_tells_of_a_run():
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    flags = ["--mesh=4x2", "--batch=16", "--gin.PROMPT_LENGTH=20"]
    flags.append("--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 4}")
    result = subprocess.run(
        [sys.executable, "-m", "prompt_tuning", "plan", *flags],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    for words in (
        "1,162,816 parameters in float32",
        "16 examples in 1 parts, inputs 64, targets 4, prompt 20",
        "mesh data=4 x model=2",
        "H200-141  141 GB",
    ):
        assert words in result.stdout
    assert partitioning.mesh().size == 8, "this process has its own devices"


@pytest.mark.parametrize("targets", [1, 16])
def test_a_step_s_operations_are_counted_within_2_percent(targets):
    """Of the compiled step; the count leaves out what is no matrix product."""
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    # Plain: the compiler counts the body of a loop over examples once.
    config = dataclasses.replace(parameters.size("small"), **layers, attention="plain")
    work = plan.Workload(prompt_length=100, batch_size=8, inputs=156, targets=targets)
    model, mesh = network.Transformer(config), plan.virtual_mesh(1, 1)
    lowered = jax.jit(step_of(model)).lower(*plan._arguments(model, mesh, work))
    compiled = lowered.compile()
    counted = plan.step_flops(config, work)
    assert compiled.cost_analysis()["flops"] == pytest.approx(counted, rel=0.02)


def test_training_the_weights_counts_their_gradients_too():
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    config = dataclasses.replace(parameters.size("small"), **layers, attention="plain")
    work = plan.Workload(prompt_length=0, batch_size=8, inputs=256, targets=96)
    model, mesh = network.Transformer(config), plan.virtual_mesh(1, 1)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((8, x.shape[-1]), x.dtype),
        plan._arguments(model, mesh, work)[2],
    )
    shapes = partitioning.param_shapes(model)

    def loss(params, batch):
        logits_BxSxV = model.apply({"params": params}, batch)
        return losses.cross_entropy(
            logits_BxSxV, batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        )[0]

    compiled = jax.jit(jax.grad(loss)).lower(shapes, batch).compile()
    counted = plan.step_flops(config, work, weights=True)
    assert compiled.cost_analysis()["flops"] == pytest.approx(counted, rel=0.03)


def test_a_batchs_operations_are_those_of_its_shape():
    flops = plan.flops_of(tiny.CONFIG, prompt_length=4)
    batch = {
        "encoder_input_tokens": np.zeros((8, 3, 16)),  # three prompts in a step
        "decoder_target_tokens": np.zeros((8, 3, 2)),
    }
    assert flops(batch) == 3 * plan.step_flops(tiny.CONFIG, plan.Workload(4, 8, 16, 2))


def test_further_losses_are_further_forward_passes():
    work = plan.Workload(4, 8, 16, 2)
    whole = plan.step_flops(tiny.CONFIG, work, weights=True)  # thrice a forward pass
    for weights in (False, True):
        one, four = (
            plan.step_flops(tiny.CONFIG, work, weights, more) for more in (0, 3)
        )
        assert four - one == whole
