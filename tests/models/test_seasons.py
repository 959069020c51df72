"""Seasons of items from words and sales, on a generated shop where one theme of four sells 25 times as much in December."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.launches.facts import Facts
from pipeline.models.seasons.belief import Belief
from pipeline.models.seasons.library import SeasonLibrary
from pipeline.models.seasons.sums import MONTH, SeasonSums
from tests.models import launching_shop as generated


@pytest.fixture(scope="module")
def shop():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generated, "DECEMBER", (1.0, 1.0, 1.0, 25.0))
        return generated.launching_shop(last=200)


@pytest.fixture(scope="module")
def sums(shop):
    return SeasonSums.of(Facts(shop[0]))


def column(sums, name):
    return [season.name for season in sums.seasons].index(name)


def established(shop):
    panel = shop[0]
    return np.flatnonzero(panel.first_sold < 300)


def test_what_sells_in_december_is_seen_in_its_sales(shop, sums):
    lifts = np.exp(sums.lifts()[:, column(sums, "december")])
    rows = established(shop)
    of_theme = [np.nanmedian(lifts[rows][shop[1][rows] == theme]) for theme in range(4)]
    assert of_theme[3] > 1.5
    assert max(of_theme[:3]) < 1.0


def test_an_item_of_the_shops_own_seasons_sells_as_usual(sums):
    usual = sums.usual()
    months = [number for number, season in enumerate(sums.seasons) if season.kind == MONTH]
    assert usual[:, months].sum(axis=1) == pytest.approx(sums.total)
    assert usual[:, months].sum(axis=0) == pytest.approx(sums.came[:, months].sum(axis=0), rel=0.25)


def test_shares_of_the_months_are_a_year(sums):
    months = [number for number, season in enumerate(sums.seasons) if season.kind == MONTH]
    shares = sums.shares()
    assert shares[months].sum() == pytest.approx(1.0)
    assert shares[column(sums, "december")] == max(shares[months])
    winter = shares[[column(sums, name) for name in ("december", "january", "february")]].sum()
    assert shares[column(sums, "december_to_february")] == pytest.approx(winter)


def test_a_season_in_which_an_item_was_not_on_sale_is_not_known(shop, sums):
    late = shop[0].first_sold >= shop[0].history
    assert late.any()
    assert not sums.known()[late].any()
    assert np.isnan(sums.lifts()[late]).all()


def test_slices_joined_are_the_whole(shop, sums):
    panel = shop[0]
    parts = [SeasonSums.of(Facts(panel.rows(rows))) for rows in np.array_split(np.arange(panel.series), 3)]
    joined = SeasonSums.joined(parts)
    assert joined.came.tobytes() == sums.came.tobytes()
    assert joined.usual() == pytest.approx(sums.usual())


def test_words_tell_which_items_sell_in_december(shop, sums):
    panel, rows = shop[0], established(shop)
    library = SeasonLibrary.of(sums, rows, panel, seed=7)
    new = np.flatnonzero(panel.first_sold >= panel.history)
    told = library.told(panel.text[rows], panel.text[new], np.full(len(new), -1))
    belief = Belief.of(told)
    december = column(sums, "december")
    said = belief.certainty[:, december] >= library.thresholds[december]
    truth = shop[1][new] == 3
    assert (said == truth).mean() > 0.95
    assert library.scores["december"]["auc"] > 0.9
    assert 0.35 < library.scores["december"]["auc_shuffle_text"] < 0.65
    assert 0.35 < library.scores["december"]["auc_category_only"] < 0.65  # of a shop with one category


def test_words_of_other_items_tell_nothing(shop, sums):
    panel, rows = shop[0], established(shop)
    dealt = panel.text[np.random.default_rng(3).permutation(panel.series)]
    scores = SeasonLibrary.of(sums, rows, replace(panel, text=dealt), seed=7).scores["december"]
    assert 0.35 < scores["auc"] < 0.65


def test_read_back_it_is_the_same(shop, sums):
    panel, rows = shop[0], established(shop)
    library = SeasonLibrary.of(sums, rows, panel, seed=7)
    again = SeasonLibrary.from_json(library.to_json(), library.lifts)
    assert again.seasons == library.seasons
    assert again.scores == library.scores
    assert again.thresholds.tobytes() == library.thresholds.tobytes()


def test_without_vectors_nothing_is_told(shop, sums):
    rows = established(shop)
    bare = np.zeros((shop[0].series, 0), np.float32)
    library = SeasonLibrary.of(sums, rows, replace(shop[0], text=bare), seed=7)
    assert not library.scores
    assert (library.told(bare[rows], bare[rows], np.arange(len(rows))) == 1.0).all()


def test_sales_outweigh_words_as_they_come_in():
    told = np.full((1, 1), 3.0)
    some = [Belief.of(told, np.array([[float(n)]]), np.array([[float(n)]])).mean.item() for n in (0, 3, 30, 3000)]
    assert some[0] == pytest.approx(3.0)
    assert some == sorted(some, reverse=True)
    assert some[-1] == pytest.approx(1.0, abs=0.01)


def test_more_sales_are_surer():
    told = np.ones((1, 1))
    certainty = [
        Belief.of(told, np.full((1, 1), 3.0 * n), np.full((1, 1), float(n))).certainty.item() for n in (1, 5, 50)
    ]
    assert certainty == sorted(certainty)
    assert certainty[-1] > 0.99


def test_the_report_has_every_score_beside_both_controls_but_none_of_single_months(shop, sums, monkeypatch):
    monkeypatch.setattr("pipeline.models.seasons.library.LEAST_LIFT", 1.2)
    told = SeasonLibrary.of(sums, established(shop), shop[0], seed=7).summary()
    scores = ("auc", "auc_shuffle_text", "auc_category_only", "f1", "accuracy")
    assert {f"december_to_february_{score}" for score in scores} <= told.keys()
    assert not [name for name in told if name.startswith("december_") and not name.startswith("december_to")]
