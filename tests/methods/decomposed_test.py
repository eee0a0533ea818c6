"""Prompts of less: their formulas, their counts, and where they start."""

import jax
import numpy as np
import pytest
import tiny

from prompt_tuning import method_settings, methods
from prompt_tuning.errors import UserError
from prompt_tuning.methods import decomposed
from prompt_tuning.settings import Run, Settings

START = methods.Start((), list, np.random.default_rng(1).normal(size=(6, 16)))
RUN = Run(method="decomposed", prompt_length=6, prompt_init="file", prompt_file="p.npy")
KINDS = ("dpt", "ulpt", "mpt")


def begun(kind, rank=0, seed=0, **options):
    own = method_settings.Decomposed(kind=kind, rank=rank, **options)
    method = methods.of(Settings(RUN, decomposed=own))
    return method, method.init(jax.random.key(seed), tiny.params(), START)


def prompt(method, trained):
    return np.asarray(method.fold(trained, None)[1].prompt.vectors)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("dpt", 2 * (6 + 16)), ("ulpt", 6 * 2 + 2 * 16), ("mpt", 6 * 16 + 2 * (6 + 16))],
)
def test_their_parameters_are_those_of_the_papers(kind, expected):
    _, trained = begun(kind, rank=2)
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == expected


def test_the_papers_own_counts():
    """Xiao et al., Figure 1: 11.2K with T5-Large, P = 100 and R = 10."""
    assert decomposed.KINDS["dpt"].rank * (100 + 1024) == 11_240
    assert decomposed.KINDS["ulpt"].rank * 100 + 2 * 768 == 1_736, "2% of 76,800"


def test_each_is_its_formula():
    rng = np.random.default_rng(0)
    for kind in KINDS:
        method, trained = begun(kind, rank=3, projection=7 * (kind == "ulpt"))
        new = {name: rng.normal(size=x.shape) for name, x in trained.items()}
        drawn = np.random.RandomState(7).standard_normal((3, 16)) / np.sqrt(3)
        expected = {
            "dpt": lambda left, right: left @ right,
            "ulpt": lambda codes, scale, shift: (codes @ drawn) * scale + shift,  # noqa: B023
            "mpt": lambda shared, columns, rows: shared * (columns @ rows),
        }[kind](**new)
        found = prompt(method, jax.tree.map(np.float32, new))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_dpt_starts_as_the_nearest_product():
    """Eckart and Young: what is missed are the smaller singular values."""
    first = START.prompt_PxD
    values = np.linalg.svd(first, compute_uv=False)
    for rank in (1, 4, 6):
        missed = np.linalg.norm(prompt(*begun("dpt", rank)) - first)
        expected = np.sqrt((values[rank:] ** 2).sum())
        assert missed == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_ulpt_starts_as_near_as_its_projection_lets_it():
    """What is missed is orthogonal to the projection; with R = D nothing is missed."""
    first = START.prompt_PxD
    missed = prompt(*begun("ulpt", 3)) - first
    options = method_settings.Decomposed(kind="ulpt")
    across = missed @ decomposed.projection(3, 16, options).T
    np.testing.assert_allclose(across, 0, atol=1e-4)
    assert np.linalg.norm(missed) < np.linalg.norm(first - first.mean(0))


def test_mpts_factors_have_no_effect_at_first_whatever_the_rank():
    for rank in (1, 3):
        method, trained = begun("mpt", rank)
        first = START.prompt_PxD.astype(np.float32)
        np.testing.assert_array_equal(prompt(method, trained), first)
        gradient = jax.grad(lambda own: prompt_sum(method, own))(trained)  # noqa: B023
        moved = np.abs(gradient["rows"]).max(axis=1)
        assert (moved > 0).all(), "each factor learns"


def prompt_sum(method, trained):
    return method.fold(trained, None)[1].prompt.vectors.sum()


def test_the_projection_is_not_the_seeds():
    """Prompts of several seeds are trained in one step, with one method."""
    method, first = begun("ulpt", 2, seed=0)
    _, other = begun("ulpt", 2, seed=1)
    np.testing.assert_array_equal(prompt(method, first), prompt(method, other))
    own = (method_settings.Decomposed(projection=seed) for seed in (0, 1))
    assert not np.array_equal(*(decomposed.projection(2, 16, one) for one in own))


def test_without_a_rank_it_is_the_papers_or_what_the_prompt_can_have():
    assert begun("dpt")[1]["left"].shape == (6, 6), "10 in the paper"
    assert begun("ulpt")[1]["codes"].shape == (6, 2)
    assert begun("mpt")[1]["rows"].shape == (1, 16)


def test_a_rank_that_no_prompt_of_this_shape_has_is_refused():
    with pytest.raises(UserError, match=r"decomposed\.rank is 7.*at most 6"):
        begun("dpt", 7)
