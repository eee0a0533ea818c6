"""What positions do: gradients by finite differences, variants as planted."""

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning.reading import positions
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import losses

PROMPT = tiny.prompt(3)


def example_losses(batch, vectors):
    logits = tiny.MODEL.apply({"params": PARAMS}, batch, Extra(placing.prefix(vectors)))
    each = zip(
        logits,
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        strict=True,
    )
    return [losses.cross_entropy(*(x[None] for x in one), 0.0)[0] for one in each]


PARAMS = tiny.params()


def test_the_gradient_of_the_mask_is_that_of_finite_differences():
    batch = tiny.batch(examples=2)
    gradient = jax.jit(positions.mask_gradient(tiny.MODEL))
    found_BxP = gradient(PARAMS, placing.prefix(PROMPT), batch)
    assert found_BxP.shape == (2, 3)
    for p in range(3):
        step = np.ones((3, 1), np.float32)
        step[p] = 1e-2
        up, down = (
            np.array(
                example_losses(batch, PROMPT * (1 + sign * (step == step[p]) * 1e-2))
            )
            for sign in (1, -1)
        )
        expected_B = (up - down) / 2e-2
        np.testing.assert_allclose(found_BxP[:, p], expected_B, rtol=0.05, atol=5e-3)


def test_variants_of_a_planted_prompt():
    table = np.concatenate([np.eye(4), -np.eye(4)])
    prompt = 3 * table[[5, 0, 2]] + 0.1
    found = {name: (x, mask) for name, x, mask in positions.variants(prompt, table)}
    assert [*found] == [
        *(f"shuffled, draw {i}" for i in (1, 2, 3)),
        *(f"its first {k} positions" for k in (0, 1, 2)),
        *(f"rounded to the nearest pieces by {m}" for m in ("cosine", "l2")),
    ]
    for draw in (1, 2, 3):
        shuffled, mask = found[f"shuffled, draw {draw}"]
        assert sorted(shuffled.tolist()) == sorted(prompt.tolist()) and mask.all()
    assert found["its first 2 positions"][1].tolist() == [True, True, False]
    for measure in ("cosine", "l2"):
        rows, _ = found[f"rounded to the nearest pieces by {measure}"]
        np.testing.assert_array_equal(rows, table[[5, 0, 2]])
    assert len([*positions.variants(prompt, None)]) == 6


@pytest.mark.parametrize("length", [1, 3])
def test_a_vector_of_length_zero_slopes_nowhere(length):
    batch = tiny.batch(examples=2)
    zero = placing.prefix(np.zeros((length, tiny.CONFIG.emb_dim), np.float32))
    found = positions.mask_gradient(tiny.MODEL)(PARAMS, zero, batch)
    np.testing.assert_allclose(found, 0, atol=1e-6)
