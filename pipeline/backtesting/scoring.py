"""From forecasts and what came to the rows of `backtest_scores`: every score, pooled and by slice."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.backtesting import scores, slices
from pipeline.models.panel import Panel
from pipeline.models.quantiles import LEVELS, quantile_loss

Array = NDArray[np.float64]
Labels = NDArray[np.str_]
Bools = NDArray[np.bool_]

ScoreRow = tuple[str, str, str, str, str, float, int]
"""One row of `backtest_scores`, in the order of `SCORE_COLUMNS`."""
SCORE_COLUMNS = ("model", "origin", "slice", "value_of_slice", "metric", "score", "forecasts")
POOLED = "all"


@dataclass(frozen=True)
class OriginSeries:
    """The scored series of one origin, all of it known at the origin.

    Attributes:
        origin: last day known to the forecasters.
        item_id: (S,) items.
        location: (S,) locations.
        scale: scales of MASE and RMSSE from the history up to the origin.
        labels: slice → (S,) label.
    """

    origin: date
    item_id: Labels
    location: Labels
    scale: scores.Scales
    labels: Mapping[str, Labels]


def origin_series(panel: Panel) -> OriginSeries:
    """What is kept of the panel of the scored series, cut at the origin."""
    return OriginSeries(
        origin=panel.as_of,
        item_id=panel.item_id,
        location=panel.location,
        scale=scores.scales(panel.units, panel.first_sold),
        labels={
            "volume": slices.volume_class(panel),
            "intermittency": slices.intermittency(panel),
            "age": slices.item_age(panel),
        },
    )


@dataclass(frozen=True)
class OriginFacts:
    """The series of one origin and what came.

    Attributes:
        series: the scored series.
        actual: (S, H) units that came.
        holiday: (H,) `holiday` or `other`.
    """

    series: OriginSeries
    actual: Array
    holiday: Labels

    @property
    def origin(self) -> date:
        """Last day known to the forecasters."""
        return self.series.origin


@dataclass(frozen=True)
class Pool:
    """What is the same for all models: actuals and labels of all origins, one entry per forecast (N)."""

    actual: Array
    series: NDArray[np.int64]
    item: NDArray[np.int64]
    scale: scores.Scales
    labels: Mapping[str, Labels]
    origin: Labels

    def groups(self) -> Iterator[tuple[str, str, str, Bools]]:
        """Every (origin or 'all', slice, value, which forecasts), each slice covering every forecast once."""
        everything = np.ones(len(self.actual), dtype=bool)
        origins = [(POOLED, everything)] + [(str(o), self.origin == o) for o in np.unique(self.origin)]
        for origin, of_origin in origins:
            yield origin, POOLED, POOLED, of_origin
            for name, label in self.labels.items():
                for value in np.unique(label[of_origin]):
                    yield origin, name, str(value), of_origin & (label == value)


def pool(facts: Sequence[OriginFacts]) -> Pool:
    """Lay the origins one after the other, series by series, day by day."""
    horizon = facts[0].actual.shape[1]
    of_series = [f.series for f in facts]
    sizes = [len(s.item_id) for s in of_series]
    lead = np.tile(slices.horizon_bucket(np.arange(1, horizon + 1)), sum(sizes))
    labels = {"horizon": lead}
    for name in of_series[0].labels:
        labels[name] = np.concatenate([np.repeat(s.labels[name], horizon) for s in of_series])
    labels["holiday"] = np.concatenate([np.tile(f.holiday, len(f.actual)) for f in facts])
    items = np.concatenate([np.repeat(s.item_id, horizon) for s in of_series])
    return Pool(
        actual=np.concatenate([f.actual.reshape(-1) for f in facts]),
        series=np.repeat(np.arange(sum(sizes)), horizon),
        item=np.unique(items, return_inverse=True)[1].astype(np.int64),
        scale=scores.Scales(
            np.concatenate([s.scale.absolute for s in of_series]), np.concatenate([s.scale.squared for s in of_series])
        ),
        labels=labels,
        origin=np.concatenate([np.full(f.actual.size, f.origin.isoformat()) for f in facts]),
    )


def score_models(
    facts: Sequence[OriginFacts],
    models: Sequence[str],
    read: Callable[[str, OriginFacts], tuple[Array, Array]],
) -> pd.DataFrame:
    """All scores of all models.

    Args:
        facts: the origins.
        models: the model under test first, then its references.
        read: (N,) mean and (N, Q) quantiles of one model at one origin, series by series.

    Returns:
        See `score_frame`.
    """
    together = pool(facts)
    rows: list[ScoreRow] = []
    losses: dict[str, Array] = {}
    for model in models:
        means, quantiles = zip(*(read(model, f) for f in facts), strict=True)
        mean, quantile = np.concatenate(means), np.concatenate(quantiles)
        losses[model] = quantile_loss(together.actual, quantile)
        for origin, name, value, chosen in together.groups():
            found = _scores(together, mean, quantile, losses[model], chosen)
            if name == POOLED:
                found |= _calibration(together, quantile, losses[model], chosen)
            rows += [(model, origin, name, value, metric, score, int(chosen.sum())) for metric, score in found.items()]
        rows += [(model, origin, POOLED, POOLED, "stability", *s) for origin, s in _stabilities(facts, means).items()]
    rows += _gains(together, models, losses)
    return score_frame(rows)


def score_frame(rows: Iterable[ScoreRow]) -> pd.DataFrame:
    """Rows as a frame with `SCORE_COLUMNS`; scores that have nothing to divide by are left out."""
    frame = pd.DataFrame(list(rows), columns=list(SCORE_COLUMNS))
    finite: pd.DataFrame = frame[np.isfinite(frame["score"])]
    return finite.reset_index(drop=True)


def _scores(together: Pool, mean: Array, quantiles: Array, loss: Array, chosen: Bools) -> dict[str, float]:
    actual, expected, series = together.actual[chosen], mean[chosen], together.series[chosen]
    quantile = quantiles[chosen]
    units = float(actual.sum())
    median = quantile[:, int(np.flatnonzero(np.isclose(LEVELS, 0.5))[0])]
    return {
        "wql": float(loss[chosen].sum()) / units if units > 0 else float("nan"),
        "wape": scores.wape(actual, expected),
        "wape_median": scores.wape(actual, median),
        "bias": scores.bias(actual, expected),
        "mae": scores.mae(actual, expected),
        "mse": scores.mse(actual, expected),
        "rmse": scores.rmse(actual, expected),
        "rmsse": scores.rmsse(actual, expected, series, together.scale),
        "mase": scores.mase(actual, expected, series, together.scale),
        "coverage_50": scores.coverage(actual, quantile, 0.5),
        "coverage_80": scores.coverage(actual, quantile, 0.8),
        "coverage_90": scores.coverage(actual, quantile, 0.9),
    }


def _calibration(together: Pool, quantiles: Array, loss: Array, chosen: Bools) -> dict[str, float]:
    """What is told for the whole and per origin only: PIT deciles and the bootstrap interval of the WQL."""
    deciles = scores.pit_deciles(together.actual[chosen], quantiles[chosen])
    low, high = scores.wql_interval(loss[chosen], together.actual[chosen], together.item[chosen])
    return {
        "wql_low": low,
        "wql_high": high,
        "pit_coverage_80": float(deciles[1:9].sum()),
        **{f"pit_{k + 1:02d}": float(share) for k, share in enumerate(deciles)},
    }


def _stabilities(facts: Sequence[OriginFacts], means: Sequence[Array]) -> dict[str, tuple[float, int]]:
    """Per later origin and pooled: how far its forecast moved from that of the origin before, on the days both have."""
    found: dict[str, tuple[float, int]] = {}
    all_now: list[Array] = []
    all_before: list[Array] = []
    for (before, mean_before), (now, mean_now) in pairwise(zip(facts, means, strict=True)):
        lag = (now.origin - before.origin).days
        horizon = now.actual.shape[1]
        if lag >= horizon:
            continue
        row = {key: k for k, key in enumerate(zip(before.series.item_id, before.series.location, strict=True))}
        keys = zip(now.series.item_id, now.series.location, strict=True)
        pairs = np.array([(row[key], k) for k, key in enumerate(keys) if key in row], dtype=np.int64).reshape(-1, 2)
        if not len(pairs):
            continue
        last = mean_before.reshape(-1, horizon)[pairs[:, 0], lag:].reshape(-1)
        tonight = mean_now.reshape(-1, horizon)[pairs[:, 1], : horizon - lag].reshape(-1)
        found[now.origin.isoformat()] = (scores.stability(tonight, last), len(last))
        all_now.append(tonight)
        all_before.append(last)
    if all_now:
        now_all, before_all = np.concatenate(all_now), np.concatenate(all_before)
        found[POOLED] = (scores.stability(now_all, before_all), len(now_all))
    return found


def _gains(together: Pool, models: Sequence[str], losses: Mapping[str, Array]) -> list[ScoreRow]:
    """WQL gain of the first model over each other one, with its interval, pooled and per origin."""
    rows: list[ScoreRow] = []
    for origin, name, _, chosen in together.groups():
        if name != POOLED:
            continue
        for other in models[1:]:
            gain = scores.paired_gain(losses[models[0]][chosen], losses[other][chosen], together.item[chosen])
            for ending, score in (("", gain.gain), ("_low", gain.low), ("_high", gain.high)):
                metric = f"wql_gain_on_{other}{ending}"
                rows.append((models[0], origin, POOLED, POOLED, metric, score, int(chosen.sum())))
    return rows


def summary(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Pooled scores as model × metric, models in the order they were scored."""
    pooled: Any = frame[(frame["origin"] == POOLED) & (frame["slice"] == POOLED)]
    table: Any = pooled.pivot_table(index="model", columns="metric", values="score", sort=False)
    chosen: pd.DataFrame = table.reindex(columns=list(metrics))
    return chosen
