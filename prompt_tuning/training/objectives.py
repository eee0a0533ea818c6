"""Pre-training objectives on token ids, span corruption and prefix LM; batches.

Pure NumPy. Every function draws from the generator it is given, and `batches` seeds one
generator for each batch, so batch i does not depend on the batches before it.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prompt_tuning.training.batching import teacher_forcing

EOS_ID = 1

# tokens, rng -> (inputs, targets), each with EOS appended.
Objective = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def _random_lengths(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Splits `total` into `parts` lengths of at least 1, all splits equally likely."""
    cuts = 1 + rng.permutation(total - 1)[: parts - 1]
    cuts.sort()
    return np.diff(cuts, prepend=0, append=total)


def _replace_runs(
    tokens: np.ndarray, is_in_run: np.ndarray, vocab_size: int
) -> np.ndarray:
    """Replaces each run of marked tokens by one sentinel, and appends EOS.

    Sentinels count down from vocab_size - 1.
    """
    is_first = is_in_run.copy()
    is_first[1:] &= ~is_in_run[:-1]
    sentinels = vocab_size - np.cumsum(is_first)
    replaced = np.where(is_first, sentinels, tokens)[~is_in_run | is_first]
    return np.append(replaced, EOS_ID)


def span_corruption(
    tokens: np.ndarray,
    rng: np.random.Generator,
    vocab_size: int,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
) -> tuple[np.ndarray, np.ndarray]:
    """T5's pre-training objective: random spans are left out, and are the target.

    Args:
        tokens: [length] ids without EOS, at least 2.
        rng: draws the spans.
        vocab_size: sentinels included; span i's sentinel is vocab_size - 1 - i.
        noise_density: share of the tokens that is left out.
        mean_noise_span_length: in tokens.

    Returns:
        The tokens with a sentinel in place of each span, and the spans, each after
        its sentinel; both end with EOS.

    Raises:
        ValueError: fewer than 2 tokens.
    """
    length = _checked_length(tokens)
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean_noise_span_length), 1), length - noise)
    kept = _random_lengths(length - noise, spans, rng)
    lost = _random_lengths(noise, spans, rng)
    # As in T5, kept and lost runs alternate, and a kept one comes first.
    is_lost = np.repeat(
        np.tile([False, True], spans), np.stack([kept, lost], axis=1).ravel()
    )
    return (
        _replace_runs(tokens, is_lost, vocab_size),
        _replace_runs(tokens, ~is_lost, vocab_size),
    )


def prefix_lm(
    tokens: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The objective of LM adaptation (paper section 2.2): continue a text.

    Args:
        tokens: [length] ids without EOS, at least 2.
        rng: draws where to split, uniformly in [1, length).

    Returns:
        The text before the split and the text after it; both end with EOS.

    Raises:
        ValueError: fewer than 2 tokens.
    """
    split = rng.integers(1, _checked_length(tokens))
    return np.append(tokens[:split], EOS_ID), np.append(tokens[split:], EOS_ID)


def _checked_length(tokens: np.ndarray) -> int:
    if len(tokens) < 2:
        raise ValueError(
            f"a text has {len(tokens)} tokens; an objective needs 2 or more to split it"
        )
    return len(tokens)


def batches(
    documents: Sequence[np.ndarray],
    objective: Objective,
    batch_size: int,
    input_length: int,
    target_length: int,
    seed: int,
    start_step: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of documents drawn at random, without end.

    Batch i depends on the seed and i alone, so a run that resumes at `start_step` sees
    what it would have seen. A cut target has no EOS, as its text did not end there.

    Args:
        documents: token ids without EOS, at least 2 in each.
        objective: `prefix_lm`, or `span_corruption` with its vocab_size bound.
        batch_size: B.
        input_length: T; longer inputs are cut.
        target_length: S; longer targets are cut.
        seed: for the choice of documents and the objective's draws.
        start_step: the number of the first batch.

    Yields:
        encoder_input_tokens [B, T]; and, all [B, S], decoder_input_tokens (the targets
        shifted right by one), decoder_target_tokens and decoder_loss_weights (1 on the
        target, 0 on padding). All are int32.
    """
    for step in itertools.count(start_step):
        rng = np.random.default_rng((seed, step))
        inputs = np.zeros((batch_size, input_length), np.int32)
        targets = np.zeros((batch_size, target_length), np.int32)
        for row, chosen in enumerate(rng.integers(len(documents), size=batch_size)):
            source, target = objective(documents[chosen], rng)
            inputs[row, : len(source)] = source[:input_length]
            targets[row, : len(target)] = target[:target_length]
        yield teacher_forcing(inputs, targets)
