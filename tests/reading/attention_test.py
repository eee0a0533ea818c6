"""Attention paid to a prompt: by hand, and, marked slow, as transformers tells it.

The prompt is made of embeddings, so that both read it as tokens in front of the input.
"""

import json

import jax
import numpy as np
import numpy_t5
import pytest
import tiny
from safetensors.numpy import save_file

from prompt_tuning import partitioning
from prompt_tuning.frozen import description, weights
from prompt_tuning.reading import attention
from prompt_tuning.runs import parts
from prompt_tuning.t5 import network, placing
from prompt_tuning.training import batching

PROMPT = [7, 3, 9]
INPUTS = [[5, 9, 12, 7, 1], [6, 4, 1]]
TARGETS = [[8, 2, 17, 1], [4, 1]]
SELF = "encoder.block.{}.layer.0.SelfAttention"
CROSS = "decoder.block.{}.layer.1.EncDecAttention"


def model_of(folder, tensors, config):
    """The model as it is read from transformers' files: (parts.Model, its weights)."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    made = network.Transformer(description.config(str(folder), {}))
    mesh = partitioning.mesh()
    params = weights.load_frozen(str(folder), made, mesh)
    return parts.Model(mesh, made, params, None), params


def batch_of(rows=slice(None), width=6):
    inputs, targets = INPUTS[rows], TARGETS[rows]
    missing = [[]] * (8 - len(inputs))  # a batch on eight devices
    padded = (batching.pad([*one, *missing], width) for one in (inputs, targets))
    return batching.teacher_forcing(*padded)


def prompt_of(params):
    return placing.prefix(params["token_embedder"]["embedding"][np.array(PROMPT)])


def means(each):
    """Of [H, Q, L] of each example and layer: [layers, H, P] over all their tokens."""
    each = [np.concatenate(one, axis=1) for one in zip(*each, strict=True)]
    return np.stack([one.mean(axis=1) for one in each])


def test_the_shares_are_those_of_a_computation_by_hand(tmp_path):
    config = numpy_t5.CONFIG
    tensors = numpy_t5.tensors(config)
    model, params = model_of(tmp_path, tensors, config)
    hand, selfs, crosses, uniform = numpy_t5.T5(tensors, config), [], [], []
    for inputs, targets in zip(INPUTS, TARGETS, strict=True):
        hand.logits([*PROMPT, *inputs], [0, *targets[:-1]])
        seen = hand.attended
        selfs.append([seen[SELF.format(i)][:, 3:, :3] for i in range(2)])
        crosses.append([seen[CROSS.format(0)][:, :, :3]])
        uniform.append(np.array([len(inputs), len(targets)]) / (3 + len(inputs)))
    batches = [batch_of(slice(0, 1)), batch_of(slice(1, 2))]
    found = attention.read(model, params, prompt_of(params), batches)
    got = found["encoder"], found["decoder"]
    for one, expected in zip(got, (means(selfs), means(crosses)), strict=True):
        np.testing.assert_allclose(one.weights, expected, atol=1e-5)
        assert one.weights.min() < one.uniform / 2  # it is not uniform
    shares = np.sum(uniform, axis=0) / [8, 6]
    np.testing.assert_allclose([one.uniform for one in got], shares, rtol=1e-5)
    together = attention.read(model, params, prompt_of(params), [batch_of()])
    same = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), together, found)
    assert all(jax.tree.leaves(same))


def test_a_prompt_behind_the_input_is_found_there():
    params, batch = tiny.params(), tiny.batch(examples=3)
    sums = jax.jit(attention.sums(tiny.MODEL))
    ahead, behind = (
        sums(params, of(tiny.prompt(4)), batch)["encoder"]
        for of in (placing.prefix, placing.suffix)
    )
    assert ahead[2] == behind[2] == (batch["encoder_input_tokens"] > 0).sum()
    assert behind[1] == pytest.approx(ahead[1])
    assert np.abs(behind[0] - ahead[0]).max() > 0.01
    # In front of the end of an empty input there is no other place.
    empty = {**batch, "encoder_input_tokens": np.array([[1, 0]] * 3, np.int32)}
    one, other = (
        sums(params, of(tiny.prompt(4)), empty)
        for of in (placing.prefix, placing.suffix)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)
    assert one["encoder"][0].shape == (1, 2, 4) and one["encoder"][2] == 3


@pytest.mark.slow
def test_the_shares_are_those_of_transformers(tmp_path):
    torch, transformers = map(pytest.importorskip, ("torch", "transformers"))
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2}
    config = transformers.T5Config(
        **sizes, num_heads=3, num_decoder_layers=3, feed_forward_proj="gated-gelu"
    )
    config._attn_implementation = "eager"  # the others keep no weights
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for values in theirs.parameters():
            values.normal_(1.0 if values.ndim == 1 else 0.0, 0.4)
    theirs.save_pretrained(tmp_path)
    tokens = np.array([[*PROMPT, *one, *[0] * (6 - len(one))] for one in INPUTS])
    targets = [[0, *one[:-1], *[0] * (4 - len(one))] for one in TARGETS]
    with torch.no_grad():
        told = theirs(
            input_ids=torch.as_tensor(tokens),
            attention_mask=torch.as_tensor(tokens != 0).long(),
            decoder_input_ids=torch.as_tensor(targets),
            output_attentions=True,
        )
    rows = [(i, len(INPUTS[i]), len(TARGETS[i])) for i in range(2)]
    selfs = [
        [x[i, :, 3 : 3 + t, :3].numpy() for x in told.encoder_attentions]
        for i, t, _ in rows
    ]
    crosses = [
        [x[i, :, :s, :3].numpy() for x in told.cross_attentions] for i, _, s in rows
    ]
    made = network.Transformer(description.config(str(tmp_path), {}))
    model = parts.Model(partitioning.mesh(), made, None, None)
    params = weights.load_frozen(str(tmp_path), made, model.mesh)
    found = attention.read(model, params, prompt_of(params), [batch_of()])
    for stack, expected in (("encoder", means(selfs)), ("decoder", means(crosses))):
        np.testing.assert_allclose(found[stack].weights, expected, atol=1e-5)
        assert expected.std() > 0.02
