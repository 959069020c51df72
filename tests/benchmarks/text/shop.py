"""All that became known of Online Retail II, to cut launches from, and the texts that items were first seen with."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.as_of import as_of_view, known_days
from pipeline.lake import Lake
from pipeline.model_settings import LaunchesSettings
from pipeline.models.base import Compute
from pipeline.models.ensemble import Ensemble, FittedEnsemble
from pipeline.models.panel import Panel
from pipeline.models.registry import MODEL, make
from pipeline.models.seasons.tuned import SeasonTuning
from pipeline.settings import Settings
from pipeline.training.panel import build_panel, language_model_id

CUT_OFFS = tuple(date(2010 + month // 12, month % 12 + 1, 1) for month in range(6, 20, 2))
"""Every two months, 2010-07-01 to 2011-07-01; a model trained at one speaks for the launches up to the next."""
HORIZON = 91


@dataclass(frozen=True)
class TextShop:
    """The lake of Online Retail II.

    Attributes:
        lake: its lake.
        settings: its settings.
    """

    lake: Lake
    settings: Settings

    @property
    def tuning(self) -> SeasonTuning:
        """How the language model is tuned on seasons, as `members.launches.tune` has it, with five minutes."""
        member = LaunchesSettings(on=True, tune=True, max_seconds=300)
        settings = self.settings
        return SeasonTuning(
            member, settings.fine_tuning, settings.language_model, settings.training.seed, self.lake.home
        )

    @cached_property
    def truth(self) -> Panel:
        """Every item that ever sold, with all days, and the vector of the text that it was first seen with."""
        _, last = known_days(self.lake)
        with as_of_view(self.lake, last) as view:
            items = [
                row[0] for row in view.con.execute("SELECT DISTINCT item_id FROM demand_daily ORDER BY 1").fetchall()
            ]
            panel = build_panel(
                view, self.settings, horizon=HORIZON, series=[(item, "") for item in items], home=self.lake.home
            )
            found = view.con.execute(
                """
                WITH first_texts AS (
                    SELECT item_id, arg_min(item_text, known_on) AS item_text
                    FROM lake_item_sightings WHERE item_text <> '' AND lines > 0 GROUP BY item_id
                )
                SELECT item_id, first_texts.item_text, vector
                FROM first_texts
                LEFT JOIN (SELECT * FROM lake_item_text_features WHERE model_id = $1) AS features
                    ON features.text_hash = left(sha256(first_texts.item_text), 32)
                """,
                [language_model_id(view, self.settings, home=self.lake.home)],
            ).fetchall()
        place = {item: row for row, item in enumerate(panel.item_id.tolist())}
        vectors, texts = np.zeros_like(panel.text), np.full(panel.series, "", dtype="<U200")
        for item, text, vector in found:
            if item in place:
                texts[place[item]] = text
                if vector is not None:
                    vectors[place[item]] = vector
        return replace(panel, text=vectors, item_text=texts)

    def known(self, night: date) -> Panel:
        """What a training on a night reads."""
        with as_of_view(self.lake, night) as view:
            return build_panel(view, self.settings, horizon=HORIZON, home=self.lake.home)

    def trained(self, known: Panel) -> FittedEnsemble:
        """The night's model as shipped, trained on what was known."""
        forecaster = make(MODEL, self.settings, self.lake.home)
        assert isinstance(forecaster, Ensemble)
        with TemporaryDirectory(prefix="almanac-bench-") as folder:
            return forecaster.fit(known, folder=Path(folder), compute=Compute())

    def column(self, day: date) -> int:
        """Column of a day in `truth`."""
        return (day - self.truth.first_day).days

    def launches(self, cut_off: date) -> list[Panel]:
        """Items first sold in the two months after a cut-off, a panel for each day: announced, with text and price, not sold yet."""
        following = dict(pairwise((*CUT_OFFS, CUT_OFFS[-1] + timedelta(days=62))))
        first, last = self.column(cut_off) + 1, self.column(following[cut_off]) + 1
        truth, panels = self.truth, []
        for day in np.unique(truth.first_sold[(truth.first_sold >= first) & (truth.first_sold < last)]):
            rows = np.flatnonzero(truth.first_sold == day)
            panel = truth.rows(rows).until(int(day))
            price = panel.price.copy()
            price[:, int(day) :] = truth.price[rows, int(day)][:, None]
            panels.append(replace(panel, price=price))
        return panels

    def came(self, panel: Panel, begins: int, ends: int) -> np.ndarray | None:
        """(S,) units of a panel's items from so many days after its night to before so many; None where not all are known."""
        if self.column(panel.as_of) + 1 + ends > self.truth.history:
            return None
        return self.days(panel, ends)[:, begins:].sum(axis=1)

    def days(self, panel: Panel, days: int) -> np.ndarray:
        """(S, days) units of a panel's items on the days after its night."""
        place = {item: row for row, item in enumerate(self.truth.item_id.tolist())}
        rows, first = [place[item] for item in panel.item_id.tolist()], self.column(panel.as_of) + 1
        return self.truth.units[rows, first : first + days].astype(np.float64)
