"""T5 in NumPy, for one example, with transformers' names. Nothing here is a test."""

import math

import numpy as np

ACTIVATIONS = {
    "gelu_new": lambda x: x / 2 * (1 + np.tanh((x + 0.044715 * x**3) * 0.7978845608)),
    "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}
CONFIG = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "d_model": 12,
    "d_kv": 4,
    "d_ff": 20,
    "num_heads": 2,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "vocab_size": 30,
    "feed_forward_proj": "gated-gelu",
    "dense_act_fn": "gelu_new",
    "is_gated_act": True,
    "tie_word_embeddings": False,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-6,
}


def shapes(config, tied):
    """The shapes of the tensors that transformers has for a config.json."""
    c, d, out = config, config["d_model"], {}
    joined, buckets = c["num_heads"] * c["d_kv"], c["relative_attention_num_buckets"]
    out["shared.weight"] = c["vocab_size"], d
    if not tied:
        out["lm_head.weight"] = c["vocab_size"], d
    for stack, number in (("encoder", "num_layers"), ("decoder", "num_decoder_layers")):
        out[f"{stack}.final_layer_norm.weight"] = (d,)
        parts = ["SelfAttention", "EncDecAttention", "DenseReluDense"]
        parts = parts if stack == "decoder" else parts[::2]
        for layer in range(c[number]):
            for place, part in enumerate(parts):
                at = f"{stack}.block.{layer}.layer.{place}"
                out[f"{at}.layer_norm.weight"] = (d,)
                if part == "DenseReluDense":
                    into = ("wi_0", "wi_1") if c["is_gated_act"] else ("wi",)
                    kernels = dict.fromkeys(into, (c["d_ff"], d))
                    kernels["wo"] = (d, c["d_ff"])
                else:
                    kernels = dict.fromkeys("qkv", (joined, d)) | {"o": (d, joined)}
                for kernel, shape in kernels.items():
                    out[f"{at}.{part}.{kernel}.weight"] = shape
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        out[bias] = buckets, c["num_heads"]
    return out


def tensors(config, tied=False, seed=0):
    """Random tensors, so small that an epsilon of 0.1 makes a difference."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) / (1 if len(shape) == 1 else 2)).astype("float32")
        for name, shape in shapes(config, tied).items()
    }


def bucket(distance, buckets, farthest, both_ways):
    """The bucket of a key `distance` positions after the query."""
    first = 0
    if both_ways:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = -abs(distance)
    back = max(0, -distance)
    exact = buckets // 2
    if back >= exact:
        share = math.log(back / exact) / math.log(farthest / exact)
        back = min(buckets - 1, exact + int(share * (buckets - exact)))
    return first + back


class T5:
    """config: with all the names of CONFIG. scale: multiplies the head's inputs.

    attended: {name: attention weights [H, Q, L]} of the last call.
    """

    def __init__(self, weights, config, scale=1.0):
        self.w, self.config, self.scale = weights, config, scale
        self.attended = {}

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T

    def norm(self, x, name):
        square = (x**2).mean(-1, keepdims=True) + self.config["layer_norm_epsilon"]
        return x / np.sqrt(square) * self.w[f"{name}.weight"]

    def attention(self, x, source, name, bias):
        def heads(y, kernel):
            y = self.linear(y, f"{name}.{kernel}")
            return y.reshape(len(y), self.config["num_heads"], -1)

        q, k, v = heads(x, "q"), heads(source, "k"), heads(source, "v")
        scores = np.einsum("qhk,lhk->hql", q, k) + bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        self.attended[name] = scores
        out = np.einsum("hql,lhk->qhk", scores, v)
        return self.linear(out.reshape(len(x), -1), f"{name}.o")

    def mlp(self, x, name):
        act = ACTIVATIONS[self.config["dense_act_fn"]]
        if not self.config["is_gated_act"]:
            return self.linear(act(self.linear(x, f"{name}.wi")), f"{name}.wo")
        gate, h = (self.linear(x, f"{name}.{wi}") for wi in ("wi_0", "wi_1"))
        return self.linear(act(gate) * h, f"{name}.wo")

    def bias(self, stack, length):
        c, both_ways = self.config, stack == "encoder"
        sizes = (
            c["relative_attention_num_buckets"],
            c["relative_attention_max_distance"],
        )
        name = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        positions = range(length)
        table = [
            [self.w[name][bucket(k - q, *sizes, both_ways)] for k in positions]
            for q in positions
        ]
        hidden = 0 if both_ways else np.triu(np.full((length, length), -1e9), 1)
        return np.array(table).transpose(2, 0, 1) + hidden

    def stack(self, stack, tokens, number, encoded=None):
        x = self.w["shared.weight"][tokens]
        bias = self.bias(stack, len(tokens))
        for layer in range(number):
            at = f"{stack}.block.{layer}.layer"
            h = self.norm(x, f"{at}.0.layer_norm")
            x = x + self.attention(h, h, f"{at}.0.SelfAttention", bias)
            if encoded is not None:
                h = self.norm(x, f"{at}.1.layer_norm")
                x = x + self.attention(h, encoded, f"{at}.1.EncDecAttention", 0)
            last = 1 if encoded is None else 2
            h = self.norm(x, f"{at}.{last}.layer_norm")
            x = x + self.mlp(h, f"{at}.{last}.DenseReluDense")
        return self.norm(x, f"{stack}.final_layer_norm")

    def logits(self, inputs, targets):
        """[S, V] of unpadded inputs [T] and decoder inputs [S]."""
        encoded = self.stack("encoder", inputs, self.config["num_layers"])
        number = self.config["num_decoder_layers"]
        x = self.stack("decoder", targets, number, encoded) * self.scale
        return x @ self.w.get("lm_head.weight", self.w["shared.weight"]).T
