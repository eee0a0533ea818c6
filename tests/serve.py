"""A very small model that serves prompts. Nothing here is a test."""

import dataclasses

import jax
import numpy as np
import tiny

from prompt_tuning import partitioning
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parts
from prompt_tuning.serving import prompts
from prompt_tuning.serving.model import Model
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import network

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
CONFIG = dataclasses.replace(tiny.CONFIG, vocab_size=VOCABULARY.vocab_size)
NETWORK = network.Transformer(CONFIG)
WORDS = "the a robin hammer is was in bird food tool barn and sang on of".split()


def params():
    """Weights with which answers end at different lengths."""
    params = tiny.params(NETWORK, seed=3)
    params["decoder"]["logits_dense"]["kernel"][:, 1] *= 4.0
    return params


def model(data=1, tensor=8, batch_size=8, **config):
    """A model of this shape of the mesh, of the config's size but for changes."""
    net = network.Transformer(dataclasses.replace(CONFIG, **config))
    mesh = partitioning.mesh(data, tensor)
    placed = jax.device_put(params(), partitioning.replicated(mesh))
    settings = Settings(run=Run(batch_size=batch_size))
    return Model(settings, parts.Model(mesh, net, placed, VOCABULARY))


def vectors(length, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 16)).astype(np.float32)


def put(model, name, length, place="prefix", seed=0, **more):
    """Adds a random prompt."""
    model.put(name, vectors(length, seed), facts(length, place, **more))


def text(rng, words):
    return " ".join(rng.choice(WORDS, size=words))


def facts(length, place="prefix", **more):
    """What is known of a prompt that says nothing of itself."""
    more = {"label_words": None, "target_length": 6, "task": None} | more
    return prompts.Facts(length, place, path=None, description={}, **more)
