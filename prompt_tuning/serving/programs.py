"""The compiled programs of a frozen model, and batches for them.

Each compiles once for a batch's shape, whatever prompts there are.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import partitioning
from prompt_tuning.runs import parts
from prompt_tuning.serving import bank, batches
from prompt_tuning.serving.batches import Row
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import beams as beam_search
from prompt_tuning.t5 import decoding
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching


def decoded(
    model: parts.Model,
    prompts: bank.Bank,
    batch: Sequence[Row],
    beams: int,
    length: int | None = None,
    ahead: Collection[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """(token ids, their log-probabilities) of a batch's answers, each [B, K, S].

    Args:
      beams: K; 1: greedy or sampled, as each row says.
      length: S; by default what holds the batch's longest answer.
      ahead: lengths of prompt and input together that are compiled.
    """
    length = length or batches.answer_length(max(row.most for row in batch))
    programs = _programs(model.network.config, model.mesh)
    inputs_BxL, own = _inputs(model.mesh, prompts, batch, ahead)
    how = _placed(
        model.mesh,
        most=np.array([row.most for row in batch], np.int32),
        temperature=np.array([row.temperature for row in batch], np.float32),
        top_p=np.array([row.top_p for row in batch], np.float32),
        seed=np.array([row.seed % 2**32 for row in batch], np.uint32),
        number=np.array([row.number for row in batch], np.uint32),
    )
    given = model.params, inputs_BxL, own, model.extra
    with jax.set_mesh(model.mesh):
        if beams > 1:
            return jax.device_get(programs.searched(*given, how["most"], beams, length))
        found = programs.sampled(*given, decoding.Sampling(**how), length)
        tokens_BxS, log_probs_BxS = jax.device_get(found)
        return tokens_BxS[:, None], log_probs_BxS[:, None]


def scored(
    model: parts.Model,
    prompts: bank.Bank,
    batch: Sequence[Row],
    labels_BxCxS: np.ndarray,
    ahead: Collection[int] = (),
) -> np.ndarray:
    """The log-probabilities [B, C] of each row's labels."""
    programs = _programs(model.network.config, model.mesh)
    inputs_BxL, own = _inputs(model.mesh, prompts, batch, ahead)
    labels = _placed(model.mesh, labels=labels_BxCxS)["labels"]
    with jax.set_mesh(model.mesh):
        given = model.params, inputs_BxL, own, model.extra
        return jax.device_get(programs.scored(*given, labels))


class _Programs(NamedTuple):
    sampled: Callable[..., Any]
    searched: Callable[..., Any]
    scored: Callable[..., Any]


@functools.cache
def _programs(config: T5Config, mesh: Mesh) -> _Programs:
    network = Transformer(config)

    def jit(fn: Callable[..., Any], *static: int) -> Callable[..., Any]:
        whole = partitioning.replicated(mesh)  # every host has all answers
        return jax.jit(fn, static_argnums=static, out_shardings=whole)

    def sampled(
        params: Any,
        inputs_BxL: jax.Array,
        own: bank.Own,
        shared: Extra,
        sampling: decoding.Sampling,
        length: int,
    ) -> Any:
        given = network, params, inputs_BxL, own.extra(shared), sampling
        return decoding.sampled(*given, length, inputs_BxL.shape[1])

    def searched(
        params: Any,
        inputs_BxL: jax.Array,
        own: bank.Own,
        shared: Extra,
        most_B: jax.Array,
        beams: int,
        length: int,
    ) -> Any:
        given = network, params, inputs_BxL, own.extra(shared), most_B
        return beam_search.search(*given, beams, length, inputs_BxL.shape[1])

    def scored(
        params: Any, inputs_BxL: jax.Array, own: bank.Own, shared: Extra, labels: Any
    ) -> Any:
        given = network, params, inputs_BxL, own.extra(shared), labels
        return decoding.label_scores(*given, inputs_BxL.shape[1])

    return _Programs(jit(sampled, 5), jit(searched, 5, 6), jit(scored))


def _inputs(
    mesh: Mesh, prompts: bank.Bank, batch: Sequence[Row], ahead: Collection[int]
) -> tuple[jax.Array, bank.Own]:
    """Token ids [B, L] and prompts, where L holds both together in every row."""
    length = batches.length_of(max(row.positions for row in batch), ahead)
    inputs_BxL = batching.pad([row.tokens for row in batch], length)
    own = prompts.gather([row.prompt for row in batch], length)
    return _placed(mesh, inputs=inputs_BxL)["inputs"], own


def _placed(mesh: Mesh, **batch: np.ndarray) -> dict[str, jax.Array]:
    """Arrays [B, ...] split over "data"; every host makes the whole of them."""
    (count,) = {len(value) for value in batch.values()}
    rows = partitioning.host_rows(mesh, count)
    own = {name: value[rows] for name, value in batch.items()}
    return partitioning.shard_batch(own, mesh)
