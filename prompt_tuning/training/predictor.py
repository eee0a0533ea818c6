"""Predicting with a frozen model and what was trained, compiled only once."""

import functools
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
# labels it may be given which of them each input may have, too: bool [N, L].
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
    fn = jax.jit(
        functools.partial(decoding.label_scores if labels else decoding.greedy, model),
        static_argnums=() if labels else 3,
        out_shardings=partitioning.replicated(mesh),  # every host has all of them
    )

    def with_extra(params: Any, extra: Extra) -> PredictFn:
        def run_model(inputs_NxT: np.ndarray, last: Any) -> np.ndarray:
            rows = partitioning.host_rows(mesh, len(inputs_NxT))
            batch = partitioning.shard_batch({"inputs": inputs_NxT[rows]}, mesh)
            with jax.set_mesh(mesh):
                return jax.device_get(fn(params, batch["inputs"], extra, last))

        def best_labels(
            inputs_NxT: np.ndarray, own_NxL: np.ndarray | bool = True
        ) -> np.ndarray:
            assert labels_LxS is not None
            scores_NxL = run_model(inputs_NxT, labels_LxS)
            best_N = np.argmax(np.where(own_NxL, scores_NxL, -np.inf), axis=1)
            return labels_LxS[best_N]

        def decoded(inputs_NxT: np.ndarray) -> np.ndarray:
            return run_model(inputs_NxT, length)

        return best_labels if labels else decoded

    return with_extra


def predict_in_batches(
    predict_fn: PredictFn,
    inputs_NxT: np.ndarray,
    batch_size: int,
    own_NxL: np.ndarray | None = None,
) -> np.ndarray:
    """Predicts for any number of inputs, in batches of one size.

    Inputs of similar length are batched together, padded to a bucket. The last batch
    repeats its last row, and the extra predictions are dropped.

    Args:
      own_NxL: which of the labels each input may have; None: all, or no labels.

    Returns:
      [N, S] token ids.
    """
    sizes = np.count_nonzero(inputs_NxT, axis=1)
    order = np.argsort(sizes, kind="stable")
    outputs = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        length = batching.bucket(sizes[rows[-1]], inputs_NxT.shape[1])
        missing = batch_size - len(rows)
        parts = [inputs_NxT[rows, :length]]
        parts += [] if own_NxL is None else [own_NxL[rows]]
        filled = [np.pad(part, ((0, missing), (0, 0)), mode="edge") for part in parts]
        outputs.append(np.asarray(predict_fn(*filled))[: len(rows)])
    return np.concatenate(outputs)[np.argsort(order)]


def predict_texts(
    predict_fn: PredictFn,
    inputs_NxT: np.ndarray,
    batch_size: int,
    vocabulary: Vocabulary,
    own_NxL: np.ndarray | None = None,
) -> Sequence[str]:
    """The predictions of `predict_in_batches`, as texts."""
    tokens_NxS = predict_in_batches(predict_fn, inputs_NxT, batch_size, own_NxL)
    return [vocabulary.decode(row) for row in tokens_NxS.tolist()]
