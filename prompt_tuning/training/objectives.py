"""Pre-training objectives on token ids, span corruption and prefix LM; batches.

An objective is there for one document of any length, and for rows of packed text of
one length at once. Pure NumPy. Every function draws from the generator it is given, and
`batches` seeds one generator for each batch, so batch i does not depend on the batches
before it.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prompt_tuning.training.batching import teacher_forcing

EOS_ID = 1

NOISE_DENSITY, MEAN_SPAN = 0.15, 3.0  # T5's, of span corruption
SENTINELS = 100  # T5's, and so the most spans of a text

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

    Sentinels count down from vocab_size - 1. Tokens are [length], or [rows, length]
    with as many runs and as many marked tokens in each row.
    """
    is_first = is_in_run.copy()
    is_first[..., 1:] &= ~is_in_run[..., :-1]
    sentinels = vocab_size - np.cumsum(is_first, axis=-1)
    replaced = np.where(is_first, sentinels, tokens)[~is_in_run | is_first]
    return _with_eos(replaced.reshape(*tokens.shape[:-1], -1))


def _with_eos(tokens: np.ndarray) -> np.ndarray:
    return np.insert(tokens, tokens.shape[-1], EOS_ID, axis=-1)


def _noise(
    length: int, noise_density: float, mean_noise_span_length: float
) -> tuple[int, int]:
    """How many of a text's tokens are left out, and in how many spans."""
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean_noise_span_length), 1), length - noise)
    return noise, spans


def span_corruption(
    tokens: np.ndarray,
    rng: np.random.Generator,
    vocab_size: int,
    noise_density: float = NOISE_DENSITY,
    mean_noise_span_length: float = MEAN_SPAN,
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
    noise, spans = _noise(length, noise_density, mean_noise_span_length)
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
    tokens: np.ndarray, rng: np.random.Generator, input_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The objective of LM adaptation (paper section 2.2): continue a text.

    Args:
        tokens: [length] ids without EOS, at least 2.
        rng: draws where to split, uniformly in [1, length), below `input_length`.
        input_length: T, of the inputs, EOS included; at least 2.

    Returns:
        The text before the split and the text after it; both end with EOS.

    Raises:
        ValueError: fewer than 2 tokens.
    """
    split = rng.integers(1, min(_checked_length(tokens), input_length))
    return np.append(tokens[:split], EOS_ID), np.append(tokens[split:], EOS_ID)


def raw_length(input_length: int, target_length: int) -> int:
    """How many tokens of packed text make full inputs of span corruption, as in T5.

    Returns:
        The longest text whose inputs and targets fit, EOS included, and that has no
        more spans than there are sentinels.

    Raises:
        ValueError: not even 2 tokens fit.
    """
    longest = 0
    for length in range(2, input_length + target_length):
        noise, spans = _noise(length, NOISE_DENSITY, MEAN_SPAN)
        fits = length - noise + spans < input_length and noise + spans < target_length
        longest = length if fits and spans <= SENTINELS else longest
    if not longest:
        raise ValueError(
            f"inputs of {input_length} and targets of {target_length} tokens hold no "
            "text with a span left out"
        )
    return longest


def span_corruption_of_rows(
    tokens_BxL: np.ndarray, rng: np.random.Generator, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """`span_corruption` of packed text, with T5's noise: as many spans in each row.

    Args:
        tokens_BxL: ids of texts of one length, without EOS.
        rng: draws the spans.
        vocab_size: sentinels included.

    Returns:
        Inputs and targets, each with EOS at its end.
    """
    rows, length = tokens_BxL.shape
    noise, spans = _noise(length, NOISE_DENSITY, MEAN_SPAN)
    kept = _random_lengths_of_rows(rows, length - noise, spans, rng)
    lost = _random_lengths_of_rows(rows, noise, spans, rng)
    runs = np.stack([kept, lost], axis=2).reshape(rows, -1)
    starts = np.zeros((rows, length), np.int32)
    np.put_along_axis(starts, np.cumsum(runs, axis=1)[:, :-1], 1, axis=1)
    is_lost = np.cumsum(starts, axis=1) % 2 == 1
    return (
        _replace_runs(tokens_BxL, is_lost, vocab_size),
        _replace_runs(tokens_BxL, ~is_lost, vocab_size),
    )


def _random_lengths_of_rows(
    rows: int, total: int, parts: int, rng: np.random.Generator
) -> np.ndarray:
    """[rows, parts]: for each row what _random_lengths draws."""
    order = np.argsort(rng.random((rows, total - 1)), axis=1)
    cuts = np.sort(1 + order[:, : parts - 1], axis=1)
    return np.diff(cuts, prepend=0, append=total)


def prefix_lm_of_rows(
    tokens_BxL: np.ndarray, rng: np.random.Generator, input_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """`prefix_lm` of packed text: every target is full.

    Args:
        tokens_BxL: L = input_length + S - 2 ids without EOS.
        rng: draws where to split, uniformly in [1, input_length).
        input_length: T, of the inputs, EOS included.

    Returns:
        The text before the split and EOS, padded to [B, T]; and the S - 1 tokens after
        it and EOS.
    """
    rows, length = tokens_BxL.shape
    splits_Bx1 = rng.integers(1, input_length, size=(rows, 1))
    places_T = np.arange(input_length)
    before_BxT = _with_eos(tokens_BxL[:, : input_length - 1])
    inputs_BxT = np.where(places_T < splits_Bx1, before_BxT, 0)
    np.put_along_axis(inputs_BxT, splits_Bx1, EOS_ID, axis=1)
    after = splits_Bx1 + np.arange(length - input_length + 1)
    return inputs_BxT, _with_eos(np.take_along_axis(tokens_BxL, after, axis=1))


def _checked_length(tokens: np.ndarray) -> int:
    if len(tokens) < 2:
        raise ValueError(
            f"a text has {len(tokens)} tokens; an objective needs 2 or more to split it"
        )
    return len(tokens)


def batches(
    documents: Sequence[np.ndarray],
    objective: Objective,
    longest: int,
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
        objective: `prefix_lm` with its input_length bound, or `span_corruption` with
            its vocab_size.
        longest: the most tokens that the objective is given; of a longer document so
            many, from a random place on.
        batch_size: B.
        input_length: T, which inputs must fit.
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
            source, target = objective(_window(documents[chosen], longest, rng), rng)
            inputs[row, : len(source)] = source
            targets[row, : len(target)] = target[:target_length]
        yield teacher_forcing(inputs, targets)


def _window(tokens: np.ndarray, longest: int, rng: np.random.Generator) -> np.ndarray:
    if len(tokens) <= longest:
        return tokens
    start = rng.integers(len(tokens) - longest + 1)
    return tokens[start : start + longest]
