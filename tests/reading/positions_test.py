"""What positions do: gradients by finite differences, variants as planted."""

import jax
import numpy as np
import tiny

from prompt_tuning import partitioning
from prompt_tuning.reading import positions
from prompt_tuning.runs import parts
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import batching, losses

PROMPT = tiny.prompt(3)


PARAMS = tiny.params()
GRADIENT = jax.jit(positions.mask_gradient(tiny.MODEL))


@jax.jit
def example_losses(batch, vectors):
    logits = tiny.MODEL.apply({"params": PARAMS}, batch, Extra(placing.prefix(vectors)))
    each = (logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"])

    def of_one(*row):
        return losses.cross_entropy(*(x[None] for x in row), 0.0)[0]

    return jax.vmap(of_one)(*each)


def test_the_gradient_of_the_mask_is_that_of_finite_differences():
    batch = tiny.batch(examples=2)
    found_BxP = GRADIENT(PARAMS, placing.prefix(PROMPT), batch)
    for p in range(3):
        step_Px1 = 1e-2 * (np.arange(3) == p)[:, None]
        up_B = example_losses(batch, (PROMPT * (1 + step_Px1)).astype(np.float32))
        down_B = example_losses(batch, (PROMPT * (1 - step_Px1)).astype(np.float32))
        expected_B = (up_B - down_B) / 2e-2
        np.testing.assert_allclose(found_BxP[:, p], expected_B, rtol=0.02, atol=2e-3)
    assert np.abs(found_BxP).min() > 1e-3


def test_importance_is_the_mean_size_of_the_gradients_of_all_examples():
    """Also of a last batch that is not full."""
    batch, mesh = tiny.batch(examples=11), partitioning.mesh()
    inputs, targets = (
        [row[row > 0] for row in batch[key]]
        for key in ("encoder_input_tokens", "decoder_target_tokens")
    )
    lengths = {"inputs": 6, "targets": 4}
    examples = batching.Examples("s", inputs, targets, lengths, {}, {}, {})
    batches = [*positions.in_batches(examples, 8, mesh)]
    assert len(batches) == 2
    model = parts.Model(mesh, tiny.MODEL, None, None)
    found = positions.importance(model, PARAMS, placing.prefix(PROMPT), batches)
    each_BxP = GRADIENT(PARAMS, placing.prefix(PROMPT), batch)
    expected = np.abs(each_BxP).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_variants_of_a_planted_prompt():
    table = np.concatenate([np.eye(4), -np.eye(4)])
    prompt = 3 * table[[5, 0, 2]] + 0.1
    found = {name: (x, mask) for name, x, mask in positions.variants(prompt, table)}
    assert [*found] == [
        *(f"shuffled, draw {i}" for i in (1, 2, 3)),
        *("no prompt", "its first position", "its first 2"),
        *(f"rounded to the nearest pieces by {m}" for m in ("cosine", "l2")),
    ]
    for draw in (1, 2, 3):
        shuffled, mask = found[f"shuffled, draw {draw}"]
        assert sorted(shuffled.tolist()) == sorted(prompt.tolist()) and mask.all()
    assert found["its first 2"][1].tolist() == [True, True, False]
    for measure in ("cosine", "l2"):
        rows, _ = found[f"rounded to the nearest pieces by {measure}"]
        np.testing.assert_array_equal(rows, table[[5, 0, 2]])
    assert len([*positions.variants(prompt, None)]) == 6


def test_a_vector_of_length_zero_slopes_nowhere():
    zero = placing.prefix(np.zeros_like(PROMPT))
    found = GRADIENT(PARAMS, zero, tiny.batch(examples=2))
    np.testing.assert_allclose(found, 0, atol=1e-6)
