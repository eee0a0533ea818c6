"""One frozen model that answers with many prompts, mixed in a batch as they come.

    model = prompt_tuning.load("pocket_nano")
    model.add("kind", "runs/kind")
    model.predict(["a robin", "a hammer"], prompts="kind")

A prompt is an input of the model's compiled program: adding and removing prompts never
compiles it again. It is compiled once for each length that a batch is padded to.
"""

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import config, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.runs import parts
from prompt_tuning.serving import bank, batches
from prompt_tuning.serving import prompts as prompts_
from prompt_tuning.serving.batches import Row
from prompt_tuning.settings import MOST_TOKENS, Settings
from prompt_tuning.t5 import beams as beams_
from prompt_tuning.t5 import decoding
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching
from prompt_tuning.training.task import MAX_INPUT_LENGTH, encode_rows, label_ids

Prompts = str | Sequence[str]  # the name of one for all texts, or one for each


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
        self._network, self._params = model.network, model.params
        self._bank = bank.Bank(model.network.config.emb_dim, model.mesh)
        self._bank.add("", np.zeros((0, model.network.config.emb_dim)), False)
        self._facts: dict[str, prompts_.Facts] = {}
        data = model.mesh.shape["data"]
        self._sizes, self._ahead = {data, settings.run.batch_size}, False
        self._programs = _programs(model.network, model.mesh)

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
            self._bank.add(name, prompt_PxD, facts.place == "suffix")
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
        width = self._network.config.emb_dim
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
          most: tokens of an answer, EOS included; by default the prompt's own longest.
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
        names = self._names(prompts, count)
        facts = [self.prompt(name) for name in names]
        own = [one.target_length for one in facts]
        wishes = [
            _each("most", own if most is None else most, count),
            _each("temperature", temperature, count),
            _each("top_p", top_p, count),
            _each("seed", seed, count),
        ]
        for row in set(zip(*wishes, strict=True)):
            _check_wishes(*row, answers, beams)
        rows = [
            Row(self._tokens(text, one), name, one.length, *wish, number)
            for text, name, one, *wish in zip(texts, names, facts, *wishes, strict=True)
            for number in range(1 if beams > 1 else answers)
        ]
        found: list[list[Answer]] = [[] for _ in rows]
        for places, batch in batches.in_batches(rows, sorted(self._sizes)):
            tokens, log_probs = self._decoded(batch, beams)
            for place, *each in zip(places, tokens, log_probs, strict=False):
                found[place] = [
                    self._answer(rows[place], *one) for one in zip(*each, strict=True)
                ][:answers]
        flat = [answer for each in found for answer in each]
        return [flat[i * answers : (i + 1) * answers] for i in range(count)]

    def predict(self, texts: Sequence[str], prompts: Prompts) -> list[str]:
        """The answer to each text.

        It is the greedy one; or the likeliest label, where the prompt's DECODING says
        so.
        """
        names = self._names(prompts, len(texts))
        scored = [self.prompt(name).decoding == "labels" for name in names]
        found = [""] * len(texts)
        for labels in set(scored):
            places = [i for i, one in enumerate(scored) if one == labels]
            group = [texts[i] for i in places], [names[i] for i in places]
            said = self._best_labels(*group) if labels else self._greedy(*group)
            for place, text in zip(places, said, strict=True):
                found[place] = text
        return found

    def _greedy(self, texts: Sequence[str], names: Sequence[str]) -> list[str]:
        return [answer.text for (answer,) in self.generate(texts, names)]

    def _best_labels(self, texts: Sequence[str], names: Sequence[str]) -> list[str]:
        words = [self._label_words(name) for name in names]
        scores_NxL = self.score(texts, None, names)
        best_N = np.argmax(scores_NxL, axis=1)
        return [own[best] for own, best in zip(words, best_N, strict=True)]

    def score(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | Sequence[Sequence[str]] | None,
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
        if not names:
            return np.zeros((0, 0 if labels is None else len(labels)), np.float32)
        rows = [
            Row(self._tokens(text, facts), name, facts.length)
            for text, name in zip(texts, names, strict=True)
            for facts in (self.prompt(name),)
        ]
        scores_NxL = np.full((len(texts), max(map(len, own), default=0)), -np.inf)
        sizes = [len(each) for each in own]
        ids = _padded_labels(own, self.vocabulary)
        for places, batch in batches.in_batches(rows, sorted(self._sizes)):
            filled = np.pad(places, (0, len(batch) - len(places)), mode="edge")
            scores_BxC = self._scored(batch, [ids[place] for place in filled])
            for place, scores_C in zip(places, scores_BxC, strict=False):
                scores_NxL[place, : sizes[place]] = scores_C[: sizes[place]]
        return scores_NxL.astype(np.float32)

    def compile(
        self,
        lengths: Sequence[int] | None,
        batch_size: int,
        *,
        most: int | Sequence[int] | None = None,
        labels: int = 0,
    ) -> None:
        """Compiles ahead of time, so that no answer waits for it.

        From the first call on, batches have only sizes compiled ahead; call it again
        for another size.

        Args:
          lengths: of prompt and input together; each is rounded up to the next length
            that batches are padded to. None: all up to the longest prompt and input;
            []: none, only the size is set.
          batch_size: rows of a batch; a multiple of the devices along "data".
          most: longest answers; by default those of the prompts added so far.
          labels: above 0: the scoring of so many labels too.
        """
        partitioning.check_batch_size(batch_size, self.mesh)
        facts = [self.prompt(name) for name in self.names]
        most = [one.target_length for one in facts] if most is None else most
        answers = [most] if isinstance(most, int) else most
        if not self._ahead:
            self._sizes, self._ahead = set(), True
        self._sizes.add(batch_size)
        lengths = self._all() if lengths is None else lengths
        for length in sorted({batches.length_of(n) for n in lengths}):
            batch = [Row(np.ones(length, np.int32), "", 0)] * batch_size  # EOS alone
            for answer in sorted({batches.answer_length(n) for n in answers}):
                self._decoded(batch, 1, answer)
            if labels:
                ids_CxS = _padded_labels([["a"] * labels], self.vocabulary)[0]
                self._scored(batch, [ids_CxS] * batch_size)

    def _all(self) -> list[int]:
        """The lengths that batches of the prompts added so far may be padded to."""
        facts = [self.prompt(name) for name in self.names]
        longest = max(self._limit(one) + one.length for one in facts)
        return sorted({batches.length_of(n) for n in range(1, longest + 1)})

    # Texts -> batches -> the compiled programs

    def _names(self, prompts: Prompts, count: int) -> list[str]:
        names = _each("prompts", prompts, count)
        for name in set(names):
            self.prompt(name)
        return names

    def _limit(self, facts: prompts_.Facts) -> int:
        return facts.input_length or MAX_INPUT_LENGTH

    def _tokens(self, text: str, facts: prompts_.Facts) -> np.ndarray:
        ids_1xT, cut = encode_rows([text], self.vocabulary, self._limit(facts))
        self.truncated += cut
        return ids_1xT[0, : np.count_nonzero(ids_1xT)]

    def _label_words(self, name: str) -> tuple[str, ...]:
        words = self.prompt(name).label_words
        if not words:
            raise UserError(
                f"the prompt {name!r} has no label words: give the labels to score"
            )
        return words

    def _labels(self, labels: Any, names: Sequence[str]) -> list[Sequence[str]]:
        if labels is None:
            return [self._label_words(name) for name in names]
        if isinstance(labels, str) or not labels:
            raise UserError(f"labels are {labels!r}; they must be a list of texts")
        if isinstance(labels[0], str):
            return [labels] * len(names)
        return _each("labels", labels, len(names))

    def _decoded(
        self, batch: Sequence[Row], beams: int, length: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(token ids, their log-probabilities) of a batch, [B, K, S]."""
        length = length or batches.answer_length(max(row.most for row in batch))
        inputs_BxL, own = self._inputs(batch)
        sampling = self._placed(
            {
                "most": np.array([row.most for row in batch], np.int32),
                "temperature": np.array([r.temperature for r in batch], np.float32),
                "top_p": np.array([row.top_p for row in batch], np.float32),
                "seed": np.array([row.seed % 2**32 for row in batch], np.uint32),
                "number": np.array([row.number for row in batch], np.uint32),
            }
        )
        with jax.set_mesh(self.mesh):
            if beams > 1:
                found = self._programs.searched(
                    self._params, inputs_BxL, own, sampling["most"], beams, length
                )
                return jax.device_get(found)
            found = self._programs.sampled(
                *(self._params, inputs_BxL, own),
                *(decoding.Sampling(**sampling), length),
            )
            tokens_BxS, log_probs_BxS = jax.device_get(found)
            return tokens_BxS[:, None], log_probs_BxS[:, None]

    def _scored(self, batch: Sequence[Row], ids: Sequence[np.ndarray]) -> np.ndarray:
        """The scores [B, C] of each row's labels, whose ids are [C, S]."""
        inputs_BxL, own = self._inputs(batch)
        labels_BxCxS = self._placed({"labels": np.stack(ids)})["labels"]
        with jax.set_mesh(self.mesh):
            return jax.device_get(
                self._programs.scored(self._params, inputs_BxL, own, labels_BxCxS)
            )

    def _inputs(self, batch: Sequence[Row]) -> tuple[jax.Array, bank.Own]:
        length = batches.length_of(max(row.positions for row in batch))
        inputs_BxL = batching.pad([row.tokens for row in batch], length)
        own = self._bank.gather([row.prompt for row in batch], length)
        return self._placed({"inputs": inputs_BxL})["inputs"], own

    def _placed(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Arrays [B, ...], split over "data"; every host makes the whole of them."""
        (count,) = {len(value) for value in batch.values()}
        rows = partitioning.host_rows(self.mesh, count)
        own = {name: value[rows] for name, value in batch.items()}
        return partitioning.shard_batch(own, self.mesh)

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


class _Programs(NamedTuple):
    """The compiled programs of a network; each compiles once for a batch's shape."""

    sampled: Callable[..., Any]
    searched: Callable[..., Any]
    scored: Callable[..., Any]


@functools.cache
def _programs(network: Transformer, mesh: Mesh) -> _Programs:
    def jit(fn: Callable[..., Any], *static: int) -> Callable[..., Any]:
        whole = partitioning.replicated(mesh)  # every host has all answers
        return jax.jit(fn, static_argnums=static, out_shardings=whole)

    def sampled(params: Any, inputs_BxL: jax.Array, own: bank.Own, *how: Any) -> Any:
        extra, cut = own.extra(), inputs_BxL.shape[1]
        return decoding.sampled(network, params, inputs_BxL, extra, *how, cut)

    def searched(params: Any, inputs_BxL: jax.Array, own: bank.Own, *how: Any) -> Any:
        extra, cut = own.extra(), inputs_BxL.shape[1]
        return beams_.search(network, params, inputs_BxL, extra, *how, cut)

    def scored(
        params: Any, inputs_BxL: jax.Array, own: bank.Own, labels_BxCxS: jax.Array
    ) -> jax.Array:
        extra, cut = own.extra(), inputs_BxL.shape[1]
        return decoding.label_scores(
            network, params, inputs_BxL, extra, labels_BxCxS, cut
        )

    return _Programs(jit(sampled, 4), jit(searched, 4, 5), jit(scored))


def _each(name: str, value: Any, count: int) -> list[Any]:
    """One value for all texts, or a list of as many as there are."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return [value] * count
    if len(value) != count:
        raise UserError(
            f"{name} has {len(value)} values for {count} texts; give one for all, or "
            "one for each"
        )
    return list(value)


def _check_wishes(
    most: int, temperature: float, top_p: float, seed: int, answers: int, beams: int
) -> None:
    """Raises UserError for what no answer can be given by."""
    wishes = [
        ("most", most, "a whole number of tokens", 1 <= most <= MOST_TOKENS),
        ("temperature", temperature, "0 or above", 0 <= temperature < math.inf),
        ("top_p", top_p, "above 0 and at most 1", 0 < top_p <= 1),
        ("seed", seed, "a whole number of at least 0", seed >= 0),
        ("answers", answers, "a whole number of at least 1", answers >= 1),
        ("beams", beams, "a whole number of at least 1", beams >= 1),
    ]
    for name, value, needed, right in wishes:
        whole = name in ("temperature", "top_p") or value == int(value)
        if not right or not whole:
            raise UserError(f"{name} is {value!r}; it must be {needed}")
    if beams > 1 and (temperature > 0 or top_p < 1):
        raise UserError(
            "beam search draws nothing: leave out temperature and top_p, or beams"
        )
    if beams > 1 and answers > beams:
        raise UserError(f"{beams} beams find {beams} answers, not {answers}")


def _padded_labels(
    labels: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> list[np.ndarray]:
    """Ids [C, S] of each row's labels; C and S, powers of two, are the same for all.

    What is missing is padding alone, whose score is 0.
    """
    kinds = {tuple(each): label_ids(each, vocabulary) for each in labels}
    shapes = np.array([ids.shape for ids in kinds.values()])
    most = [1 << (int(size) - 1).bit_length() for size in shapes.max(axis=0)]
    padded = {
        words: np.pad(ids, [(0, m - n) for m, n in zip(most, ids.shape, strict=True)])
        for words, ids in kinds.items()
    }
    return [padded[tuple(each)] for each in labels]


def load(name: str | os.PathLike, **settings: Any) -> Model:
    """As `prompt_tuning.load`."""
    changes = {"INITIAL_CHECKPOINT_PATH": os.fspath(name)} | settings
    bindings = [f"{key}={value!r}" for key, value in changes.items()]
    chosen = config.load([], bindings)
    return Model(chosen, parts.build(chosen))
