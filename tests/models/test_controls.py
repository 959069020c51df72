"""Controls take from items what their words tell, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.cli import Control
from pipeline.models.controls import CONTROLS, category_only, control_of, shuffled, under
from tests.models.launching_shop import launching_shop


@pytest.fixture(scope="module")
def panel():
    panel = launching_shop(days=200, there=40, launches=20, last=0)[0]
    return replace(panel, category=(np.arange(panel.series) % 3).astype(np.int64), category_names=("", "cups", "bags"))


def test_the_command_line_knows_every_control():
    assert {control.value for control in Control} == set(CONTROLS)


@pytest.mark.parametrize("control", CONTROLS)
def test_only_texts_change(panel, control):
    other = CONTROLS[control](panel)
    assert (other.text != panel.text).any(axis=1).mean() > 0.9
    assert replace(other, text=panel.text, item_text=panel.item_text).fingerprint() == panel.fingerprint()


def test_shuffled_every_text_is_there_once_with_its_own_vector(panel):
    other = shuffled(panel)
    assert sorted(other.item_text) == sorted(panel.item_text)
    place = {text: row for row, text in enumerate(panel.item_text)}
    assert (other.text == panel.text[[place[text] for text in other.item_text]]).all()


def test_locations_of_an_item_share_the_text_they_are_dealt(panel):
    twice = np.tile(np.arange(panel.series), 2)
    both = replace(panel.rows(twice), location=np.repeat(["a", "b"], panel.series))
    dealt = shuffled(both)
    assert (dealt.text[: panel.series] == dealt.text[panel.series :]).all()
    assert (dealt.text[: panel.series] == shuffled(panel).text).all()


def test_items_of_a_category_are_alike(panel):
    other = category_only(panel)
    for number, name in enumerate(panel.category_names):
        mine = panel.category == number
        assert (other.text[mine] @ other.text[mine][0]).min() > 0.999
        assert set(other.item_text[mine]) == {name}
    assert np.linalg.norm(other.text, axis=1) == pytest.approx(1.0, abs=1e-2)


def test_names_of_models_under_control_can_be_told():
    assert control_of("ensemble") == ("ensemble", None)
    assert control_of(under("ensemble", "shuffle-text")) == ("ensemble", shuffled)
