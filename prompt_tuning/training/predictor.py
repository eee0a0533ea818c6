"""Predicting with a frozen model and what was trained, compiled only once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import partitioning
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.t5 import decoding
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching

# Token ids [N, T] -> ids of the predictions [N, S]; N is always the batch size. With
# labels it may be given which of them each input may have, too (own_NxL: bool [N, L]),
# and with a bank of prompts each one's place in it (tasks_N: int32 [N]).
PredictFn = Callable[..., np.ndarray]


def make_predict_fn(
    model: Transformer,
    mesh: Mesh,
    length: int,
    labels_LxS: np.ndarray | None = None,
) -> Callable[[Any, Extra], PredictFn]:
    """Makes (params, extra) -> predict_fn, compiled once for all params and extras.

    Args:
      length: the most tokens in a greedy prediction, EOS included.
      labels_LxS: the ids of L labels, to be scored instead of decoding. The best is
        predicted, so that no prediction is illegal.
    """
    labels = labels_LxS is not None
    decode = decoding.label_scores if labels else decoding.greedy

    def of_tasks(
        params: Any, inputs: jax.Array, extra: Extra, last: Any, tasks: Any
    ) -> jax.Array:
        return decode(model, params, inputs, extra.of_tasks(tasks), last)

    fn = jax.jit(
        of_tasks,
        static_argnums=() if labels else 3,
        out_shardings=partitioning.replicated(mesh),  # every host has all of them
    )

    def with_extra(params: Any, extra: Extra) -> PredictFn:
        def run_model(
            inputs_NxT: np.ndarray, last: Any, tasks_N: np.ndarray | None
        ) -> np.ndarray:
            rows = partitioning.host_rows(mesh, len(inputs_NxT))
            whole = {"inputs": inputs_NxT}
            whole |= {} if tasks_N is None else {"tasks": tasks_N}
            own = {name: x[rows] for name, x in whole.items()}
            batch = partitioning.shard_batch(own, mesh)
            arguments = params, batch["inputs"], extra, last, batch.get("tasks")
            with jax.set_mesh(mesh):
                return jax.device_get(fn(*arguments))

        def best_labels(
            inputs_NxT: np.ndarray,
            own_NxL: np.ndarray | bool = True,
            tasks_N: np.ndarray | None = None,
        ) -> np.ndarray:
            assert labels_LxS is not None
            scores_NxL = run_model(inputs_NxT, labels_LxS, tasks_N)
            best_N = np.argmax(np.where(own_NxL, scores_NxL, -np.inf), axis=1)
            return labels_LxS[best_N]

        def decoded(
            inputs_NxT: np.ndarray, tasks_N: np.ndarray | None = None
        ) -> np.ndarray:
            return run_model(inputs_NxT, length, tasks_N)

        return best_labels if labels else decoded

    return with_extra


def predict_in_batches(
    predict_fn: PredictFn,
    inputs_NxT: np.ndarray,
    batch_size: int,
    own_NxL: np.ndarray | None = None,
    tasks_N: np.ndarray | None = None,
) -> np.ndarray:
    """Predicts for any number of inputs, in batches of one size.

    Inputs of similar length are batched together, padded to a bucket. The last batch
    repeats its last row, and the extra predictions are dropped.

    Args:
      own_NxL: which of the labels each input may have; None: all, or no labels.
      tasks_N: each input's place in a bank of prompts; None without one.

    Returns:
      [N, S] token ids.
    """
    sizes = np.count_nonzero(inputs_NxT, axis=1)
    order = np.argsort(sizes, kind="stable")
    more = {"own_NxL": own_NxL, "tasks_N": tasks_N}
    more = {name: x for name, x in more.items() if x is not None}
    outputs = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        length = batching.bucket(sizes[rows[-1]], inputs_NxT.shape[1])
        inputs = _filled(inputs_NxT[rows, :length], batch_size)
        own = {name: _filled(x[rows], batch_size) for name, x in more.items()}
        outputs.append(np.asarray(predict_fn(inputs, **own))[: len(rows)])
    return np.concatenate(outputs)[np.argsort(order)]


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """As many rows as `size`; the last is repeated."""
    more = (0, size - len(rows)), *((0, 0),) * (rows.ndim - 1)
    return np.pad(rows, more, mode="edge")


def predict_texts(
    predict_fn: PredictFn,
    inputs_NxT: np.ndarray,
    batch_size: int,
    vocabulary: Vocabulary,
    own_NxL: np.ndarray | None = None,
    tasks_N: np.ndarray | None = None,
) -> Sequence[str]:
    """The predictions of `predict_in_batches`, as texts."""
    known = own_NxL, tasks_N
    tokens_NxS = predict_in_batches(predict_fn, inputs_NxT, batch_size, *known)
    return [vocabulary.decode(row) for row in tokens_NxS.tolist()]
