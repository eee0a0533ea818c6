"""Makes tests/golden/network.npz: logits of Hugging Face's T5 1.1, random weights.

    python scripts/make_golden.py

Needs the extra `parity` (PyTorch and transformers). The file holds, in float32, a tiny
model in this package's parameter tree ("params/encoder/layers_0/..."), whose heads
together are narrower than the model; a batch with padding, long enough for every bucket
of relative positions; a prompt; and the logits without and with it. The quick tests
compare with these, so they need no PyTorch to prove the network; the slow ones in
tests/t5/network_test.py call the functions below on more sizes. Make it again only when
names in the parameter tree change.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import T5ForConditionalGeneration as HuggingFaceT5

PATH = Path(__file__).resolve().parents[1] / "tests/golden/network.npz"

# Hugging Face's names of kernels -> ours.
ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "out"}
ENCODER = (("pre_attention_layer_norm", "SelfAttention", "attention"),)
DECODER = (
    ("pre_self_attention_layer_norm", "SelfAttention", "self_attention"),
    ("pre_cross_attention_layer_norm", "EncDecAttention", "encoder_decoder_attention"),
)


def hugging_face_model(seed: int = 0, **sizes: int) -> HuggingFaceT5:
    """A T5 1.1 with random weights; `sizes` go to transformers.T5Config."""
    torch.manual_seed(seed)
    config = transformers.T5Config(
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        **sizes,
    )
    model = HuggingFaceT5(config).eval()
    # Recent versions tie the head to the embedding despite the configuration.
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    assert model.lm_head.weight is not model.shared.weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "shared" in name or "relative" in name:
                weight.normal_()
            else:
                weight.normal_(std=weight.shape[1] ** -0.5)
            if name.endswith(".q.weight"):  # smaller in T5, whose scores are not scaled
                weight *= config.d_kv**-0.5
    return model


def params(model: HuggingFaceT5) -> dict[str, np.ndarray]:
    """The model's weights under this package's names, joined by "/"."""
    theirs = {name: w.detach().numpy() for name, w in model.named_parameters()}
    ours = {
        "token_embedder/embedding": theirs["shared.weight"],
        "decoder/logits_dense/kernel": theirs["lm_head.weight"].T,
    }
    depths = {"encoder": model.config.num_layers}
    depths["decoder"] = model.config.num_decoder_layers
    for stack, attentions in (("encoder", ENCODER), ("decoder", DECODER)):
        first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ours[f"{stack}/relpos_bias/rel_embedding"] = theirs[first].T
        norm = theirs[f"{stack}.final_layer_norm.weight"]
        ours[f"{stack}/{stack}_norm/scale"] = norm
        for i in range(depths[stack]):
            of, at = f"{stack}.block.{i}.layer.", f"{stack}/layers_{i}/"
            for j, (norm, their_attention, our_attention) in enumerate(attentions):
                ours[f"{at}{norm}/scale"] = theirs[f"{of}{j}.layer_norm.weight"]
                for their, our in ATTENTION.items():
                    weight = theirs[f"{of}{j}.{their_attention}.{their}.weight"]
                    ours[f"{at}{our_attention}/{our}/kernel"] = weight.T
            j = len(attentions)
            ours[f"{at}pre_mlp_layer_norm/scale"] = theirs[f"{of}{j}.layer_norm.weight"]
            for name in ("wi_0", "wi_1", "wo"):
                weight = theirs[f"{of}{j}.DenseReluDense.{name}.weight"]
                ours[f"{at}mlp/{name}/kernel"] = weight.T
    return {name: np.ascontiguousarray(value) for name, value in ours.items()}


def random_batch(vocab_size: int, inputs: int, targets: int, seed: int = 0) -> dict:
    """Three rows of tokens: a full one, a half-full one and a very short one."""
    rng = np.random.default_rng(seed)

    def rows(length: int) -> np.ndarray:
        tokens = rng.integers(2, vocab_size, (3, length)).astype(np.int32)
        sizes = np.array([[length], [length // 2], [2]])
        return np.where(np.arange(length) < sizes, tokens, 0).astype(np.int32)

    targets_BxS = rows(targets)
    shifted = np.pad(targets_BxS, ((0, 0), (1, 0)))[:, :-1]
    return {"encoder_input_tokens": rows(inputs), "decoder_input_tokens": shifted}


def logits(
    model: HuggingFaceT5, batch: dict, prompt_PxD: np.ndarray | None = None
) -> np.ndarray:
    """Logits [B, S, V], with the prompt in front by way of `inputs_embeds`."""
    tokens = torch.as_tensor(batch["encoder_input_tokens"], dtype=torch.long)
    mask, embedded = tokens != 0, model.shared(tokens)
    if prompt_PxD is not None:
        prompt = torch.as_tensor(prompt_PxD)[None].expand(len(tokens), -1, -1)
        embedded = torch.cat([prompt, embedded], dim=1)
        mask = torch.cat([torch.ones(prompt.shape[:2], dtype=bool), mask], dim=1)
    decoder = torch.as_tensor(batch["decoder_input_tokens"], dtype=torch.long)
    with torch.no_grad():
        output = model(
            inputs_embeds=embedded,
            attention_mask=mask.long(),
            decoder_input_ids=decoder,
            use_cache=False,
        )
    return output.logits.numpy()


def main() -> None:
    sizes = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 3}
    model = hugging_face_model(**sizes, num_layers=2, num_decoder_layers=2)
    batch = random_batch(sizes["vocab_size"], inputs=140, targets=130)
    prompt_PxD = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    arrays = batch | {
        "prompt": prompt_PxD,
        "logits": logits(model, batch),
        "logits_with_prompt": logits(model, batch, prompt_PxD),
    }
    arrays |= {f"params/{name}": value for name, value in params(model).items()}
    PATH.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH}: {len(arrays)} arrays, {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
