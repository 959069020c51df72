import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.models.networks.scaling import MinMaxScaler, PerSeriesScaler, StandardScaler

rows = arrays(np.float64, (12, 3), elements=st.floats(-1e4, 1e4, width=32))


def standardised(scaler: StandardScaler, values: np.ndarray) -> np.ndarray:
    return scaler.transform(torch.as_tensor(values, dtype=torch.float32)).numpy()


@given(rows)
def test_training_values_are_standardised_and_in_range(values):
    scaler = StandardScaler.fit(values, limit=1e9)
    expected = (values - values.mean(0)) / np.where(values.std(0) > 1e-6, values.std(0), 1)
    close = {"atol": 2e-3 / np.where(values.std(0) > 1e-6, values.std(0), 1).min() + 1e-3, "rtol": 1e-3}
    np.testing.assert_allclose(standardised(scaler, values), expected, **close)
    ranged = MinMaxScaler.fit(values).transform(values)
    varied = np.ptp(values, axis=0) > 1e-6
    assert (ranged.min(0) == 0).all()
    assert (ranged.max(0)[varied] == 1).all()


def test_later_values_are_clipped_where_training_never_was():
    values = np.array([[0.0], [10.0]])
    assert MinMaxScaler.fit(values).transform(np.array([[5.0], [14.0], [99.0], [-99.0]])).ravel() == pytest.approx(
        [0.5, 1.4, 1.5, -0.5]
    )
    assert standardised(StandardScaler.fit(values), np.array([[5.0], [10.0], [1e6], [-1e6]])).ravel() == pytest.approx(
        [0, 1, 6, -6]
    )


def test_constant_missing_and_wild_values_stay_finite():
    values = np.array([[1.0, np.nan, 2.0], [1.0, np.nan, 4.0]])
    later = np.array([[1.0, 7.0, 1e9], [np.nan, np.nan, np.nan]])
    for scaled in (standardised(StandardScaler.fit(values), later), MinMaxScaler.fit(values).transform(later)):
        assert np.isfinite(scaled).all()
        assert np.abs(scaled).max() <= 10
    assert (standardised(StandardScaler.fit(values), later)[1] == 0).all()


def test_scale_of_a_series_is_its_recent_mean_and_a_floor():
    assert PerSeriesScaler().scale(torch.tensor([2.0, 0.0])).tolist() == pytest.approx([2.1, 0.1])
    assert PerSeriesScaler(floor=0.5).scale(torch.zeros(2)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler.fit(np.random.default_rng(0).normal(size=(9, 4))),
        MinMaxScaler.fit(np.random.default_rng(0).normal(size=(9, 4))),
        PerSeriesScaler(28, 0.3),
    ],
    ids=lambda scaler: scaler.kind,
)
def test_json_keeps_every_bit(scaler):
    again = type(scaler).from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.to_json() == scaler.to_json()
