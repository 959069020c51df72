"""What a run refuses before it writes anything."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.cli import EXIT_PERMANENT, main

SETTINGS = (
    "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsources: [{mapping: generated-shop}]\n"
)


@pytest.mark.parametrize(
    ("more", "arguments", "told"),
    [
        ("", ["--as-of", (date.today() + timedelta(days=2)).isoformat()], "not over"),
        ("", ["--as-of", "1999-12-31"], "nights begin with"),
        ("language_model: {model: ./no-such-model}\n", [], "no-such-model"),
        ("", ["--as-of", "yesterday"], "yesterday"),
    ],
    ids=["a night to come", "a night too long ago", "unknown language model folder", "no date"],
)
def test_refused_before_anything_is_written(
    tmp_path: Path, more: str, arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "almanac.yaml").write_text(SETTINGS + more, encoding="utf-8")
    assert main(["run", "--home", str(tmp_path), *arguments]) in {EXIT_PERMANENT, 2}
    message = capfd.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["almanac.yaml"]


def test_an_unknown_mapping_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = SETTINGS.replace("mapping: generated-shop", "mapping: generated-shp")
    (tmp_path / "almanac.yaml").write_text(text, encoding="utf-8")
    assert main(["run", "--home", str(tmp_path)]) == EXIT_PERMANENT
    assert "generated-shop" in capfd.readouterr().err


def test_an_empty_drop_folder_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "almanac.yaml").write_text(SETTINGS, encoding="utf-8")
    assert main(["run", "--home", str(tmp_path)]) == EXIT_PERMANENT
    message = capfd.readouterr().err
    assert str(tmp_path / "orders") in message
    assert not (tmp_path / "lake").exists() or not list((tmp_path / "lake").rglob("*.parquet"))


def test_small_is_for_the_generated_shop(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["init", "--home", str(tmp_path / "home"), "--example", "complete-journey", "--small"]) == EXIT_PERMANENT
    )
    assert "--small goes with" in capfd.readouterr().err
