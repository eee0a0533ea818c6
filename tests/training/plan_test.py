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
from prompt_tuning.method_settings import Lora, Residual, Superpos
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


def test_the_state_is_what_the_method_trains(monkeypatch):
    """The MLP of residual prompt tuning, and its second moments, are in it."""
    monkeypatch.setattr(plan, "_temporaries", lambda *_: 0)
    run = Run(method="residual", prompt_length=4, prompt_init="sampled_vocab")
    own = plan.trained(Settings(run, residual=Residual(bottleneck=8)), MODEL)
    needed = plan.need(MODEL, plan.virtual_mesh(1, 1), WORK, own)
    values = 4 * 32 + 2 * 32 * 8 + 8 + 3 * 32
    assert plan.size(own.tree) == values
    assert 2 * 4 * values <= needed.state < 2 * 4 * values + 200


def test_weights_that_are_trained_are_state_and_split_as_frozen_ones(monkeypatch):
    """With the prompt beside them; what is left of the frozen model is nothing."""
    monkeypatch.setattr(plan, "_temporaries", lambda *_: 0)
    run = Run(method="prepended", prompt_length=4)
    own = plan.trained(Settings(run), MODEL)
    count = plan.count(MODEL)
    assert plan.size(own.tree) == count + 4 * 32
    alone, split = (
        plan.need(MODEL, plan.virtual_mesh(1, along), WORK, own) for along in (1, 8)
    )
    assert (alone.weights, split.weights) == (0, 0)
    assert alone.state - split.state > 0.8 * 4 * count * 7 / 8
    moments = alone.state - 4 * plan.size(own.tree)
    assert 0 < moments < 4.1 * plan.size(own.tree)


@pytest.mark.parametrize("name", [n for n in methods.NAMES if n != "prompt_design"])
def test_what_is_trained_and_shipped_is_the_method_s_own(name):
    """Its init and fold with arrays have the shapes that are planned."""
    more = {"superpos": Superpos(rows=20)} if name == "superpos" else {}
    run = Run(method=name, prompt_length=3, prompt_init="sampled_vocab")
    settings = Settings(run, **more)
    labels, frozen = ((5, 9), (7,)), jax.tree.map(jax.numpy.asarray, tiny.params())
    own = plan.trained(settings, tiny.MODEL, labels)
    start = methods.Start(((1,),), list, label_words=labels)
    made = own.method.init(jax.random.key(0), frozen, start)
    shapes = jax.tree.map(lambda x: x.shape, made)
    assert shapes == jax.tree.map(lambda x: x.shape, own.tree)
    left = methods.left_frozen(frozen, made)
    for planned, real in zip(
        plan.shipped(tiny.MODEL, own), own.method.fold(made, left), strict=True
    ):
        assert jax.tree.map(np.shape, planned) == jax.tree.map(np.shape, real)


def test_a_plan_tells_what_is_trained_and_shipped(monkeypatch):
    """LoRA of rank 2: 2 r (D + H K) for each of query and value of 5 attentions."""
    monkeypatch.setattr(plan, "need", lambda *_, **__: plan.Need(1, 1, 1, 1))
    settings = Settings(Run(method="lora", batch_size=8), lora=Lora(rank=2))
    own = plan.trained(settings, tiny.MODEL)
    about = tiny.CONFIG, settings.run, (1, 1), plan.LENGTHS, own
    text = "\n".join(plan.describe(*about))
    values = 2 * 2 * (16 + 8) * (1 + 2 * 2)
    assert f"trained   {values} values, METHOD=lora" in text
    assert f"shipped   more than a prompt of {4 * values / 1e6:.3f} MB" in text
    assert "targets 8, prompt 0" in text, "LoRA makes the input no longer"


def test_a_step_of_a_mixture_is_given_its_tasks():
    """It compiles; a prompt for each of three costs their own factors more."""
    run = Run(method="multitask", prompt_length=3, prompt_init="sampled_vocab")
    one, three = (
        plan.trained(Settings(run), tiny.MODEL, tasks=names) for names in ("a", "abc")
    )
    assert plan.size(three.tree) - plan.size(one.tree) == 2 * (3 + 16)
    mesh, work = plan.virtual_mesh(2, 1), plan.Workload(3, 4, 6, 4)
    states, frozen, batch, rngs = plan._arguments(tiny.MODEL, mesh, work, three)
    assert batch["task_ids"].shape == (4, 1)
    assert "task_ids" not in plan._arguments(tiny.MODEL, mesh, work, one)[2]
    take = step.make_step(tiny.MODEL, three.method, [three.optimizer])
    after, _ = jax.eval_shape(take, states, frozen, batch, rngs)
    assert plan.size(after[0].trained) == plan.size(three.tree)


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
    def need(model, mesh, work, own, fully_sharded):
        assert own is None and fully_sharded and 16 % mesh.shape["data"] == 0
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
        plan._arguments(model, mesh, work._replace(prompt_length=1))[2],
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


def test_an_input_that_is_encoded_thrice_costs_thrice():
    work = plan.Workload(4, 8, 16, 2)
    one, three = (
        plan.step_flops(tiny.CONFIG, work._replace(encodings=n)) for n in (1, 3)
    )
    assert three == 3 * one


def test_further_losses_are_further_forward_passes():
    work = plan.Workload(4, 8, 16, 2)
    whole = plan.step_flops(tiny.CONFIG, work, weights=True)  # thrice a forward pass
    for weights in (False, True):
        one, four = (
            plan.step_flops(tiny.CONFIG, work, weights, more) for more in (0, 3)
        )
        assert four - one == whole
