"""What networks read: one code path from a panel to tensors, for training windows and for forecasts alike.

A window is a (series, night) pair. Everything of it is computed from columns up to its night, and from covariates
that are known beyond it; a test changes all later demand and asks for the same tensors. Sums over windows come from
running sums, so a batch of random windows costs a few gathers.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.networks.spec import AGE_DAYS, LEVEL_DAYS, MIN_AGE, RATE_DAYS, SIZE_DAYS, YEAR, FeatureSpec
from pipeline.models.panel import Panel


class OwnColumns(NamedTuple):
    """Columns of a day of history that a series has of its own."""

    units: int = 0
    sold: int = 1
    alive: int = 2
    price: int = 3


OWN_UNITS = OwnColumns()


@dataclass(frozen=True)
class Batch:
    """Windows as tensors: B windows, L days of history, H days ahead.

    Attributes:
        encoder: (B, L, encoder_size) days of history.
        steps: (B, H, step_size) days ahead.
        levels: (B, LEVELS) level features, standardised.
        text: (B, D) text vectors.
        category: (B,) category index, 0 for unknown.
        base_logit: (B, H) logit of the recent sale rate of the weekday.
        base_mu: (B, 1) log of the recent order size ÷ scale.
        scale: (B, 1) scale of the series.
        open: (B, H) the shop is open that day.
    """

    encoder: Tensor
    steps: Tensor
    levels: Tensor
    text: Tensor
    category: Tensor
    base_logit: Tensor
    base_mu: Tensor
    scale: Tensor
    open: Tensor

    def part(self, rows: slice) -> "Batch":
        """Some of the windows."""
        return Batch(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Windows:
    """A panel as tensors, from which windows are cut."""

    def __init__(self, panel: Panel, spec: FeatureSpec, device: str = "cpu") -> None:
        """Prepare running sums of a panel.

        Args:
            panel: the panel; calendar, promotions and categories are matched to the spec by name.
            spec: what the network reads.
            device: torch device.

        Raises:
            ModelError: the panel's text vectors are of another size than the network's.
        """
        if panel.text.shape[1] != spec.text_size:
            raise ModelError(
                f"the model reads text vectors of {spec.text_size} numbers, but the items carry {panel.text.shape[1]}: "
                "the language model in almanac.yaml changed since the training; train again, or set it back"
            )
        self.spec, self.device = spec, device
        self.days, self.ahead = panel.history, panel.horizon
        units = panel.units_winsorised.astype(np.float64)
        sold = (units > 0).astype(np.float64)
        open_days = (~panel.closed).astype(np.float64)
        self.units = self._tensor(units, torch.float32)
        self.sum_units = self._tensor(_running(units), torch.float64)
        self.sum_squares = self._tensor(_running(units**2), torch.float64)
        self.sum_sold = self._tensor(_running(sold), torch.float32)
        self.sum_open = self._tensor(_running(open_days[None])[0], torch.float32)
        self.week_units = self._tensor(_running_weekday(units), torch.float64)
        self.week_sold = self._tensor(_running_weekday(sold), torch.float32)
        self.week_open = self._tensor(_running_weekday(open_days[None])[0], torch.float32)
        last = np.maximum.accumulate(np.where(sold > 0, np.arange(self.days), -1), axis=1)
        self.last_sale = self._tensor(last, torch.int32)
        self.first_sold = self._tensor(np.maximum(panel.first_sold, 0), torch.int64)
        self.age_from = self._tensor(panel.first_sold, torch.int64)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.log_price = self._tensor(np.log(np.maximum(panel.price, 1e-4)), torch.float32)
        self.closed = self._tensor(panel.closed, torch.float32)
        self.calendar = self._tensor(spec.calendar.transform(_by_name(panel, spec)), torch.float32)
        self.promotion = self._tensor(_promotions_by_name(panel, spec, panel.promotion), torch.float32)
        self.promotion_lead = (
            None
            if panel.promotion_lead is None
            else self._tensor(_promotions_by_name(panel, spec, panel.promotion_lead), torch.uint8)
        )
        self.weekday = self._tensor(_weekday_one_hot(panel), torch.float32)
        self.text = self._tensor(panel.text, torch.float32)
        known = {name: index + 1 for index, name in enumerate(spec.category_names)}
        mapped = np.array([known.get(name, 0) for name in panel.category_names] + [0], np.int64)
        self.category = self._tensor(mapped[panel.category], torch.int64)

    def _tensor(self, values: Any, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=self.device)

    def leads(self, horizon: int) -> Tensor:
        """All leads up to a horizon, (1, H)."""
        return torch.arange(1, horizon + 1, device=self.device).unsqueeze(0)

    def targets(self, rows: Tensor, nights: Tensor, leads: Tensor, known_days: int) -> tuple[Tensor, Tensor]:
        """Units of the days that lie `leads` (B or 1, H) after each night, and which count: known by then, not closed."""
        days = nights.unsqueeze(1) + leads
        inside = days.clamp(max=self.days - 1)
        counts = (days < known_days) & (self.closed[days.clamp(max=self.days + self.ahead - 1)] < 0.5)
        return self.units[rows.unsqueeze(1), inside], counts

    def next_means(
        self, rows: Tensor, nights: Tensor, next_days: tuple[int, ...], known_days: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Self-supervised targets: log1p of the mean of the next k days ÷ scale, at every day of the history.

        Returns:
            The (B, L, encoder_size) history, (B, L, K) targets, and (B, L, K) which of them count.
        """
        scale = self.scale(rows, nights)
        days = nights.unsqueeze(1) + torch.arange(1 - self.spec.history_days, 1, device=self.device)
        row, start = rows.unsqueeze(1), self.first_sold[rows].unsqueeze(1)
        targets, counts = [], []
        for k in next_days:
            count = (days >= start) & (days + k < known_days)
            at = torch.where(count, days, 0)
            mean = (self.sum_units[row, torch.where(count, at + k + 1, 0)] - self.sum_units[row, at + 1]) / k
            targets.append(torch.log1p((mean.float() / scale.unsqueeze(1)).clamp(min=0)))
            counts.append(count)
        return self._encoder(rows, nights, scale), torch.stack(targets, 2), torch.stack(counts, 2)

    def scale(self, rows: Tensor, nights: Tensor) -> Tensor:
        """Scale of each window's series as of its night, (B,)."""
        return self.spec.series.scale(self._mean(rows, nights, self.spec.series.days))

    def cut(self, rows: Tensor, nights: Tensor, leads: Tensor) -> Batch:
        """Cut windows.

        Args:
            rows: (B,) series.
            nights: (B,) column of each window's night.
            leads: (B or 1, H) days ahead.
        """
        scale = self.scale(rows, nights)
        raw, extra = self._levels(rows, nights, scale)
        ahead = nights.unsqueeze(1) + leads
        steps, base_logit = self._steps(rows, nights, ahead, scale, extra)
        return Batch(
            encoder=self._encoder(rows, nights, scale),
            steps=steps,
            levels=self.spec.levels.transform(raw),
            text=self.text[rows],
            category=self.category[rows],
            base_logit=base_logit,
            base_mu=extra["base_mu"].unsqueeze(1),
            scale=scale.unsqueeze(1),
            open=self.closed[ahead] < 0.5,
        )

    def raw_levels(self, rows: Tensor, nights: Tensor) -> Tensor:
        """Level features before standardisation, to fit the scaler on."""
        return self._levels(rows, nights, self.scale(rows, nights))[0]

    def _sum(self, running: Tensor, rows: Tensor, after: Tensor, to: Tensor) -> Tensor:
        """Sum over the columns after+1 … to."""
        return running[rows, to + 1] - running[rows, after + 1]

    def _mean(self, rows: Tensor, nights: Tensor, days: int, *, sold: bool = False) -> Tensor:
        """Mean per open day of the last `days` days, since the first sale."""
        after = torch.maximum(nights - days, self.first_sold[rows] - 1).minimum(nights)
        total = self._sum(self.sum_sold if sold else self.sum_units, rows, after, nights)
        return total / self._open_days(after, nights, days)

    def _open_days(self, after: Tensor, nights: Tensor, days: int) -> Tensor:
        return (self.sum_open[nights + 1] - self.sum_open[after + 1]).clamp(min=min(days, MIN_AGE))

    def _levels(self, rows: Tensor, nights: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        means = {days: self._mean(rows, nights, days) for days in LEVEL_DAYS}
        rates = {days: self._mean(rows, nights, days, sold=True) for days in RATE_DAYS}
        after = (nights - SIZE_DAYS).clamp(min=-1)
        units = self._sum(self.sum_units, rows, after, nights)
        sold = self._sum(self.sum_sold, rows, after, nights)
        squares = self._sum(self.sum_squares, rows, after, nights)
        size = (units + 1) / (sold + 1)
        variation = torch.sqrt((squares + 1) / (sold + 1)) / size
        price = self.log_price[rows, nights]
        month, quarter = (self._price_since(rows, nights, price, days) for days in (28, 91))
        last = self.last_sale[rows, nights].long()
        age = (nights - self.age_from[rows]).clamp(min=0)
        base_mu = torch.log(size / scale).float()
        before, before_known = self._year_ago_mean(rows, nights - YEAR, 56, 0, nights)
        coming, coming_known = self._year_ago_mean(rows, nights - YEAR, 0, 56, nights)
        columns = [
            *(torch.log1p(mean / scale) for mean in means.values()),
            *rates.values(),
            base_mu,
            torch.log(size),
            torch.log(variation),
            torch.log1p((nights - last).float()),
            # beyond half a year the age of most items is the date itself, which a network would learn by heart
            torch.log1p(age.clamp(max=AGE_DAYS).float()),
            torch.nan_to_num(price),
            month,
            quarter,
            torch.log(scale),
            torch.log1p(before / scale) * before_known,
            torch.log((coming + 0.1) / (before + 0.1)) * before_known * coming_known,
            before_known,
        ]
        raw = torch.stack([column.float() for column in columns], 1)
        return raw, {"base_mu": base_mu, "rate": rates[56].float(), "price": price, "before": before}

    def _price_since(self, rows: Tensor, nights: Tensor, price: Tensor, days: int) -> Tensor:
        return torch.nan_to_num(price - self.log_price[rows, (nights - days).clamp(min=0)]).clamp(-1.5, 1.5)

    def _year_ago_mean(
        self, rows: Tensor, centre: Tensor, back: int, forth: int, nights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean per day over centre−back+1 … centre+forth, and whether it was on sale then; zero where masked."""
        shape = centre.shape
        rows = rows.unsqueeze(1).expand(shape) if centre.dim() == 2 else rows
        start = self.first_sold[rows] - 1
        after, to = torch.maximum(centre - back, start), centre + forth
        known = (
            (to - after >= max(1, (back + forth) // 2))
            & (to <= (nights.unsqueeze(1) if to.dim() == 2 else nights))
            & self.spec.year_ago
        )
        after, to = torch.where(known, after, -1), torch.where(known, to, -1)
        total = self._sum(self.sum_units, rows, after, to)
        days = (self.sum_open[to + 1] - self.sum_open[after + 1]).clamp(min=1)
        return (total / days).float() * known, known.float()

    def _encoder(self, rows: Tensor, nights: Tensor, scale: Tensor) -> Tensor:
        days = nights.unsqueeze(1) + torch.arange(1 - self.spec.history_days, 1, device=self.device)
        inside = days.clamp(min=0)
        at = (rows.unsqueeze(1), inside)
        alive = (days >= self.first_sold[rows].unsqueeze(1)).float()
        units = self.units[at] * alive
        price = torch.nan_to_num(self.log_price[at] - self.log_price[rows, nights].unsqueeze(1)).clamp(-1.5, 1.5)
        own = torch.stack([torch.log1p(units / scale.unsqueeze(1)), (units > 0).float(), alive, price * alive], 2)
        # no calendar but week and closed days here: it would tell the date, and dates of one past year are learned by heart
        shop = torch.cat([self.closed.unsqueeze(1), self.weekday], 1)
        return torch.cat([own, shop[inside], self.promotion[at]], 2)

    def _steps(
        self, rows: Tensor, nights: Tensor, ahead: Tensor, scale: Tensor, extra: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        per_scale = scale.unsqueeze(1)
        mean8, rate8, count8 = self._same_weekday(rows, nights, ahead, 8)
        mean26, rate26, _ = self._same_weekday(rows, nights, ahead, 26)
        near, near_known = self._year_ago_mean(rows, ahead - YEAR, 4, 3, nights)
        wide, wide_known = self._year_ago_mean(rows, ahead - YEAR, 15, 14, nights)
        lift = torch.log((wide + 0.1) / (extra["before"].unsqueeze(1) + 0.1)) * wide_known
        distance = (ahead - nights.unsqueeze(1)).float()
        own = [
            torch.log1p(mean8 / per_scale),
            torch.log1p(mean26 / per_scale),
            rate8,
            rate26,
            torch.log1p(near / per_scale),
            torch.log1p(wide / per_scale),
            lift.clamp(-4, 4),
            near_known,
            wide_known,
            torch.log(distance) / 4.5,
            distance / YEAR,
            (extra["rate"].unsqueeze(1)).expand_as(distance),
            extra["base_mu"].unsqueeze(1).expand_as(distance) / 3,
        ]
        shop = torch.cat([self.closed.unsqueeze(1), self.weekday, self.calendar], 1)
        # a price paid after the night would tell that there was a sale, and a promotion announced later what nobody knew
        promotion = self.promotion[rows.unsqueeze(1), ahead]
        if self.promotion_lead is not None:
            promotion = promotion * (self.promotion_lead[rows.unsqueeze(1), ahead] >= distance.unsqueeze(2))
        steps = torch.cat([torch.stack(own, 2), shop[ahead], promotion], 2)
        rate = (rate8 * count8 + 3 * extra["rate"].unsqueeze(1)) / (count8 + 3)
        return steps, torch.logit(rate.clamp(0.01, 0.97))

    def _same_weekday(self, rows: Tensor, nights: Tensor, ahead: Tensor, weeks: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean units, sale rate and number of the last `weeks` open days of the same weekday, since the first sale."""
        last = ahead - 7 * torch.ceil((ahead - nights.unsqueeze(1)) / 7).long()
        first = self.first_sold[rows].unsqueeze(1)
        span = torch.clamp((last - first) // 7 + 1, min=0, max=weeks)
        at, before = last + 7, last + 7 - 7 * span
        row = rows.unsqueeze(1)
        count = self.week_open[at] - self.week_open[before]
        units = self.week_units[row, at] - self.week_units[row, before]
        sold = self.week_sold[row, at] - self.week_sold[row, before]
        enough = count.clamp(min=1)
        return (units / enough).float(), sold / enough, count


def _running(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(S, T) → (S, T + 1) running sums; column t + 1 is the sum up to day t."""
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def _running_weekday(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(S, T) → (S, T + 7) running sums in steps of seven days; column t + 7 sums days t, t − 7 and so on."""
    out = np.concatenate([np.zeros((values.shape[0], 7)), values], axis=1)
    for start in range(7):
        np.cumsum(out[:, start::7], axis=1, out=out[:, start::7])
    return out


def _by_name(panel: Panel, spec: FeatureSpec) -> np.ndarray[Any, Any]:
    """Calendar columns in the spec's order; zeros for a feature that the panel lacks."""
    place = {name: index for index, name in enumerate(panel.calendar_names)}
    out = np.zeros((panel.calendar.shape[0], len(spec.calendar_names)), np.float32)
    for index, name in enumerate(spec.calendar_names):
        if name in place:
            out[:, index] = panel.calendar[:, place[name]]
    return out


def _promotions_by_name(panel: Panel, spec: FeatureSpec, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    place = {name: index for index, name in enumerate(panel.promotion_kinds)}
    out = np.zeros((*values.shape[:2], len(spec.promotion_kinds)), values.dtype)
    for index, name in enumerate(spec.promotion_kinds):
        if name in place:
            out[:, :, index] = values[:, :, place[name]]
    return out


def _weekday_one_hot(panel: Panel) -> np.ndarray[Any, Any]:
    days = np.arange(panel.history + panel.horizon)
    return np.eye(7)[(panel.first_day.weekday() + days) % 7]
