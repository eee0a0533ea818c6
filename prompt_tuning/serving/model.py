"""One frozen model that answers with many prompts, mixed in a batch as they come.

    model = prompt_tuning.load("pocket_nano")
    model.add("kind", "runs/kind")
    model.predict(["a robin", "a hammer"], prompts="kind")

A prompt is an input of the model's compiled program: adding and removing prompts never
compiles it again. It is compiled once for each length that a batch is padded to.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning import config, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import parts
from prompt_tuning.serving import bank, batches, programs, wishes
from prompt_tuning.serving import prompts as prompts_
from prompt_tuning.serving.batches import Row
from prompt_tuning.settings import Settings
from prompt_tuning.training.task import MAX_INPUT_LENGTH, encode_rows

Prompts = str | Sequence[str]  # the name of one for all texts, or one for each
Labels = Sequence[str] | Sequence[Sequence[str]] | None


class Answer(NamedTuple):
    """An answer to a text.

    tokens: its ids, EOS included if it was written. log_probs: of each token under the
    model itself, whatever the temperature (nats). finish: "stop" after EOS, "length"
    without. input_tokens: of the text, EOS included. prompt_positions: P.
    """

    text: str
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    finish: str
    input_tokens: int
    prompt_positions: int


class Model:
    """A frozen model and its prompts.

    One thread at a time may let it answer; any other may add and remove prompts.

    settings: those of the frozen model. truncated: the number of texts that were cut
    because they are longer than the model (or a prompt's run) takes, so far.
    """

    def __init__(self, settings: Settings, model: parts.Model) -> None:
        self.settings, self.truncated = settings, 0
        self.vocabulary, self.mesh = model.vocabulary, model.mesh
        self.network, self.params, self._model = model.network, model.params, model
        self._bank = bank.Bank(model.network.config.emb_dim, model.mesh)
        self._bank.add("", np.zeros((0, model.network.config.emb_dim)), 0)
        self._facts: dict[str, prompts_.Facts] = {}
        data = model.mesh.shape["data"]
        self._sizes, self._ahead = {data, settings.run.batch_size}, False
        # Compiled ahead: lengths of answers; of prompt and input together.
        self._answers: set[int] = set()
        self._positions: set[int] = set()
        self._least = 2, 4  # labels, and tokens of each, that are scored

    # Prompts

    def add(self, name: str, path: str | os.PathLike, **said: Any) -> None:
        """Adds a prompt, or replaces the one of this name.

        Args:
          path: a run's folder or one step of it, a .npy or .safetensors file, a folder
            of PEFT's.
          said: of a prompt that does not describe itself: `place` ("prefix" or
            "suffix"), `label_words`, `target_length`, `task`; and `decoding` ("greedy"
            or "labels"), by default its run's.

        Raises:
          UserError: it cannot be read, is not for this model, or contradicts `said`.
        """
        prompt_PxD, facts = prompts_.read(path, self._frozen, **said)
        self.put(name, prompt_PxD, facts)

    def put(self, name: str, prompt_PxD: Any, facts: prompts_.Facts) -> None:
        """Adds an array [P, D], which may have no vectors, with what is known of it."""
        if not isinstance(name, str) or not name:
            raise UserError(f"a prompt's name is {name!r}; it must be some text")
        with self._bank.lock:
            self._bank.add(name, prompt_PxD, facts.leading)
            self._facts[name] = facts

    def remove(self, name: str) -> None:
        """Removes a prompt.

        Raises:
          UserError: there is none of this name.
        """
        with self._bank.lock:
            self.prompt(name)
            self._bank.remove(name)
            del self._facts[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The prompts' names, sorted."""
        with self._bank.lock:
            return tuple(sorted(self._facts))

    def prompt(self, name: str) -> prompts_.Facts:
        """What is known of a prompt.

        Raises:
          UserError: there is none of this name.
        """
        facts = self._facts.get(name)
        if facts is None:
            raise UserError(
                f"there is no prompt {name!r}; there are "
                f"{', '.join(map(repr, self.names)) or 'none'}"
            )
        return facts

    @functools.cached_property
    def _frozen(self) -> prompts_.Frozen:
        name = self.settings.run.initial_checkpoint_path
        width = self.network.config.emb_dim
        return prompts_.Frozen(name, weights.fingerprint(name), width, self.vocabulary)

    # Answers

    def generate(
        self,
        texts: Sequence[str],
        prompts: Prompts,
        *,
        most: int | Sequence[int] | None = None,
        temperature: float | Sequence[float] = 0.0,
        top_p: float | Sequence[float] = 1.0,
        answers: int = 1,
        beams: int = 1,
        seed: int | Sequence[int] = 0,
    ) -> list[list[Answer]]:
        """Answers to each text, the most probable first if there are beams.

        Args:
          prompts: a name for all texts, or one for each.
          most: tokens of an answer, EOS included; None: the prompt's own longest.
            It and what follows may be one value, or one for each text.
          temperature: 0: the likeliest token; else tokens are drawn.
          top_p: draw only among the likeliest tokens that together have this
            probability.
          answers: how many to each text.
          beams: above 1: beam search for the likeliest whole answer, of which `answers`
            are given. Answers are compared by their log-probability; there is no
            penalty for length.
          seed: the same seed draws the same answers, whatever else is in the batch.

        Raises:
          UserError: a value is none of those above; there is no such prompt.
        """
        count = len(texts)
        wished = zip(
            wishes.each("most", most, count),
            wishes.each("temperature", temperature, count),
            wishes.each("top_p", top_p, count),
            wishes.each("seed", seed, count),
            strict=True,
        )
        rows: list[Row] = []
        names = self._names(prompts, count)
        for text, name, wish in zip(texts, names, wished, strict=True):
            rows += self._rows(text, name, *wish, answers, beams)
        found: list[list[Answer]] = [[] for _ in rows]
        sizes, ahead = sorted(self._sizes), self._answers
        for places, batch in batches.in_batches(rows, sizes, ahead):
            length = batches.answer_length(max(row.most for row in batch), ahead)
            given = self._model, self._bank, batch, beams, length, self._positions
            tokens, log_probs = programs.decoded(*given)
            for place, *each in zip(places, tokens, log_probs, strict=False):
                found[place] = [
                    self._answer(rows[place], *one) for one in zip(*each, strict=True)
                ][:answers]
        flat = [answer for each in found for answer in each]
        return [flat[i * answers : (i + 1) * answers] for i in range(count)]

    def _rows(
        self,
        text: str,
        name: str,
        most: int | None,
        temperature: float,
        top_p: float,
        seed: int,
        answers: int,
        beams: int,
    ) -> list[Row]:
        """The rows of a batch that a text takes: one for each drawn answer."""
        facts = self.prompt(name)
        longest = facts.target_length if most is None else most
        wishes.check(longest, temperature, top_p, seed, answers, beams)
        row = Row(self._tokens(text, name), name, facts.length, longest, temperature)
        row = row._replace(top_p=top_p, seed=seed)
        numbers = range(1 if beams > 1 else answers)
        return [row._replace(number=number) for number in numbers]

    def predict(self, texts: Sequence[str], prompts: Prompts) -> list[str]:
        """The answer to each text.

        It is the greedy one; or the likeliest label, where the prompt's DECODING says
        so.
        """
        names = self._names(prompts, len(texts))
        found = [""] * len(texts)
        for labels in (False, True):
            places = [
                place
                for place, name in enumerate(names)
                if (self.prompt(name).decoding == "labels") == labels
            ]
            group = [texts[i] for i in places], [names[i] for i in places]
            if labels:
                said = [max(p, key=p.__getitem__) for p in self.classify(*group)]
            else:
                said = [answer.text for (answer,) in self.generate(*group)]
            for place, text in zip(places, said, strict=True):
                found[place] = text
        return found

    def classify(
        self, texts: Sequence[str], prompts: Prompts, labels: Labels = None
    ) -> list[dict[str, float]]:
        """Each text's labels and their probabilities, which sum to 1 over its labels.

        Args:
          labels: as `score` takes them.
        """
        names = self._names(prompts, len(texts))
        own = self._labels(labels, names)
        found = []
        for words, scores_L in zip(own, self.score(texts, own, names), strict=True):
            scores_L = scores_L[: len(words)].astype(np.float64)
            p_L = np.exp(scores_L - scores_L.max())
            found.append(dict(zip(words, (p_L / p_L.sum()).tolist(), strict=True)))
        return found

    def score(
        self,
        texts: Sequence[str],
        labels: Labels,
        prompts: Prompts,
    ) -> np.ndarray:
        """The log-probability (nats) of each label as the whole answer to each text.

        Args:
          labels: L labels; or some for each text; None: each prompt's own.

        Returns:
          float32 [N, L]; -inf after the last label of a text that has fewer.

        Raises:
          UserError: the vocabulary cannot write a label; a prompt has none.
        """
        names = self._names(prompts, len(texts))
        own = self._labels(labels, names)
        rows = [
            Row(self._tokens(text, name), name, one.length)
            for text, name in zip(texts, names, strict=True)
            for one in (self.prompt(name),)
        ]
        shape = len(texts), max(map(len, own), default=0)
        scores_NxL = np.full(shape, -np.inf, np.float32)
        ids = batches.label_ids_of_rows(own, self.vocabulary, self._least)
        for places, batch in batches.in_batches(rows, sorted(self._sizes)):
            filled = np.pad(places, (0, len(batch) - len(places)), mode="edge")
            labels_BxCxS = np.stack([ids[place] for place in filled])
            given = self._model, self._bank, batch, labels_BxCxS, self._positions
            scores_BxC = programs.scored(*given)
            for place, scores_C in zip(places, scores_BxC, strict=False):
                size = len(own[place])
                scores_NxL[place, :size] = scores_C[:size]
        return scores_NxL

    def compile(
        self,
        lengths: Sequence[int] | None,
        batch_size: int,
        *,
        most: int | Sequence[int] | None = None,
        labels: bool = False,
    ) -> None:
        """Compiles ahead of time, so that no answer waits for it.

        From the first call on, batches have only the sizes of such calls; call it again
        for another size. Inputs, answers and labels are padded to the lengths
        compiled, where these are enough.

        Args:
          lengths: of prompt and input together; each is rounded up to the next length
            that batches are padded to. None: all up to the longest prompt and input;
            []: none, only the size is set.
          batch_size: rows of a batch; a multiple of the devices along "data".
          most: longest answers; by default those of the prompts added so far.
          labels: compile the scoring of these prompts' label words too.
        """
        partitioning.check_batch_size(batch_size, self.mesh)
        facts = [self.prompt(name) for name in self.names]
        most = [one.target_length for one in facts] if most is None else most
        answers = {batches.answer_length(n) for n in np.atleast_1d(most).tolist()}
        words = [one.label_words for one in facts if one.label_words and labels]
        all_ids = batches.label_ids_of_rows(words, self.vocabulary, self._least)
        if not self._ahead:
            self._sizes, self._ahead = set(), True
        self._sizes.add(batch_size)
        lengths = self._all() if lengths is None else lengths
        padded = {batches.length_of(n) for n in lengths}
        if padded:
            self._positions |= padded
            self._answers |= answers
            self._least = all_ids[0].shape if all_ids else self._least
        for length in sorted(padded):
            batch = [Row(np.ones(length, np.int32), "", 0)] * batch_size  # EOS alone
            for answer in sorted(answers):
                programs.decoded(self._model, self._bank, batch, 1, answer)
            for ids_CxS in all_ids[:1]:  # they have one shape
                ids_BxCxS = np.stack([ids_CxS] * batch_size)
                programs.scored(self._model, self._bank, batch, ids_BxCxS)

    def _all(self) -> list[int]:
        """The lengths that batches of the prompts added so far may be padded to."""
        both = (self.limit(name) + self.prompt(name).length for name in self.names)
        longest = max(both, default=0)
        return sorted({batches.length_of(n) for n in range(1, longest + 1)})

    def padded(self, positions: int) -> int:
        """The length that so many positions of prompt and input are padded to."""
        return batches.length_of(positions, self._positions)

    # Texts -> batches -> the compiled programs

    def _names(self, prompts: Prompts, count: int) -> list[str]:
        names = wishes.each("prompts", prompts, count)
        for name in set(names):
            self.prompt(name)
        return names

    def limit(self, name: str) -> int:
        """The tokens, EOS included, that a prompt's inputs are cut to.

        TASK_FEATURE_LENGTHS says it, the model's own or that of the prompt's run.
        """
        lengths = self.settings.run.task_feature_lengths or {}
        own = self.prompt(name).input_length
        return lengths.get("inputs") or own or MAX_INPUT_LENGTH

    def _tokens(self, text: str, name: str) -> np.ndarray:
        ids_1xT, cut = encode_rows([text], self.vocabulary, self.limit(name))
        self.truncated += cut
        return ids_1xT[0, : np.count_nonzero(ids_1xT)]

    def _label_words(self, name: str) -> tuple[str, ...]:
        words = self.prompt(name).label_words
        if not words:
            raise UserError(
                f"the prompt {name!r} has no label words: give the labels to score"
            )
        return words

    def _labels(self, labels: Labels, names: Sequence[str]) -> list[Sequence[str]]:
        """The labels of each text."""
        if labels is None:
            return [self._label_words(name) for name in names]
        same = len(labels) > 0 and all(isinstance(label, str) for label in labels)
        own: list[Any] = (
            [labels] * len(names) if same else wishes.each("labels", labels, len(names))
        )
        for words in own:
            if isinstance(words, str) or not len(words):
                raise UserError(f"labels are {words!r}; they must be a list of texts")
        return own

    def _answer(self, row: Row, tokens_S: np.ndarray, log_p_S: np.ndarray) -> Answer:
        ended = np.flatnonzero(tokens_S == self.vocabulary.eos_id)
        size = min(ended[0] + 1 if len(ended) else row.most, row.most)
        tokens = tuple(tokens_S[:size].tolist())
        return Answer(
            text=self.vocabulary.decode(tokens),
            tokens=tokens,
            log_probs=tuple(log_p_S[:size].tolist()),
            finish="stop" if len(ended) else "length",
            input_tokens=len(row.tokens),
            prompt_positions=row.vectors,
        )


def load(name: str | os.PathLike, **settings: Any) -> Model:
    """As `prompt_tuning.load`."""
    changes = {"INITIAL_CHECKPOINT_PATH": os.fspath(name)} | settings
    bindings = [f"{key}={value!r}" for key, value in changes.items()]
    chosen = config.load([], bindings)
    return Model(chosen, parts.build(chosen))
