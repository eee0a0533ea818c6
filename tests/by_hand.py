"""T5 written out by hand for one example, with all that the network takes.

Nothing is padded or masked: what is not there is left out, and a prompt's vectors are
put among those of the tokens one by one. Changes of kernels are merged into them.
Nothing here is a test.
"""

import dataclasses

import numpy as np
import tiny

from prompt_tuning.t5.extra import LayerExtra

# Every distance here has a bucket of its own.
CONFIG = dataclasses.replace(tiny.CONFIG, num_encoder_layers=2, relpos_buckets=64)
HEADS, HEAD_DIM, DIM = CONFIG.num_heads, CONFIG.head_dim, CONFIG.emb_dim


def attend(x, source, kernels, bias, front, extra, layer, xp):
    """Attention from x [Q, D] to `front` and source, bias [H, Q, L].

    Changes of kernels are merged into them, and so are factors.
    """

    def heads(x, name):
        kernel = kernels[name]["kernel"]
        if (by := getattr(extra, name, None)) is not None:
            kernel = kernel + by.down[layer] @ by.up[layer]
        if (scale := getattr(extra, f"{name}_scale", None)) is not None:
            kernel = kernel * scale[layer]
        return (x @ kernel).reshape(len(x), HEADS, HEAD_DIM)

    query, key, value = (
        heads(s, n) for s, n in ((x, "query"), (source, "key"), (source, "value"))
    )
    key, value = (
        xp.concatenate(pair) for pair in zip(front, (key, value), strict=True)
    )
    scores = xp.einsum("qhk,lhk->hql", query, key) + bias
    weights = xp.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    out = xp.einsum("hql,lhk->qhk", weights, value).reshape(len(x), -1)
    return out @ kernels["out"]["kernel"]


def norm(x, params, xp):
    return x / xp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def mlp(x, params, extra, layer, xp):
    h, gate = x @ params["wi_0"]["kernel"], x @ params["wi_1"]["kernel"]
    gelu = 0.5 * h * (1 + xp.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    factors = 1 if extra.mlp_scale is None else extra.mlp_scale[layer]
    return (gelu * gate * factors) @ params["wo"]["kernel"]


def adapted(x, adapter, layer, xp):
    if adapter is None:
        return x
    return x + xp.maximum(x @ adapter.down[layer], 0) @ adapter.up[layer]


def self_bias(params, extra, row, length, causal):
    """[H, Q, keys in front + Q]; keys that are not there are left out by `front`."""
    there = shown(extra, row)
    position = np.array(
        [p - len(there) for p in np.flatnonzero(there)] + [*range(length)]
    )
    distance = position[None].astype(int) - np.arange(length)[:, None]
    if causal:
        bucket, seen = np.maximum(-distance, 0), distance <= 0
    else:
        bucket, seen = np.abs(distance) + 32 * (distance > 0), True
    table_HxN = params["relpos_bias"]["rel_embedding"]
    return table_HxN[:, bucket] + np.where(seen, 0, -1e9)[None]


def shown(extra, row):
    """Which keys in front an example has."""
    if extra.keys is None:
        return np.zeros(0, bool)
    size = extra.keys.shape[-3]
    return np.ones(size, bool) if extra.mask is None else own(extra.mask, row, 1)


def own(array, row, ndim):
    """An example's own of an array that may be that of all."""
    return array[row] if array.ndim > ndim else array


def front(extra, row, layer):
    if extra.keys is None:
        return (np.zeros((0, HEADS, HEAD_DIM), np.float32),) * 2
    there = np.flatnonzero(shown(extra, row))
    return [own(x[layer], row, 3)[there] for x in (extra.keys, extra.values)]


def encode(params, extra, tokens, row, xp):
    table = params["token_embedder"]["embedding"]
    vectors, source = [table[token] for token in tokens], [None] * len(tokens)
    for place, row_D in enumerate(
        () if extra.input_shift is None else extra.input_shift
    ):
        if place < len(vectors):
            vectors[place] = vectors[place] + row_D
    if extra.prompt is not None:
        before, mask = own(extra.prompt.before, row, 1), extra.prompt.mask
        size = len(before)
        mask = np.ones(size, bool) if mask is None else own(mask, row, 1)
        end = len(tokens) - (tokens[-1] == 1)
        before = [i if 0 <= i < len(tokens) else end for i in before]
        # From behind, so that no place moves before its vectors are in it.
        for place, p in sorted(zip(before, range(size), strict=True), reverse=True):
            if mask[p]:
                vectors.insert(place, own(extra.prompt.vectors, row, 2)[p])
                source.insert(place, p)
    x, stack = xp.stack(vectors), params["encoder"]
    extra = extra.encoder or LayerExtra()
    bias = self_bias(stack, extra, row, len(x), causal=False)
    for layer in range(2):
        kernels = stack[f"layers_{layer}"]
        if extra.shift is not None:
            shift = own(extra.shift[layer], row, 2)
            zero = np.zeros(DIM, np.float32)
            x = x + xp.stack([zero if p is None else shift[p] for p in source])
        h = norm(x, kernels["pre_attention_layer_norm"], xp)
        in_front = front(extra, row, layer)
        own_ = extra.self_attention, layer, xp
        h = attend(h, h, kernels["attention"], bias, in_front, *own_)
        x = x + adapted(h, extra.attention_adapter, layer, xp)
        h = norm(x, kernels["pre_mlp_layer_norm"], xp)
        h = mlp(h, kernels["mlp"], extra, layer, xp)
        x = x + adapted(h, extra.mlp_adapter, layer, xp)
    return norm(x, stack["encoder_norm"], xp)


def decode(params, extra, encoded, tokens, row, xp):
    x, stack = (
        params["token_embedder"]["embedding"][np.array(tokens)],
        params["decoder"],
    )
    kernel, rows = stack["logits_dense"]["kernel"], extra.label_rows
    extra = extra.decoder or LayerExtra()
    bias = self_bias(stack, extra, row, len(x), causal=True)
    nothing = front(LayerExtra(), row, 0)
    for layer in range(2):
        kernels = stack[f"layers_{layer}"]
        h = norm(x, kernels["pre_self_attention_layer_norm"], xp)
        in_front = front(extra, row, layer)
        own_ = extra.self_attention, layer, xp
        h = attend(h, h, kernels["self_attention"], bias, in_front, *own_)
        x = x + adapted(h, extra.attention_adapter, layer, xp)
        h = norm(x, kernels["pre_cross_attention_layer_norm"], xp)
        cross = kernels["encoder_decoder_attention"]
        own_ = extra.cross_attention, layer, xp
        x = x + attend(h, encoded, cross, 0, nothing, *own_)
        h = norm(x, kernels["pre_mlp_layer_norm"], xp)
        h = mlp(h, kernels["mlp"], extra, layer, xp)
        x = x + adapted(h, extra.mlp_adapter, layer, xp)
    x = norm(x, stack["decoder_norm"], xp)
    columns = list(kernel.T)
    if rows is not None:
        for token, vector in zip(rows.ids, rows.rows, strict=True):
            columns[token] = vector
    return x @ xp.stack(columns).T


def by_hand(params, extra, batch, xp=np):
    """Logits [B, S, V] of decoder_input_tokens."""
    rows = []
    for row, tokens in enumerate(batch["encoder_input_tokens"]):
        encoded = encode(params, extra, tokens[tokens > 0], row, xp)
        targets = batch["decoder_input_tokens"][row]
        rows.append(decode(params, extra, encoded, targets, row, xp))
    return xp.stack(rows)
