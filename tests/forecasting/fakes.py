"""A forecaster with known distributions, and panels that hold just what it reads."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from scipy import stats

from pipeline.lake import Lake
from pipeline.models.base import Dependence, Forecast, TrainingReport, silent
from pipeline.models.panel import Panel
from pipeline.models.quantiles import whole_units
from pipeline.settings import QUANTILES, Settings

AS_OF = date(2017, 11, 26)
LEVELS = np.array([0.005, 0.01, 0.02, *np.arange(0.05, 0.951, 0.025), 0.97, 0.98, 0.99, 0.995])


def make_panel(items: list[str], *, locations: list[str] | None = None, categories: list[str] | None = None) -> Panel:
    """A panel of some items whose arrays hold nothing; categories by position in the list of all names."""
    count, days = len(items), 3
    names = tuple(sorted(set(categories or ["all"])))
    return Panel(
        item_id=np.array(items, dtype=np.str_),
        location=np.array(locations or [""] * count, dtype=np.str_),
        first_day=AS_OF - timedelta(days=days - 1),
        units=np.zeros((count, days), np.float32),
        units_winsorised=np.zeros((count, days), np.float32),
        price=np.ones((count, days), np.float32),
        promotion=np.zeros((count, days, 0), np.float32),
        promotion_kinds=(),
        calendar=np.zeros((days, 0), np.float32),
        calendar_names=(),
        closed=np.zeros(days, np.bool_),
        first_sold=np.zeros(count, np.int64),
        text=np.zeros((count, 0), np.float32),
        category=np.array([names.index(c) for c in categories] if categories else [0] * count, np.int64),
        category_names=names,
    )


def rate_of(item: str) -> float:
    """Expected units a day of an item: from rarely sold to a best-seller, fixed by its name."""
    place = int.from_bytes(blake2b(item.encode(), digest_size=4).digest(), "big") / 2**32
    return float(np.exp(np.log(0.02) + place * np.log(30 / 0.02)))


@dataclass
class GammaForecaster:
    """Every day of every item is a gamma variable, rounded to whole units."""

    dependence: Dependence = field(default_factory=Dependence)
    rates: dict[str, float] = field(default_factory=dict)
    shape: float = 1.5
    name: str = "gamma"
    report: TrainingReport = field(default_factory=TrainingReport)
    with_grid: bool = True
    lookback_days: int = 730

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Any = silent) -> Forecast:
        rate = np.array([self.rates.get(item, rate_of(item)) for item in panel.item_id.tolist()])
        week = 1 + 0.3 * np.sin(np.arange(horizon) * 2 * np.pi / 7)
        scale = (rate[:, None] * week) / self.shape
        unit = stats.gamma.ppf(LEVELS, self.shape)
        contract = stats.gamma.ppf(QUANTILES, self.shape)
        return Forecast(
            mean=self.mean_of_rounded(scale),
            quantiles=whole_units(scale[:, :, None] * contract),
            grid=scale[:, :, None] * unit if grid and self.with_grid else None,
            grid_levels=LEVELS if grid and self.with_grid else None,
        )

    def mean_of_rounded(self, scale: np.ndarray) -> np.ndarray:
        """E⌊x + ½⌋ of a gamma variable: the sum of P(x ≥ k − ½)."""
        k = np.arange(1, 400)
        flat = np.array([stats.gamma.sf((k - 0.5) / s, self.shape).sum() for s in scale.ravel()])
        return flat.reshape(scale.shape)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        return {"kind": "gamma"}


def write_demand(
    lake: Lake, rows: list[tuple[str, str, date, int]], *, known_on: date | None = None, part: str = ""
) -> None:
    """A demand ledger of sales (item, location, day, units) at a price of 2, each known on its own day by default."""
    table = pa.table(
        {
            "item_id": [item for item, *_ in rows],
            "location": [location for _, location, *_ in rows],
            "demand_day": pa.array([day for _, _, day, _ in rows], pa.date32()),
            "reason": ["sale"] * len(rows),
            "units": [units for *_, units in rows],
            "lines": [1] * len(rows),
            "revenue": [2.0 * units for *_, units in rows],
            "known_on": pa.array([known_on or day for _, _, day, _ in rows], pa.date32()),
        }
    )
    with lake.connect() as con:
        con.register("sales", table)
        lake.write_partitions(con, "demand_changes", "SELECT * FROM sales", part=part or uuid4().hex)


def some_settings(**shop: Any) -> Settings:
    """Settings of a small shop: the horizon and paths of the default."""
    return Settings.model_validate(
        {
            "shop": {"name": "Test", "country": "US", "timezone": "UTC", "currency": "USD"} | shop,
            "sources": [{"mapping": "generated-shop"}],
        }
    )
