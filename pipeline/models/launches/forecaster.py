"""The forecaster of launches: one regression per age and stretch of days, learned from the launches of the panel."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import (
    Array,
    Compute,
    Dependence,
    Fitted,
    Forecast,
    Progress,
    Stretches,
    TrainingReport,
    levels_of,
    silent,
)
from pipeline.models.description import read_description, save_description
from pipeline.models.history import LOOKBACK_DAYS, validation_days
from pipeline.models.launches.days import day_quantiles
from pipeline.models.launches.examples import (
    AGES,
    LEVEL_OF,
    LIFT_SHARE,
    SHOP_SHARE,
    STRETCHES,
    Kinds,
    Texts,
    Words,
    features,
    launches_in,
    order_size,
)
from pipeline.models.launches.facts import Facts
from pipeline.models.launches.regression import LEAST_EXAMPLES, Regression, resized, spread_of
from pipeline.models.launches.similar import Neighbours, nearest
from pipeline.models.panel import Panel
from pipeline.models.seasons.library import SeasonLibrary
from pipeline.models.seasons.sums import SeasonSums
from pipeline.models.seasons.tuned import SeasonTuning, TunedWords, load_tuned
from pipeline.settings import QUANTILES

NAME = "launches"
LIBRARY_FILE = "library.safetensors"
TUNED_FOLDER = "tuned"
_STRETCH_DAYS = 28
ITEM_SHARE = 0.5
"""Share of variance that the days of a launch have in common: most of what is not known is how well it will sell at all."""
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Launches:
    """The forecaster.

    Attributes:
        settings: length of the validation window.
        tuning: how the language model is tuned on seasons; None to read them by the vectors that items have.
        name: as in the registry.
    """

    settings: TrainingSettings = field(default_factory=TrainingSettings)
    tuning: SeasonTuning | None = None
    name: str = NAME

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - fitted anew in seconds
    ) -> "FittedLaunches":
        """Learn from the launches of the panel.

        Raises:
            HistoryError: the history saw too few launches come.
        """
        held = validation_days(panel.history, self.settings.validation_days, panel.horizon)
        progress(self.name, 0, 2)
        # of the days held back the language model learns nothing, so it serves both
        cut = panel.until(panel.history - held)
        tuned: TunedWords | None = None
        validated: FittedLaunches | None = None
        with suppress(HistoryError):
            if self.tuning:
                tuned = self.tuning.fit(cut, folder=folder, compute=compute, progress=progress)
        with suppress(HistoryError):
            validated = self.fit_to(cut, tuned)
        progress(self.name, 1, 2)
        fitted = self.fit_to(panel, tuned)
        progress(self.name, 2, 2)
        report = TrainingReport(
            {**fitted.report.parameters, "validation_days": held}, seconds=fitted.report.seconds, stopped="fitted"
        )
        return replace(fitted, validated=validated, report=report)

    def fit_to(self, panel: Panel, tuned: TunedWords | None = None) -> "FittedLaunches":
        """Learn from the launches of a panel, with nothing held back.

        Args:
            panel: the panel.
            tuned: the language model that reads seasons.

        Raises:
            HistoryError: the history saw too few launches come.
        """
        began = time.perf_counter()
        facts = Facts(panel)
        rows = launches_in(panel, panel.history)
        if len(rows) < LEAST_EXAMPLES:
            raise HistoryError(
                f"{self.name}: {len(rows)} items were first sold in the history up to {panel.as_of}, {LEAST_EXAMPLES} are needed"
            )
        season_panel = tuned.told(panel) if tuned else panel
        texts = Texts(panel.text, season_panel.text)
        kinds, words = Kinds.of(panel, rows), Words.as_known(facts, texts, rows)
        regressions = {}
        for age in AGES:
            for number, (begins, ends) in enumerate(STRETCHES):
                first = panel.first_sold[rows] + age
                whole = first + ends <= panel.history
                if whole.sum() < LEAST_EXAMPLES:
                    continue
                mine = rows[whole]
                said = Words(words.level[whole], words.lifts[whole])
                known = features(facts, mine, kinds, said, age=np.full(len(mine), age), read_as=age, stretch=number)
                begin, end = first[whole] + begins, first[whole] + ends
                offset = LIFT_SHARE * said.over(facts, begin, end)
                units, came = facts.units(mine, begin, end), facts.came(mine, begin, end)
                regressions[age, number] = Regression.fit(known, units, came, offset)
        levels, lifts = facts.levels(panel.history), facts.lifts(panel.history)
        told = np.flatnonzero(np.isfinite(levels).any(axis=1) | np.isfinite(lifts).any(axis=1))
        vectors = panel.text[told].astype(np.float16)
        seasons = SeasonLibrary.of(
            SeasonSums.of(facts),
            told,
            season_panel,
            self.settings.seed,
            scored=tuned.unseen(panel.item_id[told]) if tuned else None,
        )
        return FittedLaunches(
            fitted_on=panel.as_of.isoformat(),
            kinds=kinds,
            regressions=regressions,
            size=order_size(facts, rows),
            week=facts.week,
            season=facts.shop_season(panel.history),
            library=Texts(vectors, texts.season[told] if tuned else vectors),
            items=tuple(panel.item_id[told].tolist()),
            levels=levels[told],
            lifts=lifts[told],
            seasons=seasons,
            report=TrainingReport(
                {
                    "launches": len(rows),
                    "library": len(told),
                    "regressions": len(regressions),
                    **seasons.summary(),
                },
                seconds=time.perf_counter() - began,
                parts={"tuning": tuned.report} if tuned else {},
            ),
            tuned=tuned,
        )


@dataclass(frozen=True)
class FittedLaunches:
    """What was learned of launches, ready for any panel of the shop.

    Attributes:
        fitted_on: night of the panel.
        kinds: categories and prefixes that are told apart.
        regressions: (age, stretch) → regression.
        size: constant and slope of the log of an order's size on the log of the units of a day.
        week: (7,) how the days of the shop's week compare, from Monday.
        season: (12,) log of how the months of its year compare.
        library: vectors of the texts of the N items that new ones are set beside.
        items: their ids.
        levels: (N, 2) how much more than for their price they sell.
        lifts: (N, 12) their months.
        seasons: their seasons: months, quarters, events.
        report: what was there to learn from.
        validated: the same, of the history without its last days.
        tuned: the language model that reads seasons; None where the vectors that items have do.
    """

    fitted_on: str
    kinds: Kinds
    regressions: Mapping[tuple[int, int], Regression]
    size: tuple[float, float]
    week: Array
    season: Array
    library: Texts
    items: tuple[str, ...]
    levels: Array
    lifts: Array
    seasons: SeasonLibrary
    report: TrainingReport = field(default_factory=TrainingReport)
    name: str = NAME
    lookback_days: int = LOOKBACK_DAYS
    dependence: Dependence = field(default_factory=Dependence)
    validated: "FittedLaunches | None" = None
    tuned: TunedWords | None = None

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast every series as a launch of its age; see `pipeline.models.base.Fitted`.

        An item beyond the last of `AGES` is read as one of that age, with the sales of its first days counted as of so many:
        it has a forecast, but one that its own history makes better. An announced item sells nothing before it is on sale.
        """
        facts, words, levels = Facts(panel), self.words(panel), levels_of(grid)
        mean = np.zeros((panel.series, horizon))
        quantiles = np.zeros((panel.series, horizon, len(levels)))
        spread = np.full((panel.series, horizon // _STRETCH_DAYS, len(QUANTILES)), np.nan)
        late = np.zeros(panel.series, np.int64) if panel.on_sale is None else panel.on_sale - panel.history
        for days in np.unique(np.maximum(late, 0)):
            rows = np.flatnonzero(np.maximum(late, 0) == days)
            begin, left = panel.history + int(days), horizon - int(days)
            if left <= 0:
                continue
            said = Words(words.level[rows], words.lifts[rows])
            totals = self._totals(facts, rows, said, begin)
            mean[rows, horizon - left :], scales = self._days(facts, said, totals, begin, left)
            size = np.exp(self.size[0] + self.size[1] * np.log(np.maximum(mean[rows, horizon - left :], 1e-6)))
            quantiles[rows, horizon - left :] = day_quantiles(
                mean[rows, horizon - left :], scales, size, np.array(levels)
            )
            if not days:
                for stretch in range(spread.shape[1]):
                    spread[rows, stretch] = spread_of(totals[0 if stretch == 0 else 1])
        quantiles[:, panel.closed[panel.history : panel.history + horizon]] = 0.0
        progress(self.name, panel.series, panel.series)
        answer = Forecast.of_levels(mean, quantiles, levels, grid=grid)
        if not grid or not spread.shape[1]:
            return answer
        return replace(answer, stretches=Stretches(_STRETCH_DAYS, spread), item_share=np.full(panel.series, ITEM_SHARE))

    def totals(self, panel: Panel) -> list[Array]:
        """(S, K) equally likely units of each of `STRETCHES` from the day after the night, for every series."""
        return self._totals(Facts(panel), np.arange(panel.series), self.words(panel), panel.history)

    def words(self, panel: Panel) -> Words:
        """What the texts of a panel's items tell, by the items that were there on the night of the training."""
        found = Words.of(self.library, self.levels, self.lifts, self._texts(panel), self.rows_of(panel))
        return Words(found.level, found.lifts + SHOP_SHARE * self.season)

    def _texts(self, panel: Panel) -> Texts:
        return Texts(panel.text, self.tuned.told(panel).text if self.tuned else panel.text)

    def seasons_told(self, panel: Panel) -> Array:
        """(S, K) see `SeasonLibrary.told`, of each series."""
        return self.seasons.told(self.library.season, self._texts(panel).season, self.rows_of(panel))

    def neighbours(self, panel: Panel, count: int) -> Neighbours | None:
        """The items of the library whose texts are nearest to those of a panel's items; None without vectors of its model."""
        library = self.library.level
        if not library.shape[1] or not len(library) or panel.text.shape[1] != library.shape[1]:
            return None
        return nearest(library, panel.text, count=count, sharpness=LEVEL_OF[1], barred=self.rows_of(panel))

    def rows_of(self, panel: Panel) -> Index:
        """(S,) row of each series' own item in the library, −1 where it is not there."""
        place = {item: index for index, item in enumerate(self.items)}
        return np.array([place.get(item, -1) for item in panel.item_id.tolist()], dtype=np.int64)

    def _totals(self, facts: Facts, rows: Index, words: Words, begin: int) -> list[Array]:
        """(R, K) equally likely units of each stretch from the column `begin` on."""
        age = np.maximum(facts.panel.history - facts.panel.first_sold[rows], 0)
        night = np.full(len(rows), begin)
        totals: list[Array] = []
        for number, (begins, ends) in enumerate(STRETCHES):
            found: Array | None = None
            offset = LIFT_SHARE * words.over(facts, night + begins, night + ends)
            for read_as in AGES:
                regression = self.regressions.get((read_as, number))
                mine = np.flatnonzero(age >= read_as)
                if regression is None or not len(mine):
                    continue
                said = Words(words.level[mine], words.lifts[mine])
                known = features(facts, rows[mine], self.kinds, said, age=age[mine], read_as=read_as, stretch=number)
                sample = regression.sample(known, offset[mine])
                if found is None:
                    found = np.zeros((len(rows), sample.shape[1]))
                found[mine] = resized(sample, found.shape[1])
            if found is None:
                # too few launches went on so long: as in the stretch before, day by day
                before = STRETCHES[number - 1]
                found = totals[-1] * (ends - begins) / (before[1] - before[0])
            totals.append(found)
        return totals

    def _days(self, facts: Facts, words: Words, totals: list[Array], begin: int, horizon: int) -> tuple[Array, Array]:
        """(R, H) expected units of the days from the column `begin` on, and (R, H, K) likely totals of their stretch ÷ their mean."""
        shape = self._shape(facts, words, begin, horizon)
        series = len(shape)
        mean = np.zeros((series, horizon))
        scales = np.ones((series, horizon, totals[0].shape[1]))
        for number, (begins, ends) in enumerate(STRETCHES):
            last = horizon if number == len(STRETCHES) - 1 else min(ends, horizon)
            if begins >= last:
                break
            sample = resized(totals[number], scales.shape[2])
            expected = sample.mean(axis=1)
            # beyond the last stretch days go on as within it
            inside = shape[:, begins : min(ends, shape.shape[1])]
            whole = inside.sum(axis=1) * (ends - begins) / max(inside.shape[1], 1)
            mean[:, begins:last] = (expected / np.maximum(whole, 1e-9))[:, None] * shape[:, begins:last]
            scales[:, begins:last] = (sample / np.maximum(expected, 1e-9)[:, None])[:, None, :]
        return mean, scales

    def _shape(self, facts: Facts, words: Words, begin: int, horizon: int) -> Array:
        """(R, H) how a launch's days compare: by the shop's week, the days it is closed, and the season of the item."""
        panel = facts.panel
        ahead = slice(begin, begin + horizon)
        lift = words.lifts[:, facts.month_of_year[ahead]]
        return np.asarray(self.week[facts.weekday[ahead]] * ~panel.closed[ahead] * np.exp(LIFT_SHARE * lift))

    def save(self, folder: Path) -> None:
        """Write the library (safetensors) and all else (JSON)."""
        from safetensors.numpy import save_file

        content = {
            "kind": NAME,
            "fitted_on": self.fitted_on,
            "kinds": self.kinds.to_json(),
            "regressions": {f"{age}-{stretch}": one.to_json() for (age, stretch), one in self.regressions.items()},
            "size": list(self.size),
            "week": self.week.tolist(),
            "season": self.season.tolist(),
            "items": list(self.items),
            "seasons": self.seasons.to_json(),
            "report": dict(self.report.parameters),
            "tuned": self.tuned is not None,
        }
        save_description(folder, content)
        save_file(
            {
                "library": np.ascontiguousarray(self.library.level),
                **({"season_library": np.ascontiguousarray(self.library.season)} if self.tuned else {}),
                "levels": np.ascontiguousarray(self.levels),
                "lifts": np.ascontiguousarray(self.lifts),
                "season_lifts": np.ascontiguousarray(self.seasons.lifts),
            },
            folder / LIBRARY_FILE,
        )
        if self.tuned:
            self.tuned.save(folder / TUNED_FOLDER)

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": NAME, "fitted_on": self.fitted_on, "ages": list(AGES), **self.report.parameters}


def load_launches(folder: Path, compute: Compute | None = None) -> FittedLaunches:
    """Read back what `FittedLaunches.save` wrote.

    Raises:
        ModelError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    content = read_description(folder, NAME)
    try:
        arrays = load_file(folder / LIBRARY_FILE)
        regressions = {}
        for key, stored in content["regressions"].items():
            age, _, stretch = key.partition("-")
            regressions[int(age), int(stretch)] = Regression.from_json(stored)
        return FittedLaunches(
            fitted_on=content["fitted_on"],
            kinds=Kinds.from_json(content["kinds"]),
            regressions=regressions,
            size=(float(content["size"][0]), float(content["size"][1])),
            week=np.array(content["week"], dtype=np.float64),
            season=np.array(content["season"], dtype=np.float64),
            library=Texts(arrays["library"], arrays["season_library"] if content["tuned"] else arrays["library"]),
            items=tuple(content["items"]),
            levels=arrays["levels"],
            lifts=arrays["lifts"],
            seasons=SeasonLibrary.from_json(content["seasons"], arrays["season_lifts"]),
            report=TrainingReport(content["report"], stopped="fitted"),
            tuned=load_tuned(folder / TUNED_FOLDER, compute or Compute()) if content["tuned"] else None,
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{folder}: the stored launches cannot be read ({error}); train again") from error
