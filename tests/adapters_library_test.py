"""The library `adapters`, with the parameters of ours, has the same loss and gradients.

It needs an older transformers than PEFT's tests, and so an environment of its own.
"""

import jax
import numpy as np
import outside
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.method_settings import Adapters
from prompt_tuning.settings import Run, Settings

pytestmark = pytest.mark.slow

WIDTH = 4
# Where the last part of a layer is there.
PLACES = {
    ("encoder", "attention_adapter"): 0,
    ("decoder", "attention_adapter"): 0,
    ("encoder", "mlp_adapter"): 1,
    ("decoder", "mlp_adapter"): 2,
}


def begun(kind):
    """(method, frozen parameters, what is trained, far from its start)"""
    options = Adapters(kind=kind, width=WIDTH)
    method = methods.of(Settings(Run(method="adapters"), adapters=options))
    frozen = outside.params()
    trained = outside.far_from_its_start(method, frozen)
    return method, jax.device_get(frozen), trained


def library(folder, kind):
    """(torch, their model with adapters as ours are)"""
    torch, adapters, load = outside.library("adapters", folder)
    model = load()
    adapters.init(model)
    factor = outside.NETWORK.config.emb_dim / WIDTH
    if kind == "houlsby":  # theirs has swish
        config = adapters.DoubleSeqBnConfig(
            reduction_factor=factor, non_linearity="relu"
        )
    else:  # theirs reads the sum of the MLP's output and its input
        config = adapters.SeqBnConfig(reduction_factor=factor, original_ln_before=False)
    model.add_adapter("own", config=config)
    model.train_adapter("own")
    return torch, model.eval()


def named(trained):
    """{their weight: (the place of ours, ours as theirs)}"""
    for stack, own in trained.items():
        for place, matrices in own.items():
            for ours, their in (("down", "adapter_down.0"), ("up", "adapter_up")):
                for layer, x in enumerate(matrices[ours]):
                    part = f"layer.{PLACES[stack, place]}.adapters.own.{their}.weight"
                    yield (
                        f"{stack}.block.{layer}.{part}",
                        (stack, place, ours, layer),
                        x.T,
                    )


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer"])
def test_the_loss_and_each_gradient_are_the_librarys(tmp_path, kind):
    torch, model = library(tmp_path / "model", kind)
    method, frozen, trained = begun(kind)
    batch = tiny.batch(examples=3, inputs=7, targets=5)

    loss, grads = outside.loss_and_gradient(method, frozen, batch, trained)
    theirs = {n: p for n, p in model.named_parameters() if p.requires_grad}
    rows = list(named(trained))
    matrices = {name for name in theirs if name.endswith("weight")}
    assert {name for name, _, _ in rows} == matrices, "the same places, and no other"
    with torch.no_grad():
        for parameter in theirs.values():  # their biases, which T5 1.1 has none of
            parameter.zero_()
    outside.put(torch, theirs, rows)
    their_loss = outside.their_loss(torch, model, batch)
    their_loss.backward()
    np.testing.assert_allclose(loss, their_loss.item(), rtol=1e-5)
    for name, (stack, place, matrix, layer), _ in rows:
        gradient = theirs[name].grad.numpy().T
        assert np.abs(gradient).max() > 0
        atol = 2e-4 * np.abs(gradient).max()
        own = grads[stack][place][matrix][layer]
        np.testing.assert_allclose(own, gradient, atol=atol, err_msg=name)
