"""Bad texts from the file to the panel: each is handled, or named; and what doctor says of them."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.cleaning.clean import clean
from pipeline.doctor import examine
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.texts import encode_items
from pipeline.models.panel import Panel
from pipeline.settings import LanguageModelSettings, Settings
from pipeline.training.panel import build_panel
from tests.conftest import write_settings
from tests.ingestion.conftest import Home

DAY = date(2010, 7, 1)
TEXTS = {
    "red tree": "red tree",
    "<b>RED</b>&nbsp;tree": "red tree",
    "&lt;p&gt;Red&amp;nbsp;tree&lt;/p&gt;": "red tree",
    "red\x00tree": "red tree",
    "\ufeffred tr\u00adee\u200b": "red tree",
    "red 🎄 tree": "red tree",
    "": "",
    "🎄🎁": "",
    "\ufffd\ufffd": "",
    "CafÃ© mug": "café mug",
    "中秋月饼礼盒 500g": "中秋月饼礼盒 500g",
    "red " * 2500: ("red " * 2500)[: 16 * 24],
}
"""Texts as delivered, and as a panel has them."""


def panel_of(home: Home, settings: Settings) -> Panel:
    """What a night knows of the home's items, by all the steps from the drop folder on."""
    home.ingest()
    home.validate()
    clean(home.lake, settings)
    build_calendar(home.lake, settings, DAY, date(2010, 8, 1))
    encode_items(home.lake, settings)
    items = [(f"i{number:02}", "") for number in range(len(TEXTS))]
    with as_of_view(home.lake, DAY) as view:
        return build_panel(view, settings, horizon=7, series=items, home=home.path)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_every_bad_text_comes_through_in_one_form_with_one_vector(
    tmp_path: Path, tiny_model: Path, encoding: str
) -> None:
    home = Home(tmp_path)
    home.mapping["orders"]["csv"] = {"encoding": encoding}
    lines = [f"O{number},i{number:02},{text},2,1.50,2010-07-01 09:00:00,C17" for number, text in enumerate(TEXTS)]
    content = "\n".join(("order,item,text,qty,price,time,customer", *lines)) + "\n"
    home.drop("orders.csv", content.encode(encoding))
    settings = home.settings.model_copy(update={"language_model": LanguageModelSettings(model=str(tiny_model))})
    panel = panel_of(home, settings)
    assert [text.strip() for text in panel.item_text.tolist()] == [text.strip() for text in TEXTS.values()]
    assert panel.item_text.itemsize <= 4 * 16 * 24, "one long text must not cost every item as much"
    has_text = np.array([bool(text) for text in TEXTS.values()])
    np.testing.assert_array_equal(panel.text.any(axis=1), has_text)
    assert len(np.unique(panel.text[has_text], axis=0)) == 4
    stored = home.read("SELECT item_text FROM item_text_features")
    assert len(stored) == 4
    again = encode_items(home.lake, settings)
    assert again.encoded == 0


def test_doctor_tries_the_model_on_the_texts_of_the_home(shop, tiny_model: Path) -> None:
    home = shop.lake.home
    home.mkdir(exist_ok=True)

    def said() -> list[tuple[str, str]]:
        return [(one.state, one.text) for one in examine(home) if one.check == "language model"]

    write_settings(home, language_model={"model": str(tiny_model)})
    ((state, text),) = said()
    assert (state, text.split("@")[0]) == ("ok", "tiny-bert"), "no text, nothing to say"
    shop.sell([(item, DAY, 1, 1.0) for item in "ab"])
    shop.see([("a", "红色灯笼", "orders", 1, DAY), ("b", "red tree lamp mug bag box tea", "orders", 1, DAY)])
    encode_items(shop.lake, shop.settings(model=tiny_model))
    ((state, text),) = said()
    assert state == "warn"
    assert "100% of the Chinese letters, in 1 texts" in text
    # another model is tried on them before it has encoded any
    write_settings(home)
    ((state, text),) = said()
    assert state == "warn"
    assert "of the Chinese letters, in 1 texts" in text
    assert "minilm" in text
