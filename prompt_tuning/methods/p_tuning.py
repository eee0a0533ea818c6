"""P-tuning (Liu et al., 2021): a prompt through an encoder, in the places of a text.

    --gin.METHOD=p_tuning --gin.PROMPT_LENGTH=10 \\
    --gin.p_tuning.template="'[P*3] topic: {inputs} [P*3]'"

The encoder, an LSTM or an MLP, mixes or maps trained vectors [N, D]; its outputs stand
in the template's places, and the words in between ("anchors") are embedded as they are.
After training the encoder is dropped: what is shipped is a prompt [P, D], words
included, of which the first vectors stand in front of the input and the others after.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import PTuning
from prompt_tuning.methods import perceptron, prompt, whole
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra

VECTOR, INPUTS = -1, -2  # among the token ids of a template
LSTM_LAYERS, MLP_LAYERS = 2, 3  # the mlp's; the LSTM has one of two behind it

Tree = dict[str, Any]
_DIRECTIONS = ("forward", "backward")
_PART = re.compile(r"(\{inputs\}|\[P(?:\*\d{1,5})?\])")


# The template


def worded(settings: Settings, vocabulary: methods.Vocabulary) -> Settings:
    """The settings with p_tuning.tokens, the template's token ids.

    Raises:
      UserError: the template cannot be, or contradicts PROMPT_LENGTH or PROMPT_PLACE.
    """
    run, options = settings.run, settings.p_tuning
    if not options.template:
        if options.tokens:
            raise UserError(
                "p_tuning.tokens is what a run makes of p_tuning.template, which is "
                "not set: give that, and leave p_tuning.tokens out"
            )
        return settings
    found = tuple(_ids(options.template, vocabulary))
    if found.count(INPUTS) != 1 or VECTOR not in found:
        raise UserError(
            f"p_tuning.template is {options.template!r}; it must have {{inputs}} once, "
            "and [P] or [P*3] where vectors stand, such as '[P*3] {inputs} [P*3]'"
        )
    _check_places(run, options, len(found) - 1)
    own = dataclasses.replace(options, tokens=found)
    return dataclasses.replace(settings, p_tuning=own)


def _ids(template: str, vocabulary: methods.Vocabulary) -> Iterator[int]:
    for part in _PART.split(template):
        text = part.strip()
        if part == "{inputs}":
            yield INPUTS
        elif _PART.fullmatch(part):
            yield from [VECTOR] * int(part[3:-1] or 1)
        elif text:
            ids = vocabulary.encode(text)
            if vocabulary.decode(ids) != text or re.search(r"[\[\]{}]", text):
                raise UserError(
                    f"p_tuning.template has {text!r}, which is neither {{inputs}}, [P] "
                    "or [P*3], nor text that the vocabulary can write: give others"
                )
            yield from map(int, ids)


def _check_places(run: Run, options: PTuning, length: int) -> None:
    if run.prompt_length != length:
        vectors = options.template
        raise UserError(
            f"PROMPT_LENGTH is {run.prompt_length}, but p_tuning.template "
            f"{vectors!r} takes {length} positions, its words included: set "
            f"PROMPT_LENGTH={length}, or change the template"
        )
    if run.prompt_place != Run.prompt_place:
        raise UserError(
            f"PROMPT_PLACE is {run.prompt_place!r}, but p_tuning.template says where "
            "the vectors stand: leave one of them out"
        )


# The method


def method(settings: Settings) -> methods.Method:
    """Trains vectors [N, D], the encoder and, if p_tuning.with_model, the weights."""
    run, options = settings.run, settings.p_tuning

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        of_prompt, of_encoder = jax.random.split(key)
        first_PxD = prompt.first_prompt(run, of_prompt, frozen, start)
        vectors_NxD = first_PxD[: _tokens(options).count(VECTOR) or None]
        trained = {"vectors": vectors_NxD}
        trained |= encoder_init(of_encoder, vectors_NxD.shape[1], options)
        if options.with_model:
            trained["params"] = whole.trainable(frozen)
        return trained

    def made(trained: Tree, params: Any) -> Extra:
        vectors_NxD, tokens = encoded(trained), _tokens(options)
        if not tokens:
            return prompt.placed(run, vectors_NxD)
        prompt_PxD = _with_words(tokens, vectors_NxD, params)
        return prompt.placed(run, prompt_PxD, tokens.index(INPUTS))

    if not options.with_model:
        return prompt.folding(init, made)

    def bind(trained: Tree, frozen: Any) -> tuple[Any, Extra]:
        del frozen
        return trained["params"], made(trained, trained["params"])

    return methods.Method(init, bind, bind, shares=False)


def _tokens(options: PTuning) -> Sequence[int]:
    if options.template and not options.tokens:
        raise ValueError("p_tuning.template has no tokens yet; see methods.worded")
    return options.tokens


def _with_words(
    tokens: Sequence[int], vectors_NxD: jax.Array, params: Any
) -> jax.Array:
    """The vectors in their places among the embeddings of the template's words."""
    ids_P = np.array([token for token in tokens if token != INPUTS], np.int32)
    is_word_P = ids_P != VECTOR
    if not is_word_P.any():
        return vectors_NxD
    words = layers.embeddings_of(params, ids_P[is_word_P])
    order_P = np.argsort(np.argsort(is_word_P, kind="stable"), kind="stable")
    return jnp.concatenate([vectors_NxD, words])[order_P]


# The encoder


def encoder_init(key: jax.Array, width: int, options: PTuning) -> Tree:
    """The weights of the encoder, which maps [N, width] to the same."""
    lstm = options.encoder == "lstm"
    hidden = options.hidden or (max(width // 2, 1) if lstm else width)
    of_lstm, of_mlp = jax.random.split(key)
    trained: Tree = {}
    if lstm:
        inputs = [width] + [2 * hidden] * (LSTM_LAYERS - 1)
        for number, size in enumerate(inputs):
            for direction in _DIRECTIONS:
                own, of_lstm = jax.random.split(of_lstm)
                trained[f"lstm_{number}_{direction}"] = _lstm_init(own, size, hidden)
    sizes = [2 * hidden] * 2 if lstm else [width] + [hidden] * (MLP_LAYERS - 1)
    keys = jax.random.split(of_mlp, len(sizes))
    pairs = zip(sizes, [*sizes[1:], width], strict=True)
    for number, (own, pair) in enumerate(zip(keys, pairs, strict=True)):
        trained[f"dense_{number}"] = perceptron.dense_init(own, *pair)
    return trained


def _lstm_init(key: jax.Array, inputs: int, hidden: int) -> dict[str, jax.Array]:
    shapes = {
        "kernel": (inputs, 4 * hidden),
        "recurrent": (hidden, 4 * hidden),
        "bias": (4 * hidden,),
    }
    return perceptron.uniforms(key, shapes, hidden)


def encoded(trained: Tree) -> jax.Array:
    """The prompt's vectors [N, D] that the encoder makes of those trained."""
    x_NxI = trained["vectors"]
    for number in range(LSTM_LAYERS * ("lstm_0_forward" in trained)):
        both = [
            _lstm(trained[f"lstm_{number}_{way}"], x_NxI, way == "backward")
            for way in _DIRECTIONS
        ]
        x_NxI = jnp.concatenate(both, axis=1)
    last = sum(name.startswith("dense_") for name in trained) - 1
    for number in range(last):
        x_NxI = jax.nn.relu(perceptron.dense(trained[f"dense_{number}"], x_NxI))
    return perceptron.dense(trained[f"dense_{last}"], x_NxI)


def _lstm(layer: dict[str, Any], x_NxI: jax.Array, backward: bool) -> jax.Array:
    """The states [N, M] of an LSTM along the N vectors; gates are in torch's order."""
    gates_Nx4M = perceptron.dense(layer, x_NxI)

    def step(
        state: tuple[jax.Array, jax.Array], gates_4M: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hidden_M, cell_M = state
        gates_4M += perceptron.product(hidden_M, layer["recurrent"])
        into_M, keep_M, new_M, out_M = jnp.split(gates_4M, 4)
        cell_M = jax.nn.sigmoid(keep_M) * cell_M
        cell_M += jax.nn.sigmoid(into_M) * jnp.tanh(new_M)
        hidden_M = jax.nn.sigmoid(out_M) * jnp.tanh(cell_M)
        return (hidden_M, cell_M), hidden_M

    zeros_M = jnp.zeros(len(layer["recurrent"]))
    _, states_NxM = jax.lax.scan(step, (zeros_M, zeros_M), gates_Nx4M, reverse=backward)
    return states_NxM
