"""Prompt design: an instruction and training examples in front of each input.

    --gin.METHOD=prompt_design --gin.DECODING=labels \\
    --gin.prompt_design.instruction="name the kind." --gin.prompt_design.examples=8

Nothing is trained: it is the baseline of the paper's Figure 1, which is GPT-3's there
(Brown et al., 2020), on the frozen model that prompts are tuned for. The text is the
same for all inputs, and to the encoder a text in front of an input is a prompt of its
tokens' embeddings. So a run ships that prompt, which everything else takes for one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_tuning import methods, outputs
from prompt_tuning.errors import UserError
from prompt_tuning.method_settings import PromptDesign
from prompt_tuning.methods import prompt
from prompt_tuning.settings import Settings
from prompt_tuning.t5 import layers
from prompt_tuning.t5.extra import Extra

UNREAD = ("PROMPT_",)  # what stands in front is its own text

Tree = dict[str, jax.Array]


def worded(settings: Settings, vocabulary: methods.Vocabulary) -> Settings:
    """The settings as they are; raises UserError if the instruction cannot be read."""
    text = settings.prompt_design.instruction
    read = vocabulary.decode(vocabulary.encode(text))
    if read != text:
        raise UserError(
            f"prompt_design.instruction is {text!r}, which the vocabulary turns into "
            f"{read!r}: give a text that it can write"
        )
    return settings


def method(settings: Settings) -> methods.Method:
    """Holds {"ids": the text's [P], "rows": those of the examples shown}; no floats.

    Raises:
      UserError: there is nothing to put in front of inputs, or it is to be elsewhere.
    """
    run, options = settings.run, settings.prompt_design
    if not options.instruction and not options.examples:
        raise UserError(
            "METHOD is 'prompt_design', with neither an instruction nor an example to "
            "put in front of inputs: give prompt_design.instruction, or "
            "prompt_design.examples"
        )
    if run.prompt_place != "prefix":
        raise UserError(
            f"PROMPT_PLACE is {run.prompt_place!r}, but METHOD is 'prompt_design', "
            "whose text is in front of the input: leave PROMPT_PLACE out"
        )

    def init(key: jax.Array, frozen: Any, start: methods.Start) -> Tree:
        del key, frozen
        ids, shown = text(options, run.seed, start)
        rows = {"rows": jnp.array([one.row for one in shown], jnp.int32)}
        return {"ids": jnp.array(ids, jnp.int32), **(rows if shown else {})}

    def made(tree: Tree, frozen: Any) -> Extra:
        return prompt.placed(run, layers.embeddings_of(frozen, tree["ids"]))

    return prompt.folding(init, made)._replace(says=_says)


def _says(tree: Tree, decode: Callable[[Sequence[int]], str]) -> dict[str, Any]:
    """The text, and which rows of the training split it shows."""
    shown = np.asarray(tree.get("rows", ())).tolist()
    return {"text": decode(np.asarray(tree["ids"]).tolist()), "shown": shown}


# The text


def text(
    options: PromptDesign, seed: int, start: methods.Start
) -> tuple[list[int], list[methods.Example]]:
    """The token ids in front of each input, and the examples among them.

    An example is its input and its target, as the task has them. One that does not fit
    is left out whole.

    Raises:
      UserError: the training split has too few examples, or the instruction or all
        examples are too long.
    """
    ids = list(start.encode(options.instruction))
    room = options.tokens - len(ids)
    if room < 0:
        raise UserError(
            f"prompt_design.instruction is {len(ids)} tokens long, and "
            f"prompt_design.tokens is {options.tokens}: give more, or another text"
        )
    shown, drawn = [], _drawn(options.examples, seed, start)
    for one in drawn:
        length = len(one.inputs) + len(one.targets)
        if length <= room:
            shown.append(one)
            ids += [*one.inputs, *one.targets]
            room -= length
    _tell_left_out(options, len(drawn), len(shown))
    return ids, shown


def _drawn(count: int, seed: int, start: methods.Start) -> list[methods.Example]:
    """So many examples in the order in which they are shown, in turns by label."""
    if not count:
        return []
    examples = start.examples()
    if len(examples) < count:
        raise UserError(
            f"prompt_design.examples is {count}, but TRAIN_SPLIT has {len(examples)} "
            "examples that are whole and not evaluated: give fewer, or another "
            "TRAIN_SPLIT"
        )
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(examples):
        label = tuple(map(int, one.targets)) if start.label_words else ()
        groups.setdefault(label, []).append(place)
    turns = _in_turns([groups[label] for label in sorted(groups)], seed)
    return [examples[next(turns)] for _ in range(count)]


def _in_turns(groups: Sequence[Sequence[int]], seed: int) -> Iterator[int]:
    """One of each group, the groups in random order, and again until none is left."""
    rng = np.random.default_rng(seed)
    left = [rng.permutation(group).tolist() for group in groups]
    while any(left):
        for number in rng.permutation(len(left)):
            if left[number]:
                yield left[number].pop()


def _tell_left_out(options: PromptDesign, drawn: int, shown: int) -> None:
    """Raises UserError if there are only examples that do not fit; warns of some."""
    if drawn and not shown:
        raise UserError(
            f"prompt_design.tokens is {options.tokens}, and none of the {drawn} "
            "examples that were drawn fits: give more"
        )
    if shown < drawn:
        outputs.warn(
            f"{drawn - shown} of {drawn} examples are left out: prompt_design.tokens "
            f"is {options.tokens}, and they do not fit"
        )
