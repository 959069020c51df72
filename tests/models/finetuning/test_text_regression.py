"""The text regression behind the forecasters' interface."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TextRegressionSettings
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.text_training import TextJob, TextTraining
from pipeline.models.finetuning.weeks import Weeks
from pipeline.models.text_regression import FittedTextRegression, TextRegression, load_text_regression
from pipeline.settings import QUANTILES, LanguageModelSettings, Settings
from tests.models.contract import answer_of
from tests.models.finetuning.toys import find, opened, quick
from tests.models.network_panels import changed_after, shop_panel, small

CPU = Compute(threads=1)
HEADS = ("quantile", "mse", "mae", "cross_entropy", "multi_task")


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


def forecaster(folder, head="quantile", max_seconds=600.0, training=None, **tuning):
    return TextRegression(
        TextRegressionSettings(on=True, head=head, max_seconds=max_seconds),
        quick(**{"epochs": 0.4, "learning_rate": 1e-3, **tuning}),
        training or small(),
        LanguageModelSettings(model=str(folder)),
    )


@pytest.fixture(scope="module")
def panel():
    panel = shop_panel(series=10, days=98)
    words = np.array(["red lamp", "blue mug", "", "tree", "red tree"] * 2, dtype=np.str_)
    return replace(panel, item_text=words)


@pytest.fixture(scope="module", params=HEADS)
def fitted(request, panel, bert_folder, tmp_path_factory):
    return forecaster(bert_folder, request.param).fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


@pytest.fixture(scope="module")
def one(panel, bert_folder, tmp_path_factory):
    return forecaster(bert_folder).fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


def as_bytes(forecast) -> bytes:
    return forecast.mean.tobytes() + forecast.quantiles.tobytes() + forecast.grid.tobytes()


def learned(fitted):
    return {name: value.numpy().tobytes() for name, value in fitted.learned().items()}


def test_quantiles_are_whole_units_that_never_cross(fitted, panel):
    forecast = answer_of(fitted, panel, 10)
    assert (forecast.grid != np.rint(forecast.grid)).any()
    assert forecast.mean.max() > 0
    assert (forecast.quantiles[:, :, -1] > forecast.quantiles[:, :, 0]).any()
    closed = panel.closed[panel.history : panel.history + 10]
    assert closed.any()
    assert (forecast.mean[:, closed] == 0).all()
    assert (forecast.grid[:, closed] == 0).all()


def test_slices_of_rows_give_the_bytes_of_the_whole(fitted, panel):
    whole = fitted.forecast(panel, 14, grid=True)
    parts = [fitted.forecast(panel.rows(slice(a, b)), 14, grid=True) for a, b in pairwise([0, 1, 4, 10])]
    for name in ("mean", "quantiles", "grid"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_a_longer_horizon_begins_with_the_shorter_one_and_the_grid_changes_nothing(fitted, panel):
    whole = fitted.forecast(panel, 14, grid=True)
    assert whole.quantiles[:, :5].tobytes() == fitted.forecast(panel, 5).quantiles.tobytes()
    assert fitted.forecast(panel, 14).quantiles.tobytes() == whole.quantiles.tobytes()


def test_the_future_changes_nothing(fitted, panel):
    night = 84
    cut = panel.until(night)
    after = changed_after(panel, night, units=900, units_winsorised=900).until(night)
    assert as_bytes(fitted.forecast(cut, 14, grid=True)) == as_bytes(fitted.forecast(after, 14, grid=True))


def test_saved_and_loaded_it_gives_the_same_bytes(fitted, panel, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"tuned.safetensors", "tuned.json"}
    again = registry.load(tmp_path / "model", CPU)
    assert as_bytes(again.forecast(panel, 14, grid=True)) == as_bytes(fitted.forecast(panel, 14, grid=True))
    assert again.dependence == fitted.dependence
    assert again.report.parameters == json.loads(json.dumps(dict(fitted.report.parameters)))
    assert again.describe() == fitted.describe()
    assert fitted.validated is fitted
    assert again.validated is None


@pytest.mark.parametrize("method", ["full", "top_layers", "adalora", "prefix", "prompt"])
def test_every_method_comes_back_from_its_folder(panel, bert_folder, tmp_path, method):
    fitted = forecaster(bert_folder, method=method, epochs=0.1).fit(panel, folder=tmp_path / "fit", compute=CPU)
    fitted.save(tmp_path / "model")
    again = load_text_regression(tmp_path / "model", CPU)
    assert as_bytes(again.forecast(panel, 7, grid=True)) == as_bytes(fitted.forecast(panel, 7, grid=True))


def test_only_adapters_and_head_are_stored(one, panel, bert_folder, tmp_path):
    one.save(tmp_path / "lora")
    forecaster(bert_folder, method="full", epochs=0.05).fit(panel, folder=tmp_path / "fit", compute=CPU).save(
        tmp_path / "full"
    )
    base, lora, full = (
        path.stat().st_size
        for path in (bert_folder / "model.safetensors", *(tmp_path / f / "tuned.safetensors" for f in ("lora", "full")))
    )
    heads = 4 * 33 * (7 * len(QUANTILES) + 7)
    assert lora - heads < 0.5 * base
    assert full > base


def test_another_base_is_refused(one, bert_folder, other_folder, tmp_path):
    one.save(tmp_path)
    stored = json.loads((tmp_path / "tuned.json").read_text())
    assert stored["base"]["id"].startswith("tiny-bert@")
    stored["base"]["path"] = stored["base"]["model"] = str(other_folder)
    (tmp_path / "tuned.json").write_text(json.dumps(stored))
    with pytest.raises(ModelError, match=r"was fine-tuned from tiny-bert@.*other-bert@"):
        registry.load(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "remove", "format"])
def test_a_damaged_model_is_named(one, tmp_path, damage):
    one.save(tmp_path)
    if damage == "truncate":
        weights = tmp_path / "tuned.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "remove":
        (tmp_path / "tuned.safetensors").unlink()
    else:
        (tmp_path / "tuned.json").write_text('{"kind": "text_regression", "format": 99}')
    with pytest.raises(ModelError, match="train again"):
        registry.load(tmp_path)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("base", None),
        ("settings", {"on": True, "head": "no such head"}),
        ("fine_tuning", {"rank": 0}),
        ("reading", {}),
        ("dependence", {"friends": 1}),
        ("report", []),
    ],
)
def test_damaged_content_is_named(one, tmp_path, section, value):
    one.save(tmp_path)
    stored = json.loads((tmp_path / "tuned.json").read_text()) | {section: value}
    (tmp_path / "tuned.json").write_text(json.dumps(stored))
    with pytest.raises(ModelError, match=r"the stored text_regression cannot be read (?s:.*); train again"):
        load_text_regression(tmp_path)
    del stored[section]
    (tmp_path / "tuned.json").write_text(json.dumps(stored))
    with pytest.raises(ModelError, match=rf"cannot be read \('{section}'\); train again"):
        load_text_regression(tmp_path)


def test_the_same_seed_gives_the_same_bytes(panel, bert_folder, tmp_path, one):
    again = forecaster(bert_folder).fit(panel, folder=tmp_path / "a", compute=CPU)
    other = forecaster(bert_folder, training=small(seed=8)).fit(panel, folder=tmp_path / "b", compute=CPU)
    assert learned(again) == learned(one)
    assert learned(again) != learned(other)
    assert again.dependence == one.dependence


def test_a_killed_training_resumes_to_the_same_bytes(panel, bert_folder, tmp_path, monkeypatch, one):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == 3:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        forecaster(bert_folder).fit(panel, folder=tmp_path, compute=CPU)
    monkeypatch.setattr(Loop, "_train_step", real)
    assert learned(forecaster(bert_folder).fit(panel, folder=tmp_path, compute=CPU)) == learned(one)


@pytest.mark.slow
def test_two_processes_train_it_too(panel, bert_folder, tmp_path):
    two = forecaster(bert_folder, processes=2).fit(panel, folder=tmp_path / "two", compute=Compute(threads=2))
    one = forecaster(bert_folder, accumulate=2).fit(panel, folder=tmp_path / "one", compute=CPU)
    for name, weight in one.learned().items():
        torch.testing.assert_close(weight, two.learned()[name], atol=1e-4, rtol=1e-3)


def test_learns_the_week(bert_folder, tmp_path):
    panel = shop_panel(series=12, days=140)
    tuned = forecaster(bert_folder, epochs=6.0, learning_rate=5e-3, head_learning_rate=2e-2, batch_size=32, patience=99)
    fitted = tuned.fit(panel, folder=tmp_path, compute=CPU)
    curve = fitted.report.curves["validation_loss"]
    assert min(curve) < 0.75 * curve[0]
    mean = fitted.forecast(panel, 7).mean.mean(0)
    assert mean[5] > 1.5 * mean[1]  # Saturdays sell four times what Tuesdays do


def test_it_goes_on_from_an_older_one(one, bert_folder, other_folder, tmp_path):
    longer = shop_panel(series=10, days=105)
    tuned = forecaster(bert_folder, training=small(update_steps=2))
    updated = tuned.fit(longer, folder=tmp_path / "a", compute=CPU, start=one)
    assert updated.report.parameters["steps"] <= 2
    with pytest.raises(ModelError, match="has seen all days"):
        tuned.fit(shop_panel(series=10, days=98), folder=tmp_path / "b", compute=CPU, start=one)
    with pytest.raises(ModelError, match="cannot go on from"):
        forecaster(other_folder).fit(longer, folder=tmp_path / "c", compute=CPU, start=one)


@pytest.mark.parametrize("name", ["text_regression", "fusion"])
def test_a_home_s_settings_make_it(name, tmp_path):
    settings = Settings.model_validate(
        {
            "shop": {"name": "A shop", "country": "GB", "timezone": "UTC", "currency": "GBP"},
            "sources": [{"mapping": "any"}],
            "training": {"max_seconds": 33.0},
            "fine_tuning": {"method": "adalora"},
        }
    )
    made = registry.make(name, settings, tmp_path)
    assert (made.name, made.home, made.fine_tuning.method) == (name, tmp_path, "adalora")
    assert made.settings.max_seconds == 33.0
    assert made.language_model.model == "minilm-l6-v2"


@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_a_decoder_can_be_the_base_too(panel, bert_folder, tmp_path, method):
    from transformers import GPT2Config, GPT2Model

    folder = shutil.copytree(bert_folder, tmp_path / "tiny-gpt2")
    torch.manual_seed(0)
    GPT2Model(
        GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=2, eos_token_id=3)
    ).save_pretrained(folder)
    fitted = forecaster(folder, method=method, epochs=0.1).fit(panel, folder=tmp_path / "fit", compute=CPU)
    fitted.save(tmp_path / "model")
    again = registry.load(tmp_path / "model", CPU)
    assert as_bytes(again.forecast(panel, 7, grid=True)) == as_bytes(fitted.forecast(panel, 7, grid=True))
    assert fitted.report.parameters["base"].startswith("tiny-gpt2@")


def test_too_little_is_refused_by_name(panel, bert_folder, tmp_path):
    with pytest.raises(HistoryError, match=r"training\.min_history_days"):
        forecaster(bert_folder).fit(shop_panel(days=40), folder=tmp_path, compute=CPU)
    with pytest.raises(ModelError, match=r"members\.text_regression\.max_seconds"):
        forecaster(bert_folder, max_seconds=1e-5).fit(panel, folder=tmp_path, compute=CPU)
    with pytest.raises(ModelError, match=r"language_model\.model"):
        forecaster("./nowhere").fit(panel, folder=tmp_path, compute=CPU)


def test_a_new_head_that_learned_nothing_is_refused(panel, bert_folder, tmp_path, monkeypatch, one):
    worse = iter(range(100))
    monkeypatch.setattr(TextTraining, "_score", lambda self: float(next(worse)))
    longer = shop_panel(series=10, days=105)
    kept = forecaster(bert_folder).fit(longer, folder=tmp_path / "update", compute=CPU, start=one)
    assert learned(kept) == learned(one)  # an update may find nothing better
    with pytest.raises(ModelError, match=r"learned nothing: .*raise members\.text_regression\.max_seconds \(now 600\)"):
        forecaster(bert_folder).fit(panel, folder=tmp_path / "new", compute=CPU)


def test_seconds_for_a_few_steps_of_many_are_refused(panel, bert_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "steps_affordable", lambda *_: (39, 1))
    with pytest.raises(
        ModelError, match=r"allow 39 of \d+ steps.*raise members\.text_regression\.max_seconds in almanac\.yaml to 616"
    ):
        forecaster(bert_folder, epochs=5.0).fit(panel, folder=tmp_path, compute=CPU)


@pytest.mark.parametrize("parts", [1, 3])
def test_it_validates_in_the_parts_that_it_learns_in(panel, bert_folder, tmp_path, monkeypatch, parts):
    job = TextJob(
        panel=panel, settings=forecaster(bert_folder).settings, fine_tuning=quick(accumulate=parts), training=small(),
        found=find(bert_folder), folder=tmp_path,
    )  # fmt: skip
    training, sizes = TextTraining(job, Peers()), []
    real = training._loss
    monkeypatch.setattr(training, "_loss", lambda weeks, index: (sizes.append(len(index)), real(weeks, index))[1])
    training._score()
    assert max(sizes) <= -(-8 // parts)
    assert sum(sizes) == len(training.held.rows)


def test_the_horizon_ends_where_the_calendar_ends(one, panel):
    with pytest.raises(ModelError, match="15 days, but the panel knows the calendar of 14"):
        one.forecast(panel, 15)


def test_items_without_any_sale_get_a_forecast(one, panel):
    assert isinstance(one, FittedTextRegression)
    unsold = replace(
        panel,
        units=panel.units * 0,
        units_winsorised=panel.units * 0,
        price=panel.price * np.nan,
        first_sold=np.full(panel.series, panel.history),
    )
    assert np.isfinite(one.forecast(unsold, 14, grid=True).mean).all()


def test_the_days_held_back_are_not_learned(panel, bert_folder):
    known = panel.history - 14
    other = changed_after(panel, known, units=900, units_winsorised=900)
    before, after = (Weeks.drawn(some, opened(bert_folder), known, 7) for some in (panel, other))
    assert before.tokens == after.tokens
    assert torch.equal(before.weights, after.weights)
    learned = before.weights > 0
    assert learned.any(0).sum() == 6  # all weekdays but the closed one
    assert torch.equal(before.ratio[learned], after.ratio[learned])


def test_examples_are_monday_first(panel, bert_folder):
    weeks = Weeks.drawn(panel, opened(bert_folder), panel.history, 7)
    for row, night, ahead, scale, ratio, counts in zip(
        weeks.rows, weeks.nights, weeks.ahead, weeks.scale, weeks.ratio, weeks.counts, strict=True
    ):
        for lead in range(1, 8):
            day = night + 7 * ahead + lead
            weekday = (panel.first_day.weekday() + day) % 7
            assert bool(counts[weekday]) == (day < panel.history and not panel.closed[day])
            if counts[weekday]:
                assert float(ratio[weekday] * scale) == pytest.approx(panel.units[row, day], abs=1e-3)
