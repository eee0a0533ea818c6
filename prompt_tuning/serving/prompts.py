"""Prompts from files and folders, checked against the frozen model in use."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import config, exchange, methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.runs import trained
from prompt_tuning.settings import Run, Settings

ANSWER = 64  # tokens of the longest answer, where a prompt does not say


class Facts(NamedTuple):
    """What is known of a prompt.

    length: P. place: "prefix", "suffix" or, if it says so of itself, "around" the
    input, `in_front` of its vectors in front. label_words: what it answers, if it
    answers labels. target_length: tokens of its longest answer, EOS included. task: the
    one it was trained on, if known. path: where it is from. description: all that it
    says of itself. decoding: "greedy" or "labels". input_length: the most tokens of an
    input, where a run set that. template: INPUTS, of a run on the user's own file.
    """

    length: int
    place: str
    label_words: tuple[str, ...] | None
    target_length: int
    task: str | None
    path: Path
    description: Mapping[str, Any]
    decoding: str = "greedy"
    input_length: int | None = None
    template: str | None = None
    in_front: int | None = None

    @property
    def leading(self) -> int:
        """How many of its vectors stand in front of the input."""
        if self.in_front is not None:
            return self.in_front
        return 0 if self.place == "suffix" else self.length


class Frozen(NamedTuple):
    """What a prompt must fit: the model's name and fingerprint, D, the vocabulary."""

    name: str
    fingerprint: str
    width: int
    vocabulary: Vocabulary


def read(path: str | os.PathLike, frozen: Frozen, **said: Any) -> tuple[Any, Facts]:
    """A prompt [P, D] float32 and its facts.

    Args:
      path: a run's folder or one step of it, a .npy or .safetensors file, PEFT's
        folder, T5X's checkpoint.
      said: facts for what does not describe itself: `place`, `label_words`,
        `target_length`, `task`, `decoding`.

    Raises:
      UserError: it cannot be read; it contradicts `said`, the frozen model or the
        vocabulary; it is no prompt alone but goes with weights of its own.
    """
    source = trained.find("", os.path.expanduser(os.fspath(path)))
    settings = trained.base_settings(folder(source.path), source)
    run = settings.run
    _check_method(source, settings)
    exchange.check(
        source.path,
        source.said,
        frozen_model=frozen.fingerprint,
        name=frozen.name,
        vocabulary=frozen.vocabulary,
    )
    prompt_PxD = exchange.load_prompt(source.path)
    width = prompt_PxD.shape[1]
    exchange.check_width(source.path, width, name=frozen.name, width=frozen.width)
    return prompt_PxD, _facts(source, run, prompt_PxD, said)


def folder(path: Path) -> str:
    """The folder of the run that a path is of, its step or its file; "" if none is."""
    of_step = path.parent.name == "checkpoints"
    found = path.parents[1] if of_step else path if path.is_dir() else path.parent
    return str(found) if (found / "config.gin").is_file() else ""


def _check_method(source: trained.Source, settings: Settings) -> None:
    said, method = source.said, settings.run.method
    exchange.check_one_prompt(source.path, said)
    extra = said.get("ships_extra") or exchange.find_extra(source.path)
    if extra or said.get("ships_model") or not methods.of(settings).shares:
        what = "more than a prompt" if extra else "weights of its own"
        raise UserError(
            f"{source.path} is of METHOD={method}, which trains {what}: it cannot "
            "share a frozen model with prompts; answer with it alone, "
            f"`predict --gin.MODEL_DIR={source.path}`"
        )


def _facts(
    source: trained.Source, run: Run, prompt_PxD: np.ndarray, given: Mapping[str, Any]
) -> Facts:
    said = source.said
    for name in ("place", "label_words", "target_length", "task"):
        own, wish = said.get(name), given.get(name)
        own = tuple(own) if isinstance(own, Sequence) and name == "label_words" else own
        wish = tuple(wish) if wish is not None and name == "label_words" else wish
        if None not in (own, wish) and own != wish:
            raise UserError(
                f"{name} is to be {wish!r}, but {source.path} says {own!r}: leave it "
                "out, or take another prompt"
            )
    lengths = run.task_feature_lengths or {}
    words = given.get("label_words") or said.get("label_words")
    most = given.get("target_length") or said.get("target_length") or ANSWER
    facts = Facts(
        length=len(prompt_PxD),
        place=exchange.place(said, given.get("place") or run.prompt_place),
        label_words=tuple(words) if words else None,
        target_length=lengths.get("targets", most),
        task=given.get("task") or said.get("task"),
        path=source.path,
        description=said,
        decoding=given.get("decoding") or run.decoding,
        input_length=lengths.get("inputs"),
        template=run.inputs,
        in_front=said.get("in_front"),
    )
    return check(facts)


def check(facts: Facts) -> Facts:
    """The facts, if they make sense together; else a UserError."""
    if facts.place not in ("prefix", "suffix") and facts.in_front is None:
        raise UserError(f"place is {facts.place!r}; it must be prefix or suffix")
    if facts.decoding not in ("greedy", "labels"):
        raise UserError(f"decoding is {facts.decoding!r}; it must be greedy or labels")
    if facts.decoding == "labels" and not facts.label_words:
        raise UserError(
            f"{facts.task or facts.path} names no label words, so there is nothing to "
            "score: decode greedily (DECODING=greedy)"
        )
    return facts


# Prompts by name, as flags give them


def named(given: Sequence[str]) -> dict[str, str]:
    """Paths by name, of NAME=PATH and folders of runs and prompt files.

    Raises:
      UserError: a folder holds no prompts; two have one name.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        more = {name: os.path.expanduser(path)} if equals else _inside(text)
        twice = sorted(found.keys() & more.keys())
        if twice or "" in more:
            problem = f"names {twice[0]!r} twice" if twice else f"has {text!r}"
            raise UserError(
                f"--prompts {problem}; give each prompt a name of its own, NAME=PATH"
            )
        found |= more
    return found


_HELD = exchange.PROMPT, exchange.PEFT, exchange.MODEL, exchange.EXTRA


def _inside(folder: str) -> dict[str, str]:
    """The runs and prompt files in a folder, by name; or itself, if it is a run."""
    path = Path(os.path.expanduser(folder))
    if not path.is_dir():
        raise UserError(
            f"--prompts has {folder!r}, which is no folder of prompts; give NAME=PATH "
            "for each, or such a folder"
        )

    def is_run(path: Path) -> bool:
        return any((path / name).is_file() for name in _HELD)

    if is_run(path):
        return {path.resolve().name: str(path)}
    found = [
        (one.name if one.is_dir() else one.stem, str(one))
        for one in sorted(path.iterdir())
        if is_run(one) or one.suffix in (".npy", ".safetensors")
    ]
    names = [name for name, _ in found]
    if not found or len(set(names)) < len(names):
        raise UserError(
            f"--prompts is {folder!r}, a folder with "
            + (
                "two prompts of one name"
                if found
                else "no run and no prompt file in it"
            )
            + "; give NAME=PATH for each"
        )
    return dict(found)


def frozen_settings(paths: Sequence[str]) -> Settings:
    """The settings with the frozen model and vocabulary that the prompts say.

    Those of the first that says it; `read` checks the others.
    """
    for path in paths:
        said = trained.find("", path).said
        if said.get("frozen_model"):
            wanted = "INITIAL_CHECKPOINT_PATH=", "VOCABULARY="
            own = [x for x in exchange.said_settings(said) if x.startswith(wanted)]
            return config.changed(Settings(), own)
    return Settings()
