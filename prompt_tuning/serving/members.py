"""The members of an ensemble: prompts of one task over one frozen model.

All examples with all prompts are the rows of one pass, N x B in a batch; a CPU, which a
few rows fill, takes B at a time. Each member says what it says when it is evaluated
alone.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import parts, results, trained
from prompt_tuning.serving import bank, batches, programs, prompts
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training.task import Split, label_ids


class Members(NamedTuple):
    """A frozen model, and prompts in a bank by their paths, with what is known."""

    model: parts.Model
    bank: bank.Bank
    facts: Mapping[str, prompts.Facts]


class Answers(NamedTuple):
    """What N members say of M examples.

    texts_NxM: their predictions. log_probs_NxM: of those, in nats. scores_NxMxL: the
    log-probability of each label, -inf for those that an example may not have; None if
    there are no label words. words_L: the labels.
    """

    texts_NxM: list[list[str]]
    log_probs_NxM: np.ndarray
    scores_NxMxL: np.ndarray | None
    words_L: Sequence[str]


def expand(paths: Sequence[str]) -> list[str]:
    """The paths, and for a folder of runs, such as a sweep's, those in it.

    Raises:
      UserError: a prompt is given twice; one of the runs has none.
    """
    found: list[str] = []
    for path in map(Path, paths):
        runs = []
        if path.is_dir() and not exchange.read_description(path):
            runs = sorted(one for one in path.iterdir() if _is_run(one))
            without = [one for one in runs if not (one / exchange.PROMPT).is_file()]
            if without:
                raise UserError(
                    f"{without[0]} has no prompt: finish its run, or give the runs of "
                    f"{path} that are to vote one by one"
                )
        found += map(str, runs or [path])
    files: set[str] = set()
    for path in found:
        file = os.path.realpath(_file(Path(path)))
        if file in files:
            raise UserError(f"{path} is given twice; give each prompt once")
        files.add(file)
    return found


def _is_run(path: Path) -> bool:
    return results.is_run(path) or (path / exchange.PROMPT).is_file()


def _file(path: Path) -> Path:
    file = path / exchange.PROMPT
    return file if file.is_file() else path


# What the members of an ensemble share, by what they say, and how it is called.
_SHARED = {
    "frozen_fingerprint": "frozen model",
    "vocabulary_fingerprint": "vocabulary",
    "method": "METHOD",
    "task": "task",
    "label_words": "label words",
}
_SAID = {"frozen_fingerprint": "frozen_model", "vocabulary_fingerprint": "vocabulary"}


def check_shared(said: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError, naming both sides, unless prompts may vote together.

    Args:
      said: {a prompt's path: its description}. What one does not say is not asked.
    """
    for key, called in _SHARED.items():
        known = {path: about for path, about in said.items() if about.get(key)}
        for path, about in known.items():
            first = next(iter(known))
            if about[key] != known[first][key]:
                shown = _SAID.get(key, key)
                raise UserError(
                    f"the {called} of {first} is {known[first].get(shown)!r}, but that "
                    f"of {path} is {about.get(shown)!r}"
                    f"{' (another fingerprint)' * (key in _SAID)}: the members of an "
                    "ensemble share frozen model, vocabulary and task"
                )


def load(settings: Settings, paths: Sequence[str], place: str = "prefix") -> Members:
    """The prompts and their frozen model, checked as `evaluate` does.

    Args:
      settings: those of the first prompt, changed by the flags.
      place: of a prompt that does not say its own.

    Raises:
      UserError: one cannot be read, or is not for this model; two of them differ in
        what they must share.
    """
    sources = {path: trained.find("", path) for path in paths}
    check_shared({path: source.said for path, source in sources.items()})
    first = sources[paths[0]]
    exchange.check_settings(first.path, first.said, settings)
    model = parts.build(settings)
    name, width = (
        settings.run.initial_checkpoint_path,
        model.network.config.emb_dim,
    )
    frozen = prompts.Frozen(name, weights.fingerprint(name), width, model.vocabulary)
    held, facts = bank.Bank(width, model.mesh), {}
    for path, source in sources.items():
        asked = not source.said.get("place") or place != Run.prompt_place
        given = {"place": place} if asked else {}
        prompt_PxD, facts[path] = prompts.read(path, frozen, **given)
        held.add(path, prompt_PxD, facts[path].leading)
    return Members(model, held, facts)


def answer(
    members: Members, split: Split, batch_size: int, labels_alone: bool = False
) -> Answers:
    """What each member says of each example of a split.

    Args:
      batch_size: B, examples.
      labels_alone: take the likeliest label for the prediction (DECODING=labels).

    Raises:
      UserError: labels are asked for, and a task has none.
    """
    shape = len(members.facts), len(split.examples)
    rows = [
        batches.Row(tokens, name, facts.length, split.examples.lengths["targets"])
        for name, facts in members.facts.items()
        for tokens in split.examples.inputs
    ]
    on_cpu = members.model.mesh.devices.flat[0].platform == "cpu"
    size = batch_size if on_cpu else batch_size * shape[0]
    words, scores_NxMxL = [], None
    if labels_alone or set(split.examples.sizes) <= split.label_words.keys():
        words, own_MxL = split.labels()
        scores = _scored(members, rows, words, size).reshape(*shape, -1)
        scores_NxMxL = np.where(own_MxL[None], scores, -np.inf)
    if labels_alone:
        assert scores_NxMxL is not None
        texts = [[words[i] for i in row] for row in scores_NxMxL.argmax(axis=-1)]
        return Answers(texts, scores_NxMxL.max(axis=-1), scores_NxMxL, words)
    said, log_probs = _decoded(members, rows, size)
    texts = [said[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]
    return Answers(texts, log_probs.reshape(shape), scores_NxMxL, words)


def _decoded(
    members: Members, rows: Sequence[batches.Row], size: int
) -> tuple[list[str], np.ndarray]:
    """The greedy answer to each row, and its log-probability."""
    texts, log_probs = [""] * len(rows), np.zeros(len(rows))
    for places, batch in batches.in_batches(rows, [size]):
        found = programs.decoded(members.model, members.bank, batch, beams=1)
        for place, tokens_1xS, log_probs_1xS in zip(places, *found, strict=False):
            texts[place] = members.model.vocabulary.decode(tokens_1xS[0].tolist())
            log_probs[place] = log_probs_1xS[0][tokens_1xS[0] != 0].sum()
    return texts, log_probs


def _scored(
    members: Members, rows: Sequence[batches.Row], words: Sequence[str], size: int
) -> np.ndarray:
    """The log-probability of each label as the answer to each row, [rows, L]."""
    labels_LxS = label_ids(words, members.model.vocabulary)
    labels_BxLxS = np.broadcast_to(labels_LxS, (size, *labels_LxS.shape))
    scores = np.zeros((len(rows), len(words)), np.float32)
    for places, batch in batches.in_batches(rows, [size]):
        found = programs.scored(members.model, members.bank, batch, labels_BxLxS)
        scores[places] = found[: len(places)]
    return scores
