"""Launches: new items are forecast from words, price and kind, and nothing is read of a day before it was known."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import HistoryError, ModelError
from pipeline.models.base import Compute
from pipeline.models.launches.examples import SHOP_SHARE, Texts, Words
from pipeline.models.launches.facts import Facts
from pipeline.models.launches.forecaster import Launches
from pipeline.models.launches.similar import nearest
from pipeline.models.paths import Paths, SeriesPaths, finest
from pipeline.models.registry import load
from tests.models.contract import answer_of
from tests.models.launching_shop import THEMES, launching_shop

CPU = Compute(threads=1)
MONTH = 28


@pytest.fixture(scope="module")
def shop():
    return launching_shop(days=690, last=200)  # the night is 24 November


@pytest.fixture(scope="module")
def fitted(shop, tmp_path_factory):
    return Launches().fit(shop[0], folder=tmp_path_factory.mktemp("launches"), compute=CPU)


def new_items(shop):
    panel, theme, rate = shop
    rows = np.flatnonzero(panel.first_sold == panel.history)
    return panel.rows(rows), theme[rows], rate[rows][:, panel.history :]


def wape(mean, rate):
    return np.abs(mean - rate).sum() / rate.sum()


def fit(panel, folder):
    return Launches().fit(panel, folder=folder, compute=CPU)


def test_the_answer_keeps_the_contract(shop, fitted):
    for days in (7, 28, 91):
        answer_of(fitted, shop[0], days)


def test_words_tell_how_well_a_new_item_will_sell(shop, fitted):
    new, theme, rate = new_items(shop)
    mean = fitted.forecast(new, MONTH).mean.sum(axis=1)
    expected = [mean[theme == kind].mean() for kind in range(THEMES)]
    true = [rate[theme == kind][:, :MONTH].sum(axis=1).mean() for kind in range(THEMES)]
    assert np.argsort(expected).tolist() == np.argsort(true).tolist()
    assert expected[2] / expected[0] == pytest.approx(true[2] / true[0], rel=0.4)


def test_without_words_and_with_words_of_other_items_less_is_known(shop, fitted, tmp_path):
    panel, _, _ = shop
    new, _, rate = new_items(shop)
    true = rate[:, :MONTH].sum(axis=1)

    def error(text):
        other = replace(panel, text=text)
        mine = new_items((other, shop[1], shop[2]))[0]
        return wape(fit(other, tmp_path).forecast(mine, MONTH).mean.sum(axis=1), true)

    told = wape(fitted.forecast(new, MONTH).mean.sum(axis=1), true)
    none = error(np.zeros((panel.series, 0), np.float32))
    shuffled = error(panel.text[np.random.default_rng(1).permutation(panel.series)])
    assert told < 0.75 * none
    assert shuffled == pytest.approx(none, rel=0.06)


def test_words_tell_the_season(shop, fitted):
    new, theme, _ = new_items(shop)
    mean = fitted.forecast(new, 91).mean
    december, january = slice(7, 38), slice(38, 69)
    ratio = mean[:, december].sum(axis=1) / mean[:, january].sum(axis=1)
    seasonal, others = ratio[theme == THEMES - 1].mean(), ratio[theme != THEMES - 1].mean()
    assert seasonal > 1.5 * others
    assert others == pytest.approx(1.0, abs=0.35)


def test_the_interval_of_a_month_covers_what_it_claims(shop, fitted):
    new, _, rate = new_items(shop)
    came = np.random.default_rng(3).poisson(rate[:, :MONTH]).sum(axis=1)
    answer = fitted.forecast(new, MONTH, grid=True)
    paths = Paths(new.as_of, "test", fitted.dependence, finest(answer)[1], MONTH, 200)
    drawn = SeriesPaths(paths, new.item_id, new.location, answer)
    sums = np.stack([drawn.draw(row)[0].sum(axis=0) for row in range(new.series)])
    low, high = np.quantile(sums, [0.1, 0.9], axis=1)
    assert 0.72 < ((came >= low) & (came <= high)).mean() < 0.9


def test_slices_of_rows_give_the_bytes_of_the_whole(shop, fitted):
    panel = shop[0].rows(np.arange(500, 640))
    whole = fitted.forecast(panel, 30, grid=True)
    parts = [fitted.forecast(panel.rows(slice(start, start + 35)), 30, grid=True) for start in range(0, 140, 35)]
    for name in ("mean", "quantiles", "grid", "item_share"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()
    assert np.concatenate([part.stretches.spread for part in parts]).tobytes() == whole.stretches.spread.tobytes()


def test_read_back_it_answers_the_same_bytes(shop, fitted, tmp_path):
    fitted.save(tmp_path)
    again = load(tmp_path, CPU)
    new = new_items(shop)[0]
    one, two = (which.forecast(new, 40, grid=True) for which in (fitted, again))
    assert one.grid.tobytes() == two.grid.tobytes()
    assert again.describe() == fitted.describe()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_an_announced_item_sells_nothing_before_it_is_on_sale(shop, fitted):
    new = new_items(shop)[0]
    later = replace(new, on_sale=np.full(new.series, new.history + 10))
    answer = fitted.forecast(later, 91, grid=True)
    assert not answer.mean[:, :10].any()
    assert not answer.grid[:, :10].any()
    assert (answer.mean[:, 10:].sum(axis=1) > 0).all()
    # its first weeks are those of a launch on that day
    begins = answer.mean[:, 10 : 10 + MONTH].sum(axis=1)
    assert begins.sum() == pytest.approx(fitted.forecast(new, 91).mean[:, 10 : 10 + MONTH].sum(), rel=0.25)


def test_sales_of_the_first_days_count_more_than_words(shop, fitted):
    panel = shop[0]
    rows = np.flatnonzero(panel.history - panel.first_sold == 14)[:1]
    rows = rows if len(rows) else np.flatnonzero(np.abs(panel.history - panel.first_sold - 14) <= 3)[:1]
    one = panel.rows(rows)
    busy = replace(one, units=one.units.copy(), units_winsorised=one.units_winsorised.copy())
    busy.units[:, -14:] = busy.units_winsorised[:, -14:] = 20
    assert fitted.forecast(busy, MONTH).mean.sum() > 3 * fitted.forecast(one, MONTH).mean.sum()


def test_neighbours_are_items_of_the_same_theme_and_never_the_item_itself(shop, fitted):
    panel, theme, _ = shop
    rows = np.arange(200, 500)
    near = fitted.neighbours(panel.rows(rows), 5)
    names = np.array(fitted.items)[near.index]
    place = {item: row for row, item in enumerate(panel.item_id.tolist())}
    themes = theme[np.vectorize(place.get)(names)]
    assert (themes == theme[rows][:, None]).mean() > 0.99
    assert (names != panel.item_id[rows][:, None]).all()
    assert (np.diff(near.cosine, axis=1) <= 1e-12).all()


def test_what_was_known_of_a_launch_does_not_change_with_what_came(shop):
    panel = shop[0]
    day = 300
    rows = np.flatnonzero((panel.first_sold >= 90) & (panel.first_sold < day))
    units = panel.units.copy()
    units[:, day:] = np.random.default_rng(5).permutation(units[:, day:], axis=1) * 3 + 1
    other = replace(panel, units=units, units_winsorised=units)
    one, two = (Words.as_known(Facts(of), Texts(of.text, of.text), rows) for of in (panel, other))
    assert one.level.tobytes() == two.level.tobytes()
    assert one.lifts.tobytes() == two.lifts.tobytes()


def test_an_item_does_not_tell_of_itself(shop):
    panel = shop[0]
    rows = np.flatnonzero((panel.first_sold > 200) & (panel.first_sold < 400))[:20]
    units = panel.units.copy()
    units[rows] *= 50
    other = replace(panel, units=units, units_winsorised=units)
    # the established items of that day are the same, but for the rows themselves, which were not yet
    first = rows[panel.first_sold[rows] == panel.first_sold[rows].min()]
    one, two = (Words.as_known(Facts(of), Texts(of.text, of.text), first) for of in (panel, other))
    assert one.level.tobytes() == two.level.tobytes()


def test_a_shop_that_saw_few_launches_is_told_so(tmp_path):
    panel = launching_shop(days=300, launches=20)[0]
    with pytest.raises(HistoryError, match="items were first sold in the history"):
        fit(panel, tmp_path)


def test_text_that_says_nothing_is_like_nothing(shop, fitted):
    new = new_items(shop)[0]
    empty = replace(new, text=np.zeros_like(new.text))
    words = fitted.words(empty)
    assert not words.level.any()
    assert (words.lifts == SHOP_SHARE * fitted.season).all()  # but that the shop has seasons
    assert np.isfinite(fitted.forecast(empty, MONTH).mean).all()


# --- one text for many items ------------------------------------------------------------------------------------------


def test_one_text_for_all_items_tells_nothing(shop, tmp_path):
    panel = shop[0]
    same = replace(panel, text=np.repeat(panel.text[:1], panel.series, axis=0))
    none = replace(panel, text=np.zeros((panel.series, 0), np.float32))
    fitted, wordless = fit(same, tmp_path), fit(none, tmp_path)
    new, bare = (new_items((one, *shop[1:]))[0] for one in (same, none))
    words = fitted.words(new)
    assert not words.level.any()
    assert (words.lifts == SHOP_SHARE * fitted.season).all()  # of the shop, not of some of its items
    assert not fitted.neighbours(new, 5).weight.any()
    np.testing.assert_allclose(fitted.forecast(new, 91).mean, wordless.forecast(bare, 91).mean, rtol=1e-9)


def test_a_text_that_many_share_leaves_the_others_their_neighbours(shop, tmp_path):
    panel, theme, _ = shop
    text = panel.text.copy()
    shared = (theme == 0) & (panel.first_sold < panel.history)
    assert shared.sum() > 100
    text[shared] = text[np.flatnonzero(shared)[0]]
    fitted = fit(replace(panel, text=text), tmp_path)
    one = fitted.items.index(panel.item_id[np.flatnonzero((theme == 3) & (panel.first_sold == 0))[0]])
    near = fitted.neighbours(replace(panel, text=text).rows(np.flatnonzero(shared)[:3]), 5)
    assert not near.weight.any()
    others = fitted.neighbours(replace(panel, text=text).rows(np.flatnonzero(theme == 3)), 5)
    assert (others.weight > 0).all()
    assert one in others.index


def test_a_few_sizes_of_one_thing_are_neighbours(shop, fitted):
    new = new_items(shop)[0].rows(slice(0, 1))
    sizes = np.repeat(new.text.astype(np.float64), 12, axis=0)
    others = np.random.default_rng(2).normal(size=(200, sizes.shape[1]))
    library = np.concatenate([others / np.linalg.norm(others, axis=1, keepdims=True), sizes])
    near = nearest(library, new.text, count=5, sharpness=8.0)
    assert near.index.tolist() == [[200, 201, 202, 203, 204]]
    assert (near.weight > 0).all()


def test_text_vectors_of_another_language_model_are_refused(shop, fitted):
    new = new_items(shop)[0]
    other = replace(new, text=np.ones((new.series, 24), np.float32))
    with pytest.raises(
        ModelError, match=r"vectors of 16 numbers, but the items carry 24: language_model in almanac\.yaml"
    ):
        fitted.forecast(other, MONTH)
