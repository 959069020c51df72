"""Sums at past origins: weeks and the whole stretch of each series, from joint sample paths as the night makes them.

The scores of days cannot tell whether sums are right: days may be calibrated and their sums far too narrow.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.backtesting import scores, slices
from pipeline.backtesting.scoring import POOLED, OriginFacts, ScoreRow
from pipeline.models.base import Dependence, Forecast
from pipeline.models.panel import Panel
from pipeline.models.paths import Paths, SeriesPaths, finest, path_quantiles, recentred
from pipeline.models.quantiles import quantile_loss
from pipeline.settings import QUANTILES

Array = NDArray[np.float64]

WEEK = 7
PATHS = 200

ReadSums = Callable[[str, OriginFacts], tuple[Array, Array]]
"""(S, P) means and (S, P, Q) quantiles of one model's sums at one origin; P periods as of `periods`."""


def periods(horizon: int) -> list[tuple[int, int]]:
    """First and last lead of each period: whole weeks after the origin, then the whole stretch."""
    weeks = [(start + 1, start + WEEK) for start in range(0, horizon - WEEK + 1, WEEK)]
    return [*weeks, (1, horizon)]


def forecast_sums(panel: Panel, forecast: Forecast, dependence: Dependence, model: str) -> tuple[Array, Array]:
    """Means (S, P) and quantiles (S, P, Q) of the periods of a forecast.

    Args:
        panel: the series, cut at the origin.
        forecast: their days, with the grid where the forecaster has one.
        dependence: how its days move together.
        model: name of the forecaster, of which the draws depend.
    """
    horizon = forecast.mean.shape[1]
    paths = Paths(panel.as_of, model, dependence, finest(forecast)[1], horizon, PATHS)
    series = SeriesPaths(paths, panel.item_id, panel.location, forecast)
    cut = periods(horizon)
    quantiles = np.empty((panel.series, len(cut), len(QUANTILES)))
    for row in range(panel.series):
        units, _ = series.draw(row)
        quantiles[row] = path_quantiles(np.stack([units[first - 1 : last].sum(axis=0) for first, last in cut]))
    stated = _sums(forecast.mean, cut)
    return stated, recentred(quantiles, stated, _sums(series.mean, cut))


def score_sums(facts: Sequence[OriginFacts], models: Sequence[str], read: ReadSums) -> Iterator[ScoreRow]:
    """Rows of `backtest_scores` for the sums: WQL, WAPE, bias and coverage of weeks (`…_week`) and of the stretch (`…_total`).

    Args:
        facts: the origins.
        models: forecasters, the model under test first.
        read: a model's sums at an origin.
    """
    horizon = facts[0].actual.shape[1]
    cut = periods(horizon)
    actual = np.concatenate([_sums(one.actual, cut) for one in facts])
    items = np.unique(np.concatenate([one.series.item_id for one in facts]), return_inverse=True)[1]
    levels = {"week": slice(0, len(cut) - 1), "total": slice(len(cut) - 1, len(cut))}
    losses: dict[tuple[str, str], Array] = {}
    for model in models:
        means, quantiles = zip(*(read(model, one) for one in facts), strict=True)
        mean, quantile = np.concatenate(means), np.concatenate(quantiles)
        for level, chosen in levels.items():
            labels = _labels(facts, cut[chosen])
            came, expected = actual[:, chosen].reshape(-1), mean[:, chosen].reshape(-1)
            said = quantile[:, chosen].reshape(len(came), -1)
            losses[model, level] = quantile_loss(came, said)
            for origin, name, value, mine in _groups(labels):
                for metric, score in _scores(came[mine], expected[mine], said[mine], losses[model, level][mine]):
                    yield (model, origin, name, value, f"{metric}_{level}", score, int(mine.sum()))
    for level, chosen in levels.items():
        item = np.repeat(items, len(cut[chosen]))
        for other in models[1:]:
            gain = scores.paired_gain(losses[models[0], level], losses[other, level], item)
            for ending, score in (("", gain.gain), ("_low", gain.low), ("_high", gain.high)):
                metric = f"wql_{level}_gain_on_{other}{ending}"
                yield (models[0], POOLED, POOLED, POOLED, metric, score, len(item))


def _sums(daily: Array, cut: Sequence[tuple[int, int]]) -> Array:
    return np.stack([daily[:, first - 1 : last].sum(axis=1) for first, last in cut], axis=1)


def _labels(facts: Sequence[OriginFacts], cut: Sequence[tuple[int, int]]) -> dict[str, NDArray[np.str_]]:
    """Slice → label of each sum, series by series, period by period; the origin among them."""
    count = len(cut)
    found = {
        name: np.concatenate([np.repeat(one.series.labels[name], count) for one in facts])
        for name in facts[0].series.labels
    }
    bucket = slices.horizon_bucket(np.array([last for _, last in cut]))
    found["horizon"] = np.concatenate([np.tile(bucket, len(one.actual)) for one in facts])
    holiday = [
        np.array(["holiday" if (one.holiday[first - 1 : last] == "holiday").any() else "other" for first, last in cut])
        for one in facts
    ]
    found["holiday"] = np.concatenate([np.tile(of, len(one.actual)) for of, one in zip(holiday, facts, strict=True)])
    found["origin"] = np.concatenate([np.full(len(one.actual) * count, one.origin.isoformat()) for one in facts])
    return found


def _groups(labels: dict[str, NDArray[np.str_]]) -> Iterator[tuple[str, str, str, NDArray[np.bool_]]]:
    origins = labels["origin"]
    everything = np.ones(len(origins), dtype=bool)
    for origin, of_origin in [(POOLED, everything), *((str(day), origins == day) for day in np.unique(origins))]:
        yield origin, POOLED, POOLED, of_origin
        for name, label in labels.items():
            if name != "origin":
                for value in np.unique(label[of_origin]):
                    yield origin, name, str(value), of_origin & (label == value)


def _scores(came: Array, expected: Array, said: Array, loss: Array) -> Iterator[tuple[str, float]]:
    units = float(came.sum())
    yield "wql", float(loss.sum()) / units if units > 0 else float("nan")
    yield "wape", scores.wape(came, expected)
    yield "bias", scores.bias(came, expected)
    for share in (0.5, 0.8, 0.9):
        yield f"coverage_{round(100 * share)}", scores.coverage(came, said, share)
