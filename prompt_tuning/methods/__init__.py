"""Ways to adapt a frozen model: one file for each, with three pure functions.

    trained = method.init(key, frozen, start)
    params, extra = method.bind(trained, frozen)      # differentiated
    logits = model.apply({"params": params}, batch, extra)
    params, extra = method.fold(trained, frozen)      # what is shipped

No other module asks which method it is.
"""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from prompt_tuning import method_settings
from prompt_tuning.errors import UserError
from prompt_tuning.sections import Section, called, one_of
from prompt_tuning.settings import Settings
from prompt_tuning.t5.extra import Extra

NAMES = method_settings.NAMES


class Example(NamedTuple):
    """A training example: its row in the split, and token ids without EOS."""

    row: int
    inputs: Sequence[int] | np.ndarray
    targets: Sequence[int] | np.ndarray


class Start(NamedTuple):
    """What initialisation needs besides the frozen model.

    class_words: the task's, for the class-label initialiser; may be empty.
    encode: text -> token ids, without EOS.
    prompt_PxD: the prompt to start from (PROMPT_INIT=file), or None.
    label_words: what the model writes for the task's labels; may be empty.
    examples: gives the training examples that an input may show.
    tasks: the names of those that are trained on: one, or a mixture's.
    """

    class_words: Sequence[str]
    encode: Callable[[str], Sequence[int]]
    prompt_PxD: np.ndarray | None = None
    label_words: Sequence[str] = ()
    examples: Callable[[], Sequence[Example]] = tuple
    tasks: Sequence[str] = ()


# What a step minimises, on its batch: (the network's other inputs) -> (the loss, a sum
# over target tokens; sums for the log).
Loss = Callable[[Extra], tuple[jax.Array, dict[str, jax.Array]]]


class Search(NamedTuple):
    """How a method makes a step that no optimizer makes for it.

    step: (trained, frozen, loss, key) -> (trained, gradient, sums); pure. The gradient
      is for the log, and both it and the sums are of what was there before the step.
    losses: how many losses a step computes besides the one it has a gradient of.
    """

    step: Callable[[Any, Any, Loss, jax.Array], tuple[Any, Any, dict[str, jax.Array]]]
    losses: int


class Method(NamedTuple):
    """How a frozen model is adapted.

    init: (key, frozen, start) -> the trained tree, in float32 (a search's may be ids,
      int32). It may contain arrays of `frozen`, which are then trained and no longer
      frozen (`left_frozen`).
    bind: (trained, frozen) -> (the network's parameters, its other inputs).
    fold: (trained, frozen) -> (parameters, extra) to be shipped, without what only
      training needs; the parameters are None if they are the frozen model's. Of
      `frozen` it reads embeddings alone.
    shares: the frozen model stays whole, so that several runs can share it in one step.
    tokens: (trained, frozen) -> ids [P], of a method whose prompt is made of the
      vocabulary's pieces; it reads of `frozen` what fold does.
    search: of a method whose steps are not an optimizer's; it shares the frozen model.
    says: only of a method that trains nothing, whose tree holds whole numbers: (the
      tree, token ids -> text) -> what a description says of it.
    """

    init: Callable[[jax.Array, Any, Start], Any]
    bind: Callable[[Any, Any], tuple[Any, Extra]]
    fold: Callable[[Any, Any], tuple[Any, Extra]]
    shares: bool = True
    tokens: Callable[[Any, Any], jax.Array] | None = None
    search: Search | None = None
    says: Callable[[Any, Callable[[Sequence[int]], str]], dict[str, Any]] | None = None

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.says is None

    def count(self, trained: Any) -> int:
        """The number of trained parameters."""
        return sum(x.size for x in jax.tree.leaves(trained)) if self.trains else 0


def of(settings: Settings) -> Method:
    """The method of a run.

    Raises:
      UserError: METHOD is not the name of a method, or an option of another method is
        set.
    """
    name = settings.run.method
    if name == "bitfit":
        raise UserError(
            "METHOD is 'bitfit', which trains biases, and T5 has none: there is "
            f"nothing to train; take one of {', '.join(NAMES)}"
        )
    if name not in NAMES:
        raise UserError(f"METHOD is {name!r}; it must be {one_of(NAMES, name)}")
    for section in method_settings.SECTIONS:
        if name != section.SECTION:
            _check_unset(settings, section)
    return importlib.import_module(f"prompt_tuning.methods.{name}").method(settings)


class Vocabulary(Protocol):
    """What a method needs of the frozen model's vocabulary."""

    def encode(self, text: str, /) -> Sequence[int]:
        """Token ids, without EOS."""
        ...

    def decode(self, ids: Sequence[int], /) -> str:
        """The text of token ids."""
        ...

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        ...

    def is_text(self, number: int, /) -> bool:
        """Whether an id stands for text of its own."""
        ...


def worded(settings: Settings, vocabulary: Vocabulary) -> Settings:
    """The settings, with the token ids of the texts that are options of the method.

    Raises:
      UserError: such a text contradicts the vocabulary or another setting.
    """
    name = settings.run.method
    if name not in NAMES:
        return settings  # `of` says so
    module = importlib.import_module(f"prompt_tuning.methods.{name}")
    of_method = getattr(module, "worded", None)
    return of_method(settings, vocabulary) if of_method else settings


def unread(name: str) -> tuple[str, ...]:
    """What the names of settings begin with that a method does not read.

    A module says so as UNREAD. A name that is no method's has none.
    """
    if name not in NAMES:
        return ()
    module = importlib.import_module(f"prompt_tuning.methods.{name}")
    return getattr(module, "UNREAD", ())


def _check_unset(settings: Settings, section: type[Section]) -> None:
    """Raises UserError for an option that this run's method does not have."""
    its = getattr(settings, section.SECTION)
    for field in dataclasses.fields(section):
        value, option = getattr(its, field.name), called(section.SECTION, field.name)
        if value != field.default:
            raise UserError(
                f"{option} is {value!r}, but METHOD is {settings.run.method!r}, which "
                f"has no such option: leave {option} out, or set "
                f"METHOD={section.SECTION}"
            )


def left_frozen(frozen: Any, trained: Any) -> Any:
    """The frozen tree with None in place of the arrays that are now trained.

    A training step donates those, so nothing else may hold them.
    """
    taken = {id(leaf) for leaf in jax.tree.leaves(trained)}
    return jax.tree.map(lambda leaf: None if id(leaf) in taken else leaf, frozen)
