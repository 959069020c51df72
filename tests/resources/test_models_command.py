"""`almanac models` and `almanac rollback` on a home whose versions were made in no time."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.cli import EXIT_PERMANENT, main
from pipeline.lake import Lake
from pipeline.models.panel import Panel
from pipeline.settings import Settings
from pipeline.training.record import TrainingRecord
from pipeline.training.verdict import CHALLENGE, FIRST, RENEWAL, Comparison, OriginScores, Verdict
from resources.tracking import ModelVersion, Tracking
from tests.resources.versions import train

FIRST_NIGHT, UPDATED, NIGHT = date(2024, 3, 1), date(2024, 4, 1), date(2024, 4, 20)
ORIGINS = tuple(OriginScores(date(2024, 1 + k, 5), 0.81 + k / 100, 0.71, 0.02, 0.01, 90) for k in range(3))
POOLED = Comparison(date(2024, 1, 6), date(2024, 4, 2), 95, 0.823, 0.712, 0.08, 0.22, 0.02, 0.01, None)
YAML = "shop: {name: Test Shop, country: GB, timezone: Europe/London, currency: GBP}\nsources: [{mapping: online-retail-ii}]\n"


def record(as_of: date, kind: str, parent: str, champion: str, verdict: Verdict) -> TrainingRecord:
    reason = "a month has passed" if kind == "update" else "settings changed"
    return TrainingRecord(as_of, "f" * 32, "s", kind, parent, reason, "cpu", 12.5, champion, verdict)


@pytest.fixture
def shop(home: Path, tracking: Tracking, settings: Settings, panel: Panel) -> Path:
    """A network, its update, and a challenger that lost."""
    one, two = "almanac-test-shop/1", "almanac-test-shop/2"
    (home / "almanac.yaml").write_text(YAML, encoding="utf-8")
    for made in (
        record(FIRST_NIGHT, "full", "", "", Verdict(True, "the first of its home", rule=FIRST)),
        record(UPDATED, "update", one, one, Verdict(True, "not worse", rule=RENEWAL)),
        record(NIGHT, "full", "", two, Verdict(False, "significantly worse", POOLED, CHALLENGE, ORIGINS)),
    ):
        version = train(tracking, settings, panel, made.as_of, promote=made.verdict.promoted, tags=made.tags())
        made.write(Lake(home), version.model_version, run_id=version.run_id, made_at=version.made_at)
    pooled = {"model": "seasonal_naive", "origin": "all", "slice": "all", "metric": "wql", "score": 0.654}
    tracking.run(tracking.version(one).run_id).log_scores(pa.Table.from_pylist([pooled]))
    return home


def told(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    assert main(list(command)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def champions(home: Path, *nights: date) -> list[int | None]:
    found = [Tracking(home, "Test Shop").champion(night) for night in nights]
    return [one.number if isinstance(one, ModelVersion) else None for one in found]


def decisions(home: Path) -> list[tuple[Any, ...]]:
    lake = Lake(home)
    with lake.connect() as con:
        return con.execute(
            "SELECT as_of, challenger, champion, promoted, rule, reason "
            f"FROM ({lake.select('champion_decisions')}) WHERE rule = 'rollback' ORDER BY made_at"
        ).fetchall()


def test_versions_are_listed_with_lineage_decision_and_scores(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, _, *lines = told(capsys, "models", "--home", str(shop)).strip().splitlines()
    assert head.split()[:6] == ["model_version", "as_of", "kind", "parent", "champion", "decision"]
    first, second, third = (line.split() for line in lines)
    assert first[:3] == ["almanac-test-shop/1", "2024-03-01", "full"]
    assert "0.654" in first
    assert second[2:5] == ["update", "almanac-test-shop/1", "champion"]
    assert "promoted (renewal)" in lines[1]
    assert "champion" not in third
    assert "refused (challenge)" in lines[2]
    assert {"0.823", "12.5", "cpu"} <= set(third), "the WQL of its recipe at past origins"


def test_one_version_is_shown_in_full(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    updated = told(capsys, "models", "--home", str(shop), "--version", "almanac-test-shop/2")
    assert updated.startswith("almanac-test-shop/2, champion: update, trained as of 2024-04-01 (a month has passed)")
    lineage = updated[updated.index("Lineage") : updated.index("Decisions")]
    assert lineage.index("almanac-test-shop/1") < lineage.index("almanac-test-shop/2")
    assert "almanac-test-shop/3" not in lineage
    assert "2024-04-20 almanac-test-shop/3: significantly worse" in updated, "what was decided against it"
    assert "none kept: an older Almanac trained it" in updated

    lost = told(capsys, "models", "--home", str(shop), "--version", "3")
    assert [origin in lost for origin in ("2024-01-05", "2024-02-05", "2024-03-05")] == [True] * 3
    assert "WQL 0.823 at past origins" in lost
    unknown = told(capsys, "models", "--home", str(shop), "--version", "9", code=EXIT_PERMANENT)
    assert "no model version 'almanac-test-shop/9'" in unknown


def test_a_home_without_versions_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "almanac.yaml").write_text(YAML, encoding="utf-8")
    for command in (("models",), ("models", "--version", "1"), ("rollback",)):
        error = told(capsys, *command, "--home", str(home), code=EXIT_PERMANENT)
        assert "no model version was trained yet" in error or "no champion to roll back from" in error


def test_a_roll_back_serves_from_the_newest_night_on_and_is_written_down(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = champions(shop, FIRST_NIGHT, UPDATED, NIGHT - timedelta(days=1))
    out = told(capsys, "rollback", "--home", str(shop))
    assert "almanac-test-shop/1 is champion in place of almanac-test-shop/2: nights from 2024-04-20 on" in out
    assert champions(shop, FIRST_NIGHT, UPDATED, NIGHT - timedelta(days=1)) == before == [1, 2, 2]
    assert champions(shop, NIGHT, NIGHT + timedelta(days=400)) == [1, 1]
    told_why = "rolled back from almanac-test-shop/2"
    assert decisions(shop) == [(NIGHT, "almanac-test-shop/1", "almanac-test-shop/2", True, "rollback", told_why)]
    first, second, _ = told(capsys, "models", "--home", str(shop)).strip().splitlines()[2:]
    assert "champion" in first.split()
    assert "champion" not in second.split()

    error = told(capsys, "rollback", "--home", str(shop), code=EXIT_PERMANENT)
    assert "is the first of its home" in error
    told(capsys, "rollback", "--home", str(shop), "--to", "2")
    assert champions(shop, NIGHT) == [2]
    assert [row[1] for row in decisions(shop)] == ["almanac-test-shop/1", "almanac-test-shop/2"]


def test_a_version_that_cannot_be_read_is_not_put_back(
    shop: Path, tracking: Tracking, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in tracking.version("almanac-test-shop/1").folder.rglob("*.json"):
        file.write_text("{}", encoding="utf-8")
    for options, says in ((("--to", "1"), "train again"), ((), "is the first of its home that can be read")):
        assert says in told(capsys, "rollback", "--home", str(shop), *options, code=EXIT_PERMANENT)
    assert champions(shop, NIGHT) == [2]
    assert decisions(shop) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--to", "9"), "no model version 'almanac-test-shop/9'"),
        (("--to", "almanac-other/1"), "no model version 'almanac-other/1'"),
        (("--to", "2"), "almanac-test-shop/2 is the champion of the night of 2024-04-20 already"),
        (("--to", "3", "--as-of", "2024-04-10"), "almanac-test-shop/3 was trained on the night of 2024-04-20"),
        (("--as-of", "2024-02-01"), "no champion to roll back from on the night of 2024-02-01"),
        (
            ("--as-of", "2024-03-15"),
            "almanac-test-shop/1, champion of the night of 2024-03-15, is the first of its home",
        ),
    ],
    ids=["unknown", "another shop's", "champion already", "trained later", "before all", "nothing before"],
)
def test_a_roll_back_that_cannot_be_is_refused_and_changes_nothing(
    shop: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    assert says in told(capsys, "rollback", "--home", str(shop), *options, code=EXIT_PERMANENT)
    assert champions(shop, FIRST_NIGHT, UPDATED, NIGHT) == [1, 2, 2]
    assert decisions(shop) == []


def test_a_roll_back_of_a_past_night_says_until_when_it_holds(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "rollback", "--home", str(shop), "--to", "3")
    out = told(capsys, "rollback", "--home", str(shop), "--as-of", "2024-04-05")
    assert "nights from 2024-04-05 on use it up to 2024-04-20, when a champion takes over" in out
    assert champions(shop, date(2024, 4, 4), date(2024, 4, 5), NIGHT) == [2, 1, 3]
