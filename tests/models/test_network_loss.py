"""The loss that networks learn by: which orders are cut, and whom it weighs."""

from types import SimpleNamespace

import torch

from pipeline.models.networks.loss import weighted_loss, window_weights


class Heard:
    """A likelihood whose loss is the units that it is asked about."""

    def loss(self, units: torch.Tensor) -> torch.Tensor:
        return units


def test_orders_beyond_the_usual_are_cut_and_days_without_a_sale_stay():
    batch = SimpleNamespace(scale=torch.tensor([[2.0], [2.0]]), base_mu=torch.log(torch.tensor([[1.0], [5.0]])))
    units = torch.tensor([[0.0, 0.4, 30.0, 500.0], [0.0, 3.0, 55.0, 500.0]])
    every = torch.eye(8).reshape(8, 2, 4)
    cut = [float(weighted_loss(Heard(), batch, units, weights)) for weights in every]
    assert cut == [0.0, 1.0, 30.0, 40.0, 0.0, 3.0, 55.0, 60.0]


def test_windows_weigh_by_the_root_of_their_scale_and_days_that_do_not_count_by_nothing():
    counts = torch.tensor([[True, False], [True, True]])
    weights = window_weights(torch.tensor([1.0, 9.0]), torch.tensor([1.0, 1.0], dtype=torch.float64), counts)
    assert weights.tolist() == [[0.5, 0.0], [1.5, 1.5]]
    twice = window_weights(torch.tensor([1.0, 9.0]), torch.tensor([3.0, 1.0], dtype=torch.float64), counts)
    assert twice.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert weights.dtype == torch.float32
