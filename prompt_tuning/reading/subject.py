"""What is read: a prompt, what it says of itself, and its frozen model's vocabulary."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import formats, weights
from prompt_tuning.frozen.vocabulary import (
    Vocabulary,
    check_vocabulary,
    load_vocabulary,
)
from prompt_tuning.runs import parts, trained
from prompt_tuning.settings import Run, Settings


class Frozen(NamedTuple):
    """What is read of a frozen model: its pieces and their embeddings, row by row."""

    name: str
    table_VxD: np.ndarray
    pieces: list[str]
    vocabulary: Vocabulary


class Subject(NamedTuple):
    """A prompt that is read.

    settings: of its run, as far as they are known. steps: {step: its prompt} of the
    states that a run kept. frozen: None if the model is not here; `missing` says why.
    """

    path: Path
    prompt_PxD: np.ndarray
    said: Mapping[str, Any]
    settings: Settings
    steps: Mapping[int, np.ndarray]
    frozen: Frozen | None
    missing: str = ""

    @property
    def run(self) -> Run:
        """The settings of its run alone."""
        return self.settings.run


def read(
    source: trained.Source, settings: Settings, named: bool, wished: bool
) -> Subject:
    """A prompt and, if it is within reach, its frozen model's vocabulary.

    Args:
      settings: of the run, as the flags change them.
      named: the prompt, its run or the flags say which the frozen model is.
      wished: the flags do, so that it must be there.

    Raises:
      UserError: the prompt cannot be read; or it contradicts the settings or the model.
    """
    path, said, run = source.path, source.said, settings.run
    exchange.check_settings(path, said, settings)
    exchange.check_one_prompt(path, said)
    if said.get("ships_extra"):
        raise UserError(
            f"{path} is of METHOD={run.method}, which trains more than a prompt: there "
            "is nothing here that reads it; give a prompt"
        )
    prompt_PxD = exchange.load_prompt(path)
    frozen, missing = None, "it does not say which its frozen model is"
    if named:
        frozen, missing = _frozen(source, run, wished)
    if frozen and frozen.table_VxD.shape[1] != prompt_PxD.shape[1]:
        raise UserError(
            f"the prompt {path} is {prompt_PxD.shape[1]} wide, but {frozen.name} "
            f"embeds in {frozen.table_VxD.shape[1]}: give the frozen model that the "
            "prompt was trained on, or another prompt"
        )
    return Subject(path, prompt_PxD, said, settings, _steps(path), frozen, missing)


def _frozen(
    source: trained.Source, run: Run, wished: bool
) -> tuple[Frozen | None, str]:
    """The frozen model, or why there is none."""
    path, said, name = source.path, source.said, run.initial_checkpoint_path
    if tuned := _tuned(source, run):
        name = str(tuned)
    elif run.method == "prepended":
        return None, "the weights trained together with it are not beside it"
    try:
        formats.open_checkpoint(name)
    except UserError as error:
        if wished:
            raise
        return None, str(error).partition(". ")[0]
    vocabulary = load_vocabulary(parts.vocabulary_name(run))
    if not tuned:
        found = weights.fingerprint(name)
        exchange.check(path, said, frozen_model=found, name=name, vocabulary=vocabulary)
    return frozen(name, vocabulary), ""


def _tuned(source: trained.Source, run: Run) -> Path | None:
    """The weights that were trained together with a prompt, if they are there."""
    return None if run.method == "prompt" else trained.shipped_model(source)


def frozen(name: str, vocabulary: Vocabulary) -> Frozen:
    """The embeddings of a model's pieces, without rows that only fill up its table.

    Raises:
      UserError: they cannot be read, or are fewer than the pieces.
    """
    table_VxD = weights.embeddings(name)
    check_vocabulary(vocabulary.vocab_size, len(table_VxD))
    pieces = [vocabulary.piece(i) for i in range(vocabulary.vocab_size)]
    return Frozen(name, table_VxD[: len(pieces)], pieces, vocabulary)


def _steps(path: Path) -> dict[int, np.ndarray]:
    """The prompts of a run's kept states, by step."""
    folder = path / "checkpoints"
    if not folder.is_dir():
        return {}
    steps = sorted(int(p.name) for p in folder.iterdir() if _STEP.fullmatch(p.name))
    return {step: exchange.load_prompt(folder / str(step)) for step in steps}


_STEP = re.compile("0|[1-9][0-9]*")


def unscanned(settings: Settings) -> Settings:
    """The settings with a module for each layer, so that each can be looked into."""
    model = {**settings.model, "scan_layers": False, "remat": False}
    return dataclasses.replace(settings, model=model)


def label_words(subject: Subject) -> list[str]:
    """The words of the classes, as the prompt or its run says."""
    words = subject.run.class_labels or subject.said.get("label_words") or ()
    return list(dict.fromkeys(words))


def homes(subject: Subject) -> list[str]:
    """The label words that the first positions were initialised with, in order."""
    init = subject.said.get("init") or subject.run.prompt_init
    known = subject.said.get("init") or subject.run.model_dir
    words = subject.run.class_labels or subject.said.get("label_words") or ()
    return list(words)[: len(subject.prompt_PxD)] * bool(
        known and init == "class_label"
    )
