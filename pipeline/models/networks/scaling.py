"""Scalers: standardisation, min-max and per-series, fitted on training data only and stored as JSON with the model.

What belongs here: the numbers that turn raw features into network inputs. What does not: which rows are training data;
the caller hands over nothing else. Fitting and transforming are separate, so a forecast can only use what the training
window taught.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_TINY = 1e-6


@dataclass(frozen=True)
class StandardScaler:
    """Centre and spread per feature (last axis). A constant feature maps to zero; NaN counts as the centre.

    Attributes:
        mean: (F,) mean of the training rows.
        std: (F,) standard deviation of the training rows; 1 for a constant feature.
        limit: standardised values are clipped to ±limit, so one odd row cannot blow up a network.
    """

    kind: ClassVar[str] = "standard"
    mean: Doubles
    std: Doubles
    limit: float = 6.0

    @classmethod
    def fit(cls, training: NDArray[Any], *, limit: float = 6.0) -> Self:
        """Fit on (…, F) training values; NaN are left out."""
        rows = _rows(training)
        known = np.isfinite(rows)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, rows, 0.0).sum(0) / count
        std = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(0) / count)
        return cls(mean, np.where(std > _TINY, std, 1.0), limit)

    def transform(self, values: "Tensor") -> "Tensor":
        """Standardise (…, F) values, on the device where they are."""
        import torch

        mean = torch.as_tensor(self.mean, dtype=torch.float32, device=values.device)
        std = torch.as_tensor(self.std, dtype=torch.float32, device=values.device)
        return torch.nan_to_num((values - mean) / std, nan=0.0).clamp(-self.limit, self.limit)

    def to_json(self) -> dict[str, Any]:
        """As JSON, exact to the bit."""
        return {"kind": self.kind, "mean": self.mean.tolist(), "std": self.std.tolist(), "limit": self.limit}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return cls(np.array(stored["mean"], np.float64), np.array(stored["std"], np.float64), float(stored["limit"]))


@dataclass(frozen=True)
class MinMaxScaler:
    """Range per feature (last axis) to 0…1; values outside the training range go outside 0…1, up to `slack`.

    Attributes:
        low: (F,) least training value.
        high: (F,) greatest training value.
        slack: how far outside 0…1 a later value may go before it is clipped.
    """

    kind: ClassVar[str] = "min_max"
    low: Doubles
    high: Doubles
    slack: float = 0.5

    @classmethod
    def fit(cls, training: NDArray[Any], *, slack: float = 0.5) -> Self:
        """Fit on (…, F) training values; NaN are left out."""
        rows = _rows(training)
        known = np.isfinite(rows)
        low = np.where(known, rows, np.inf).min(0, initial=np.inf)
        high = np.where(known, rows, -np.inf).max(0, initial=-np.inf)
        seen = known.any(0)
        return cls(np.where(seen, low, 0.0), np.where(seen, high, 1.0), slack)

    def transform(self, values: NDArray[Any]) -> Floats:
        """Scale (…, F) values; NaN become the low end."""
        span = self.high - self.low
        filled = np.where(np.isfinite(values), values, self.low)
        scaled = (filled - self.low) / np.where(span > _TINY, span, 1.0)
        return np.clip(scaled, -self.slack, 1.0 + self.slack).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """As JSON, exact to the bit."""
        return {"kind": self.kind, "low": self.low.tolist(), "high": self.high.tolist(), "slack": self.slack}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return cls(np.array(stored["low"], np.float64), np.array(stored["high"], np.float64), float(stored["slack"]))


@dataclass(frozen=True)
class PerSeriesScaler:
    """The level of each series: mean units a day over the days up to a night, plus a floor.

    It reads the window before the night it scales and nothing after it, so every training window and every forecast
    is scaled by what was known then.

    Attributes:
        days: length of the window.
        floor: added to the mean, so that a series without recent sales keeps a scale.
    """

    kind: ClassVar[str] = "per_series"
    days: int = 56
    floor: float = 0.1

    def scale(self, mean: "Tensor") -> "Tensor":
        """Scale of series whose mean over the window is known."""
        return (mean + self.floor).float()

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "days": self.days, "floor": self.floor}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return cls(int(stored["days"]), float(stored["floor"]))


def _rows(training: NDArray[Any]) -> Doubles:
    """(…, F) as (rows, F), also when F is 0."""
    return training.reshape(int(np.prod(training.shape[:-1])), training.shape[-1]).astype(np.float64)
