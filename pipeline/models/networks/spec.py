"""What a network was trained to read: names, masks and scalers, stored with it so that later nights are read the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.models.networks.scaling import MinMaxScaler, PerSeriesScaler, StandardScaler
from pipeline.models.panel import Panel

LEVEL_DAYS = (7, 14, 28, 56, 91, 182, 400)
RATE_DAYS = (7, 28, 56, 182)
SIZE_DAYS = 182
LEVELS = len(LEVEL_DAYS) + len(RATE_DAYS) + 12
YEAR = 364
"""52 weeks: the same weekday a year before."""

_STEP_FIXED = 14
MIN_AGE = 7
AGE_DAYS = 182
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_YEAR_PHASE = "year_"
_YEAR_AGO_DAYS = 56
"""Days beyond a year from which the year-ago windows are on often enough in training to learn what they mean."""


@dataclass(frozen=True)
class FeatureSpec:
    """What a network was trained to read; stored with it, so later nights are read the same way.

    Attributes:
        history_days: days the encoder reads.
        calendar_names: calendar features that training could learn from, by name.
        promotion_kinds: kinds of promotion, by name.
        category_names: categories, by name; any other is category 0.
        text_size: size of text vectors; 0 for none.
        year_ago: read the year-ago windows; off when training could not learn what they mean.
        levels: standardisation of the level features.
        calendar: min-max scaling of the calendar features.
        series: scale of each series.
    """

    history_days: int
    calendar_names: tuple[str, ...]
    promotion_kinds: tuple[str, ...]
    category_names: tuple[str, ...]
    text_size: int
    year_ago: bool
    levels: StandardScaler
    calendar: MinMaxScaler
    series: PerSeriesScaler

    @property
    def encoder_size(self) -> int:
        """Features per day of history."""
        return 5 + 7 + len(self.promotion_kinds)

    @property
    def step_size(self) -> int:
        """Features per day ahead."""
        return 7 + _STEP_FIXED + len(self.calendar_names) + len(self.promotion_kinds)

    @classmethod
    def learn(cls, panel: Panel, known_days: int, history_days: int) -> "FeatureSpec":
        """What can be learned from the first `known_days` of a panel; level features are standardised later.

        Left out are calendar features that were constant or hardly on in training: their weight stays untrained, and a
        flag that is on for the first time in the forecast would meet it. Under a year of history the phase of the year
        cannot be told from a trend, and a year-ago window is never on in training.
        """
        past, all_days = panel.calendar[:known_days], np.abs(panel.calendar).max(axis=0, initial=0)
        over_a_year = known_days >= YEAR + _YEAR_AGO_DAYS
        names = [
            name
            for index, name in enumerate(panel.calendar_names)
            if np.ptp(past[:, index]) > 0
            and np.abs(past[:, index]).max() >= 0.5 * all_days[index]
            and name not in _WEEKDAYS
            and (over_a_year or not name.startswith(_YEAR_PHASE))
        ]
        used = [panel.calendar_names.index(name) for name in names]
        return cls(
            history_days=history_days,
            calendar_names=tuple(names),
            promotion_kinds=panel.promotion_kinds,
            category_names=panel.category_names,
            text_size=int(panel.text.shape[1]),
            year_ago=over_a_year,
            levels=StandardScaler(np.zeros(LEVELS), np.ones(LEVELS)),
            calendar=MinMaxScaler.fit(past[:, used]),
            series=PerSeriesScaler(),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        plain = ("history_days", "text_size", "year_ago")
        names = ("calendar_names", "promotion_kinds", "category_names")
        return {
            **{name: getattr(self, name) for name in plain},
            **{name: list(getattr(self, name)) for name in names},
            "levels": self.levels.to_json(),
            "calendar": self.calendar.to_json(),
            "series": self.series.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "FeatureSpec":
        """Undo `to_json`."""
        names = {n: tuple(stored[n]) for n in ("calendar_names", "promotion_kinds", "category_names")}
        return cls(
            history_days=int(stored["history_days"]),
            text_size=int(stored["text_size"]),
            year_ago=bool(stored["year_ago"]),
            levels=StandardScaler.from_json(stored["levels"]),
            calendar=MinMaxScaler.from_json(stored["calendar"]),
            series=PerSeriesScaler.from_json(stored["series"]),
            **names,
        )
