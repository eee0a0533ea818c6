"""Prompts made of something else, as PEFT makes them: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.settings import Run, Settings

pytestmark = pytest.mark.slow

LENGTH, WIDTH, HIDDEN = 5, tiny.CONFIG.emb_dim, 6
# A loss of a prompt is its product with this: a gradient of every value's own.
PULL_PxD = np.random.default_rng(0).normal(size=(LENGTH, WIDTH)).astype(np.float32)


def ours(method, **options):
    """(method, what it trains at first) of a prompt of random vectors."""
    run = Run(method=method, prompt_length=LENGTH, prompt_init="random_uniform")
    made = methods.of(Settings(run, **options))
    start = methods.Start((), list)
    return made, made.init(jax.random.key(0), tiny.params(), start)


def pulled(method, trained):
    """(the prompt, the gradient of its product with PULL_PxD)."""

    def prompt(trained):
        return method.fold(trained, None)[1].prompt.vectors

    loss = lambda trained: jnp.sum(prompt(trained) * PULL_PxD)  # noqa: E731
    return prompt(trained), jax.grad(loss)(trained)


def theirs(module, *arguments):
    """The same of a torch module, and its gradients by name."""
    torch = pytest.importorskip("torch")
    made = module(*arguments).reshape(LENGTH, WIDTH)
    (made * torch.from_numpy(PULL_PxD)).sum().backward()
    gradients = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return made.detach().numpy(), gradients


def fill(module, values):
    """Gives a torch module's parameters values; all must have one."""
    torch = pytest.importorskip("torch")
    named = dict(module.named_parameters())
    assert named.keys() == values.keys()
    for name, value in values.items():
        named[name].data.copy_(torch.from_numpy(np.array(value)))


def check(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_p_tuning_is_pefts_prompt_encoder(encoder):
    """Torch gives each LSTM a second bias, which is added to the first: it is 0."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    config = peft.PromptEncoderConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=LENGTH,
        token_dim=WIDTH,
        num_transformer_submodules=1,
        num_layers=1,
        num_attention_heads=1,
        encoder_reparameterization_type=encoder.upper(),
        encoder_hidden_size=HIDDEN,
        encoder_dropout=0.0,
    )
    own = method_settings.PTuning(encoder=encoder, hidden=HIDDEN)
    method, trained = ours("p_tuning", p_tuning=own)
    module = peft.PromptEncoder(config)
    fill(module, named_as_theirs(trained, zeros=True))
    made, gradient = pulled(method, trained)
    their_made, their_gradients = theirs(module, torch.arange(LENGTH))
    check(made, their_made)
    names = named_as_theirs(gradient, zeros=False)
    assert len(names) == len(jax.tree.leaves(trained))
    for name, value in names.items():
        check(value, their_gradients[name])


def named_as_theirs(trained, zeros):
    """Our tree by PEFT's names; with `zeros` for the biases that we do not have."""
    found = {"embedding.weight": trained["vectors"]}
    for name, layer in trained.items():
        if name.startswith("dense"):
            number = 2 * int(name.removeprefix("dense_"))
            found[f"mlp_head.{number}.weight"] = layer["kernel"].T
            found[f"mlp_head.{number}.bias"] = layer["bias"]
        if name.startswith("lstm"):
            _, number, direction = name.split("_")
            end = f"l{number}" + "_reverse" * (direction == "backward")
            found[f"lstm_head.weight_ih_{end}"] = layer["kernel"].T
            found[f"lstm_head.weight_hh_{end}"] = layer["recurrent"].T
            found[f"lstm_head.bias_ih_{end}"] = layer["bias"]
            if zeros:
                found[f"lstm_head.bias_hh_{end}"] = np.zeros_like(layer["bias"])
    return found


@pytest.mark.parametrize("rank", [1, 3])
def test_mpt_is_pefts_multitask_prompt(rank):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    multitask = pytest.importorskip("peft.tuners.multitask_prompt_tuning.model")
    config = peft.MultitaskPromptTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=LENGTH,
        token_dim=WIDTH,
        num_transformer_submodules=1,
        num_tasks=1,
        num_ranks=rank,
        prompt_tuning_init="RANDOM",
    )
    table = torch.nn.Embedding(4, WIDTH)
    module = multitask.MultitaskPromptEmbedding(config, table)
    own = method_settings.Decomposed(kind="mpt", rank=rank)
    method, trained = ours("decomposed", decomposed=own)
    rng = np.random.default_rng(1)
    trained = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), trained)
    names = {
        "embedding.weight": "shared",
        "prefix_task_cols": "columns",
        "prefix_task_rows": "rows",
    }
    of_task = {
        theirs_: trained[name] if name == "shared" else trained[name][None]
        for theirs_, name in names.items()
    }
    fill(module, of_task)
    made, gradient = pulled(method, trained)
    indices = torch.arange(LENGTH)[None], torch.tensor([0])
    their_made, their_gradients = theirs(module, *indices)
    check(made, their_made)
    for theirs_, name in names.items():
        check(gradient[name], their_gradients[theirs_].reshape(gradient[name].shape))
