"""pocket_nano as transformers loads it, beside ours. Nothing here is a test."""

import jax
import numpy as np
import pytest

from prompt_tuning import methods, partitioning
from prompt_tuning.frozen import conversion, description, vocabulary, weights
from prompt_tuning.t5 import network
from prompt_tuning.training import losses

MODEL = "pocket_nano"
NETWORK = network.Transformer(description.config(MODEL, {}))


def library(name, folder):
    """(torch, a library, a function that makes the model as transformers loads it)."""
    torch, its = pytest.importorskip("torch"), pytest.importorskip(name)
    transformers = pytest.importorskip("transformers")
    pocket = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    conversion.to_hugging_face(MODEL, NETWORK, pocket, folder)
    load = transformers.AutoModelForSeq2SeqLM.from_pretrained
    return torch, its, lambda: load(folder).eval()


def params():
    return weights.load_frozen(MODEL, NETWORK, partitioning.mesh())


def far_from_its_start(method, frozen, seed=0):
    """What is trained, with random values added."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: np.float32(x + rng.normal(0, 0.1, x.shape)),
        method.init(jax.random.key(0), frozen, methods.Start((), list)),
    )


def loss_and_gradient(method, frozen, batch, trained):
    @jax.jit
    @jax.value_and_grad
    def ours(trained):
        params, extra = method.bind(trained, frozen)
        logits = NETWORK.apply({"params": params}, batch, extra)
        targets = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        return losses.cross_entropy(logits, *targets, z_loss=0.0)[0]

    return ours(trained)


def put(torch, theirs, rows):
    """Into their parameters {name: ...}, of rows (name, ..., array), the arrays."""
    with torch.no_grad():
        for name, _, array in rows:
            theirs[name].copy_(torch.tensor(np.ascontiguousarray(array)))


def their_logits(torch, model, batch):
    tokens = {k: torch.as_tensor(x.astype(np.int64)) for k, x in batch.items()}
    inputs = tokens["encoder_input_tokens"]
    return model(
        input_ids=inputs,
        attention_mask=(inputs != 0).long(),
        decoder_input_ids=tokens["decoder_input_tokens"],
    ).logits


def their_loss(torch, model, batch):
    """The sum over the target tokens."""
    labels, counted = (
        torch.as_tensor(batch[f"decoder_{name}"].astype(np.int64))
        for name in ("target_tokens", "loss_weights")
    )
    return torch.nn.functional.cross_entropy(
        their_logits(torch, model, batch).flatten(0, 1),
        labels.masked_fill(counted == 0, -100).flatten(),
        reduction="sum",
    )
