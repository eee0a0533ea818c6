"""PEFT's LoRA, IA3 and prefix encoder, with the parameters of ours, do the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import outside
import pytest
import tiny

from prompt_tuning import methods
from prompt_tuning.method_settings import Lora, PrefixTuning
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

pytestmark = pytest.mark.slow

# What a part of a layer is called there.
THEIRS = {
    ("encoder", "self_attention"): "layer.0.SelfAttention",
    ("decoder", "self_attention"): "layer.0.SelfAttention",
    ("decoder", "cross_attention"): "layer.1.EncDecAttention",
    ("encoder", "mlp"): "layer.1.DenseReluDense.wo",
    ("decoder", "mlp"): "layer.2.DenseReluDense.wo",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(torch, peft, a function that makes the model as transformers loads it)."""
    return outside.library("peft", tmp_path_factory.mktemp("served") / "model")


def begun(method, seed=0):
    """(frozen parameters, what is trained, far from its start)"""
    frozen = outside.params()
    trained = outside.far_from_its_start(method, frozen, seed)
    return jax.device_get(frozen), trained


def lora(trained):
    """{their name: (the place of ours, theirs as an array)}"""
    for stack, attentions in trained.items():
        for name, kernels in attentions.items():
            for kernel, matrices in kernels.items():
                for ours, their in (("down", "lora_A"), ("up", "lora_B")):
                    for layer, x in enumerate(matrices[ours]):
                        inside = f"{THEIRS[stack, name]}.{kernel[0]}.{their}.default"
                        path = f"base_model.model.{stack}.block.{layer}.{inside}.weight"
                        yield path, (stack, name, kernel, ours, layer), x.T


def ia3(trained):
    for stack, parts in trained.items():
        for name, own in parts.items():
            for kind, scales in (own if name != "mlp" else {"mlp": own}).items():
                for layer, x in enumerate(scales):
                    inside = THEIRS[stack, name] + f".{kind[0]}" * (kind != "mlp")
                    path = f"base_model.model.{stack}.block.{layer}.{inside}.ia3_l"
                    place = (stack, name, kind, layer)
                    place = (stack, "mlp", layer) if kind == "mlp" else place
                    array = x[None] if kind == "mlp" else x[:, None]
                    yield f"{path}.default", place, array


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_the_loss_and_each_gradient_are_pefts(served, name):
    torch, peft, load = served
    chosen = {"lora": Lora(rank=4, alpha=12)} if name == "lora" else {}
    method = methods.of(Settings(Run(method=name), **chosen))
    frozen, trained = begun(method)
    batch = tiny.batch(examples=3, inputs=7, targets=5)

    loss, grads = outside.loss_and_gradient(method, frozen, batch, trained)
    config = (
        peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=12)
        if name == "lora"
        else peft.IA3Config(task_type="SEQ_2_SEQ_LM")
    )
    model = peft.get_peft_model(load(), config).eval()
    theirs = dict(model.named_parameters())
    rows = list({"lora": lora, "ia3": ia3}[name](trained))
    wanted = {path for path, x in theirs.items() if x.requires_grad}
    assert {path for path, _, _ in rows} == wanted, "the same places, and no other"
    outside.put(torch, theirs, rows)
    their_loss = outside.their_loss(torch, model, batch)
    their_loss.backward()
    np.testing.assert_allclose(loss, their_loss.item(), rtol=1e-5)
    for path, place, _ in rows:
        own = grads
        for step in place:
            own = own[step]
        gradient = theirs[path].grad.numpy()
        gradient = gradient.T if name == "lora" else gradient.reshape(-1)
        assert np.abs(gradient).max() > 0
        atol = 2e-4 * np.abs(gradient).max()
        np.testing.assert_allclose(own, gradient, atol=atol, err_msg=path)


@pytest.mark.parametrize("mlp", [True, False])
def test_a_prefix_is_that_of_pefts_encoder(served, mlp):
    """Its output is [P, layers * 2 * D]: here, of the layers of both stacks."""
    torch, peft, _ = served
    own = outside.NETWORK.config
    # PEFT takes keys to be as wide as the model.
    sizes = dataclasses.replace(own, emb_dim=own.num_heads * own.head_dim)
    length, hidden = 3, 7
    run = Run(method="prefix_tuning", prompt_length=length)
    options = PrefixTuning(mlp=mlp, hidden=hidden)
    method = methods.of(Settings(run, prefix_tuning=options))
    frozen = tiny.params(network.Transformer(sizes))
    trained = outside.far_from_its_start(method, frozen)
    layers = sizes.num_encoder_layers + sizes.num_decoder_layers
    config = peft.PrefixTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=length,
        token_dim=sizes.emb_dim,
        num_layers=layers,
        encoder_hidden_size=hidden,
        prefix_projection=mlp,
    )
    encoder = peft.PrefixEncoder(config)
    stacks = [trained[stack] for stack in ("encoder", "decoder")]

    def both(*parts):
        return torch.tensor(np.concatenate(parts, axis=parts[0].ndim - 4))

    with torch.no_grad():
        if mlp:
            encoder.embedding.weight.copy_(torch.tensor(trained["rows"]))
            into, _, out = encoder.transform
            into.weight.copy_(torch.tensor(trained["hidden"]["kernel"].T))
            into.bias.copy_(torch.tensor(trained["hidden"]["bias"]))
            kernel = both(*(one["kernel"] for one in stacks))
            out.weight.copy_(kernel.reshape(hidden, -1).T)
            out.bias.copy_(both(*(one["bias"] for one in stacks)).reshape(-1))
        else:
            encoder.embedding.weight.copy_(both(*stacks).reshape(length, -1))
        made = encoder(torch.arange(length)).numpy()
    heads = sizes.num_heads, sizes.head_dim
    made = made.reshape(length, layers, 2, *heads).transpose(2, 1, 0, 3, 4)
    _, extra = method.fold(trained, None)
    for theirs, kind in zip(made, ("keys", "values"), strict=True):
        ours = jnp.concatenate(
            [getattr(extra.encoder, kind), getattr(extra.decoder, kind)]
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
