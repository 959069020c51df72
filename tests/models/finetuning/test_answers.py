"""How the answers of heads are read as a distribution of units."""

import numpy as np
import pytest
import torch

from pipeline.models.finetuning.answers import EDGES, Reading, heads_of, targets_of
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.settings import QUANTILES


def test_classes_are_read_as_a_distribution():
    chance = torch.zeros(1, 7, len(EDGES))
    chance[..., 0], chance[..., 4], chance[..., 5] = 0.5, 0.25, 0.25
    mean, grid = Reading("cross_entropy").read({"units": torch.log(chance + 1e-12)}, np.array([8.0]))
    levels = np.array(GRID_LEVELS)
    assert (grid[0, 0][levels <= 0.5] == 0).all()
    assert grid[0, 0, list(GRID_LEVELS).index(0.75)] == pytest.approx(8.0)
    assert grid[0, 0, list(GRID_LEVELS).index(0.9)] == pytest.approx(8 * (1 + 0.5 * 0.6))
    assert mean[0, 0] == pytest.approx(8 * (0.25 * 0.875 + 0.25 * 1.25))


def test_units_find_their_class():
    heads = heads_of("cross_entropy", 8, 0.0)
    ratio = torch.tensor([[0.0, 0.2, 0.25, 0.3, 1.0, 19.0, 400.0]])
    assert targets_of(heads, ratio, ratio)["units"].tolist() == [[0, 1, 1, 2, 4, 12, 12]]


def test_points_get_the_spread_that_they_missed_by():
    random = np.random.default_rng(3)
    point = torch.full((400, 7, 1), 2.0)
    came = torch.as_tensor(2.0 + random.normal(0, 0.5, (400, 7)))
    reading = Reading.learn("mse", {"units": point}, came, torch.ones(400, 7, dtype=torch.bool))
    mean, grid = reading.read({"units": point[:1]}, np.array([10.0]))
    assert mean[0, 0] == 20.0
    assert grid[0, 0, list(GRID_LEVELS).index(0.9)] == pytest.approx(20 + 10 * 0.5 * 1.2816, abs=0.4)


def test_the_median_of_the_mae_head_is_not_taken_for_the_mean():
    random = np.random.default_rng(3)
    came = torch.as_tensor(random.exponential(1.0, (2000, 7)))
    point = torch.full((2000, 7, 1), float(np.log(2)))
    reading = Reading.learn("mae", {"units": point}, came, torch.ones(2000, 7, dtype=torch.bool))
    assert reading.read({"units": point[:1]}, np.array([1.0]))[0][0, 0] == pytest.approx(1.0, abs=0.03)


def test_a_chance_of_no_sale_sets_low_quantiles_to_zero():
    values = torch.linspace(1, 2, len(QUANTILES)).expand(1, 7, -1)
    sold = torch.log(torch.tensor([0.4, 0.6])).expand(1, 7, 2)
    answers = {"units": values, "mean": torch.ones(1, 7, 1), "sold": sold, "revenue": torch.ones(1, 7, 1)}
    grid = Reading("multi_task").read(answers, np.array([1.0]))[1]
    levels = np.array(GRID_LEVELS)
    assert (grid[0, 0][levels < 0.4] == 0).all()
    assert (grid[0, 0][levels > 0.41] > 1).all()
