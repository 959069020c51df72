import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.networks.distribution import HurdleLogNormal
from pipeline.settings import QUANTILES

LEVELS = torch.tensor(QUANTILES)


def one(hurdle=0.3, weight=0.5, mu=(0.0, 0.8), sigma=(0.5, 0.9), scale=3.0) -> HurdleLogNormal:
    return HurdleLogNormal(
        torch.tensor([hurdle]), torch.tensor([weight]), torch.tensor([mu]), torch.tensor([sigma]), torch.tensor([scale])
    )


def chances(distribution: HurdleLogNormal, most: int) -> np.ndarray:
    """P(Y = 0 … most), from the CDF."""
    return np.diff(distribution.cdf(torch.arange(-1.0, most + 1)).double().numpy())


shapes = st.fixed_dictionaries(
    {
        "hurdle": st.floats(-4, 4),
        "weight": st.floats(-3, 3),
        "mu": st.tuples(st.floats(-3, 2), st.floats(-2, 3)),
        "sigma": st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)),
        "scale": st.floats(0.1, 500),
    }
)


@settings(max_examples=200, deadline=None)
@given(shapes)
def test_quantiles_are_whole_non_crossing_and_cover(shape):
    distribution = one(**shape)
    quantiles = distribution.quantiles(LEVELS)[0]
    assert torch.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert torch.equal(quantiles, quantiles.round())
    assert (quantiles.diff() >= 0).all()
    # the least whole number whose CDF reaches the level, up to float32
    within = quantiles < 1e5
    assert (distribution.cdf(quantiles)[within] >= LEVELS[within] - 2e-3).all()
    assert (distribution.cdf(quantiles - 1)[within] <= LEVELS[within] + 2e-3).all()


@settings(max_examples=100, deadline=None)
@given(shapes)
def test_the_finer_grid_rises_and_agrees_with_the_whole_units(shape):
    distribution = one(**shape)
    value = distribution.quantiles(LEVELS, whole=False)[0]
    whole = distribution.quantiles(LEVELS)[0]
    assert (value.diff() >= 0).all()
    assert torch.equal((value == 0), (whole == 0))
    assert ((whole - value).abs() <= 0.5 + 1e-5 * whole).all()


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0, 20.0])
def test_mean_is_the_mean_of_the_counts(scale):
    distribution = one(scale=scale, sigma=(0.4, 0.6))
    most = 4000
    expected = (chances(distribution, most) * np.arange(most + 1)).sum()
    assert float(distribution.mean()) == pytest.approx(expected, rel=5e-3)


def test_likelihood_is_that_of_the_counts():
    distribution = one()
    units = torch.arange(0.0, 40.0)
    hurdle, given_sale = distribution.log_likelihood(units)
    np.testing.assert_allclose((hurdle + given_sale).exp().numpy(), chances(distribution, 39), atol=1e-5)
    assert chances(distribution, 100_000).sum() == pytest.approx(1.0, abs=1e-4)


def test_likelihood_far_in_the_tails_is_finite_and_has_a_gradient():
    mu = torch.tensor([[0.0, 0.1]], requires_grad=True)
    distribution = HurdleLogNormal(torch.zeros(1), torch.zeros(1), mu, torch.full((1, 2), 0.1), torch.tensor([0.1]))
    loss = -sum(distribution.log_likelihood(torch.tensor([5e4])))
    loss.sum().backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(mu.grad).all()


def test_normal_scores_of_its_own_draws_are_standard_normal():
    distribution = one()
    random = np.random.default_rng(0)
    draws = random.choice(200, size=20_000, p=chances(distribution, 199) / chances(distribution, 199).sum())
    uniform = torch.tensor(random.random(20_000), dtype=torch.float32)
    scores = distribution.normal_scores(torch.tensor(draws, dtype=torch.float32), uniform).numpy()
    assert scores.mean() == pytest.approx(0, abs=0.03)
    assert scores.std() == pytest.approx(1, abs=0.03)
