"""Soft words (Qin and Eisner, 2021): written prompts, shifted in every layer.

    --gin.METHOD=soft_words --gin.PROMPT_INIT=string --gin.PROMPT_STRING="the topic is"

The vectors start as the text's embeddings, as PROMPT_INIT says. At the input of each
further layer of the encoder a trained shift is added to their states, and starts at 0
("deep perturbation"). With soft_words.prompts there are several of these, and weights
w, at first equal, that are trained too: p(y | x) = sum_k w_k p(y | x, prompt k). The
paper's weights that depend on the input are not done.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prompt_tuning import methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import layered, prompt
from prompt_tuning.settings import Run, Settings
from prompt_tuning.t5.extra import Extra, LayerExtra


def method(settings: Settings) -> methods.Method:
    """Trains {"vectors": [P, D], "shift": [encoder layers - 1, P, D]}.

    The first layer's input is the vectors, which are trained already; with one layer
    there is nothing more. Of K prompts each array has a first axis K, and "weights" [K]
    are the logarithms of w, up to a constant.
    """
    run, count = settings.run, settings.soft_words.prompts

    def one(
        run: Run, key: jax.Array, frozen: Any, start: methods.Start
    ) -> dict[str, jax.Array]:
        vectors_PxD = prompt.first_prompt(run, key, frozen, start)
        further = layered.sizes(frozen).encoder - 1
        shift = {"shift": jnp.zeros((further, *vectors_PxD.shape))} if further else {}
        return {"vectors": vectors_PxD} | shift

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> dict[str, jax.Array]:
        if count == 1:
            return one(run, key, frozen, start)
        keys = (jax.random.fold_in(key, number) for number in range(count))
        starts = zip(_runs(run, count, start), keys, strict=True)
        each = [one(own, key, frozen, start) for own, key in starts]
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *each)
        return stacked | {"weights": jnp.zeros(count)}

    def made(trained: dict[str, jax.Array], frozen: Any) -> Extra:
        del frozen
        weights = trained.get("weights")
        placed = prompt.placed(run, trained["vectors"])
        placed = placed._replace(prompt_weights=weights)
        if "shift" not in trained:
            return placed
        shift = trained["shift"]
        further = shift if weights is None else shift.swapaxes(0, 1)  # layers first
        first = jnp.zeros_like(trained["vectors"])[None]
        shift = jnp.concatenate([first, further])
        return placed._replace(encoder=LayerExtra(shift=shift))

    return prompt.folding(init, made)


def _runs(run: Run, count: int, start: methods.Start) -> list[Run]:
    """The settings that each of several prompts starts by.

    Raises:
      UserError: two of them would start the same, and so would stay the same.
    """
    several = f"soft_words.prompts is {count}, and"
    words = run.class_labels or start.class_words
    match run.prompt_init:
        case "string":
            texts = [line.strip() for line in run.prompt_string.splitlines()]
            if len(texts) != count or len({*texts} - {""}) < count:
                raise UserError(
                    f"{several} each prompt starts as a line of PROMPT_STRING, which "
                    f"has {len(texts)}, {texts}: give as many, all different, "
                    f"--gin.PROMPT_STRING={_LINES}"
                )
            return [dataclasses.replace(run, prompt_string=text) for text in texts]
        case "class_label" if run.prompt_length <= len(words):
            raise UserError(
                f"{several} all would start the same, as {len(words)} class labels "
                f"fill PROMPT_LENGTH={run.prompt_length}: set a larger one, or another "
                "PROMPT_INIT"
            )
        case "file" | "transfer":
            raise UserError(
                f"{several} all would start the same, as PROMPT_INIT is "
                f"{run.prompt_init!r}, one prompt: set another PROMPT_INIT, or leave "
                "soft_words.prompts out"
            )
    return [run] * count


_LINES = "\"'one text\\nanother'\""  # as one types it in a shell
