import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.models.scaling import MinMaxScaler, PerSeriesScaler, StandardScaler, scaler_from_json

rows = arrays(np.float64, (12, 3), elements=st.floats(-1e4, 1e4, width=32))


@given(rows)
def test_standard_and_min_max_invert(values):
    for scaler in (StandardScaler.fit(values, limit=1e9), MinMaxScaler.fit(values, slack=1e9)):
        np.testing.assert_allclose(scaler.inverse(scaler.transform(values)), values, atol=0.02, rtol=1e-4)


def test_training_values_are_standardised_and_in_range():
    values = np.random.default_rng(1).normal(5, 3, (500, 2))
    standard = StandardScaler.fit(values).transform(values)
    np.testing.assert_allclose([standard.mean(), standard.std()], [0, 1], atol=0.02)
    ranged = MinMaxScaler.fit(values).transform(values)
    assert (ranged.min(), ranged.max()) == (0, 1)


def test_constant_missing_and_wild_values_stay_finite():
    values = np.array([[1.0, np.nan, 2.0], [1.0, np.nan, 4.0]])
    for scaler in (StandardScaler.fit(values), MinMaxScaler.fit(values)):
        scaled = scaler.transform(np.array([[1.0, 7.0, 1e9], [np.nan, np.nan, np.nan]]))
        assert np.isfinite(scaled).all()
        assert np.abs(scaled).max() <= 10


def test_scale_of_a_series_is_its_recent_mean_and_a_floor():
    units = np.concatenate([np.full((1, 100), 50.0), np.full((1, 56), 2.0)], axis=1)
    assert PerSeriesScaler().scale(units) == pytest.approx([2.1])
    assert PerSeriesScaler(floor=0.5).scale(np.zeros((2, 0))) == pytest.approx([0.5, 0.5])


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
    again = scaler_from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.to_json() == scaler.to_json()
    if not isinstance(scaler, PerSeriesScaler):
        values = np.random.default_rng(5).normal(size=(7, 4))
        assert again.transform(values).tobytes() == scaler.transform(values).tobytes()
