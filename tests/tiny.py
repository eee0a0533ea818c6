"""A very small T5 with random weights, and batches for it. Nothing here is a test."""

import contextlib
import hashlib
import json

import jax
import jax.extend
import numpy as np

from prompt_tuning import partitioning
from prompt_tuning.t5 import network, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import progress

CONFIG = network.T5Config(
    vocab_size=40,
    emb_dim=16,
    num_heads=2,
    head_dim=4,
    mlp_dim=24,
    num_encoder_layers=1,
    num_decoder_layers=2,
)
MODEL = network.Transformer(CONFIG)
# With pocket's vocabulary, for whole runs.
OF_WORDS = network.T5Config(
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=1,
    num_decoder_layers=1,
)


def params(model=MODEL, seed=0):
    """Random NumPy parameters; activations neither vanish nor explode."""
    rng = np.random.default_rng(seed)

    def random(path, shape):
        values = rng.normal(size=shape.shape).astype(np.float32)
        if path[-1].key == "scale":
            return 1 + values / 5
        scale = shape.shape[0] ** -0.5 if path[-1].key == "kernel" else 1.0
        return values * scale

    return jax.tree_util.tree_map_with_path(random, partitioning.param_shapes(model))


def batch(examples=8, inputs=6, targets=4, seed=0):
    """Rows of random length, each with EOS (1) at its end and 0 after it."""
    rng = np.random.default_rng(seed)

    def rows(length):
        tokens = rng.integers(2, CONFIG.vocab_size, (examples, length))
        size = rng.integers(2, length + 1, (examples, 1))
        tokens[np.arange(length) == size - 1] = 1
        return np.where(np.arange(length) < size, tokens, 0).astype(np.int32)

    targets_BxS = rows(targets)
    return {
        "encoder_input_tokens": rows(inputs),
        "decoder_input_tokens": np.pad(targets_BxS, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets_BxS,
        "decoder_loss_weights": (targets_BxS > 0).astype(np.int32),
    }


def prompt(length=3, seed=1):
    values = np.random.default_rng(seed).normal(size=(length, CONFIG.emb_dim))
    return values.astype(np.float32)


def extra(vectors=None):
    """The network's extra inputs with a prompt in front, or without one for None."""
    return Extra() if vectors is None else Extra(placing.prefix(vectors))


def joint(*batches):
    """The batch of several states: their batches side by side, [B, N, ...]."""
    return {key: np.stack([b[key] for b in batches], axis=1) for key in batches[0]}


def digest(tree):
    """A hash of all the arrays in a tree."""
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaves)).hexdigest()


def lines(path):
    """A log's lines, without what differs between two runs of the same settings."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in one.items() if k not in progress.SPEED} for one in found]


def shapes_computed(jaxpr):
    """Shapes of all that a jaxpr computes, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from shapes_computed(inner)


@contextlib.contextmanager
def compilations():
    """A list that grows with each program XLA compiles in the block."""
    found = []

    def listener(event, duration, **_):
        if "backend_compile" in event:
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
