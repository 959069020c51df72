"""Backfills through the command line: past nights from what they knew, kept once made, and what cannot be made is named."""

import csv
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline.cli import EXIT_PERMANENT, EXIT_TRANSIENT, main
from pipeline.examples.generated_shop import GeneratedShop
from pipeline.forecasting.vintages import vintages
from pipeline.ingestion import ingest
from pipeline.lake import Lake
from pipeline.orchestration.backfill import nights_between
from pipeline.orchestration.definitions import build_defs
from pipeline.orchestration.runs import dagster_home
from pipeline.publishing.query import connect
from pipeline.publishing.season_plot import _draw, season_said
from pipeline.settings import SeasonSettings, load_settings
from resources.lake import home_lock
from tests.conftest import MakeHome

pytestmark = pytest.mark.slow

FIRST, LAST = date(2022, 9, 4), date(2022, 10, 2)


def stored(home: Path) -> dict[str, bytes]:
    """Bytes of all forecasts of a home."""
    root = home / "lake"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for table in ("forecasts", "forecast_totals")
        for path in sorted((root / table).rglob("*.parquet"))
    }


def backfill(home: Path, *more: str, first: date = FIRST, last: date = LAST) -> int:
    return main(["backfill", "--home", str(home), "--from", str(first), "--to", str(last), *more])


@pytest.fixture(scope="module")
def season_home(make_home: MakeHome, night_shop: GeneratedShop) -> Path:
    """A home after a backfill of five weekly nights, by the season of its settings."""
    home = make_home(
        night_shop,
        training={"update_every_days": 14, "retrain_every_days": 91, "update_steps": 10, "max_seconds": 600.0},
        seasons={"autumn-2022": f"{FIRST} to {LAST}"},
    )
    assert main(["backfill", "--home", str(home), "--season", "autumn-2022"]) == 0
    return home


@pytest.fixture
def copy(season_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(season_home, tmp_path / "home"))


def test_every_night_is_made_by_a_version_that_it_could_know(season_home: Path) -> None:
    found = vintages(Lake(season_home))
    assert [one.as_of for one in found] == nights_between(FIRST, LAST, 7)
    assert all(one.trained_as_of <= one.as_of for one in found)
    # trained on the first night and every second week
    assert {one.trained_as_of for one in found} <= {FIRST, FIRST + timedelta(14), FIRST + timedelta(28)}
    assert all(one.state(Lake(season_home)) == "stands" for one in found)


def test_the_end_of_a_season_is_a_night_of_its_own() -> None:
    end = LAST + timedelta(3)
    assert nights_between(FIRST, end, 7)[-1] == LAST
    assert nights_between(FIRST, end, 7, with_last=True)[-2:] == [LAST, end]
    assert nights_between(FIRST, LAST, 7, with_last=True) == nights_between(FIRST, LAST, 7)


def test_a_backfill_again_keeps_what_stands(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, made_at = stored(copy), [one.made_at for one in vintages(Lake(copy))]
    assert backfill(copy) == 0
    assert "5 stood already" in capfd.readouterr().out
    assert stored(copy) == before
    assert [one.made_at for one in vintages(Lake(copy))] == made_at


def test_force_makes_the_same_bytes_anew(copy: Path) -> None:
    before, made_at = stored(copy), [one.made_at for one in vintages(Lake(copy))]
    assert backfill(copy, "--force", last=FIRST + timedelta(7)) == 0
    assert stored(copy) == before
    assert [one.made_at > then for one, then in zip(vintages(Lake(copy)), made_at, strict=True)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_season_is_drawn_from_what_its_nights_said(season_home: Path) -> None:
    plot = season_home / "report" / "seasons" / "autumn-2022.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    con = connect(season_home)
    said = season_said(con, SeasonSettings(first=FIRST, last=LAST))
    asked = "SELECT sum(units) FROM shop_days WHERE day BETWEEN $1 AND $2"
    came = con.execute(asked, [LAST - timedelta(27), LAST]).fetchall()[0][0]
    con.close()
    assert sorted(said.weeks) == nights_between(FIRST, LAST, 7)
    # the night before the last 28 days begin expects them whole, the nights within add what was sold by then
    assert [(night, whole) for night, *_, whole in said.peak] == [
        (FIRST, True),
        *((FIRST + timedelta(7 * week), False) for week in (1, 2, 3)),
    ]
    assert said.peak_came == came
    assert all(low <= mean <= high for _, mean, low, high, _ in said.peak)


def test_a_stretch_shorter_than_a_peak_is_drawn_without_one(season_home: Path) -> None:
    con = connect(season_home)
    one, all_of_them = SeasonSettings(first=FIRST, last=FIRST), SeasonSettings(first=FIRST, last=LAST)
    axes = [len(_draw(season_said(con, season), "autumn", season).axes) for season in (one, all_of_them)]
    con.close()
    assert axes == [1, 2]


def test_a_partition_of_the_job_in_the_ui_keeps_what_stands(copy: Path) -> None:
    before = stored(copy)
    job = build_defs(copy).resolve_job_def("backfill")
    with dg.DagsterInstance.from_config(str(dagster_home(copy))) as instance:
        for night in (FIRST, LAST + timedelta(7)):
            assert job.execute_in_process(instance=instance, partition_key=str(night)).success
    assert {name: content for name, content in stored(copy).items() if str(LAST + timedelta(7)) not in name} == before
    assert vintages(Lake(copy))[-1].as_of == LAST + timedelta(7)


@pytest.mark.parametrize("table", ["forecasts", "forecast_totals"])
@pytest.mark.parametrize("harm", ["gone", "altered"])
def test_a_file_that_somebody_harmed_is_made_again(
    copy: Path, table: str, harm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stored(copy)
    vintage = vintages(Lake(copy), FIRST + timedelta(7))[0]
    file = vintage.files(Lake(copy))[table]
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(vintages(Lake(copy), FIRST)[0].files(Lake(copy))[table].read_bytes())
    assert main(["verify", "--home", str(copy), "--as-of", str(vintage.as_of)]) == EXIT_PERMANENT
    assert ("gone" if harm == "gone" else "not what was written") in capfd.readouterr().out
    assert backfill(copy) == 0
    assert "made again" in capfd.readouterr().out
    assert stored(copy) == before


def test_verify_makes_the_night_again_and_says_so(season_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = stored(season_home)
    assert main(["verify", "--home", str(season_home), "--as-of", str(FIRST)]) == 0
    assert "the same, byte for byte" in capfd.readouterr().out
    assert stored(season_home) == before
    assert main(["verify", "--home", str(season_home), "--as-of", "2022-09-05"]) == EXIT_PERMANENT
    assert "the nearest is 2022-09-04" in capfd.readouterr().err


def test_a_night_can_be_replayed_by_a_named_version_which_never_passes_for_its_own(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newest = vintages(Lake(copy), LAST)[-1].model_version
    own = vintages(Lake(copy), FIRST)[0].model_version
    assert newest != own
    before = stored(copy)
    assert main(["run", "--home", str(copy), "--as-of", str(FIRST), "--model-version", newest]) == 0
    found = {one.model_version: one.is_named for one in vintages(Lake(copy), FIRST)}
    assert found == {own: False, newest: True}
    assert {name: stored(copy)[name] for name in before} == before
    capfd.readouterr()
    query = f"SELECT DISTINCT model_version FROM forecast_as_of(DATE '{FIRST}')"
    assert main(["sql", "--home", str(copy), query, "--format", "csv"]) == 0
    assert own in capfd.readouterr().out
    assert (
        main(["run", "--home", str(copy), "--as-of", str(FIRST), "--model-version", "almanac-other/9"])
        == EXIT_PERMANENT
    )
    assert "almanac-other/9" in capfd.readouterr().err


def deliver_late(home: Path) -> Path:
    """A file with lines of August that nobody has delivered yet."""
    some = next(path for path in sorted((home / "orders").glob("orders_2022-08*.csv")))
    head, *lines = some.read_text(encoding="utf-8").splitlines()
    place = head.split(",").index("order_no") if "order_no" in head.split(",") else 0
    more = [
        ",".join("LATE" + cell if i == place else cell for i, cell in enumerate(line.split(",")))
        for line in lines[:200]
    ]
    late = home / "orders" / "orders_late.csv"
    late.write_text("\n".join([head, *more]) + "\n", encoding="utf-8")
    return late


def test_a_late_file_that_dates_itself_back_does_not_change_what_a_night_said(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stored(copy)
    deliver_late(copy)
    assert backfill(copy) == 0
    assert stored(copy) == before
    told = capfd.readouterr().out
    assert (
        f"orders_late.csv, delivered since, dates lines back to 5 of the nights that stand ({FIRST} to {LAST})" in told
    )
    assert main(["run", "--home", str(copy), "--as-of", str(LAST)]) == 0
    told = capfd.readouterr().err
    assert "orders_late.csv came later" in told
    assert "the vintage stays as it was made, --force makes it anew" in told
    assert stored(copy) == before
    assert main(["verify", "--home", str(copy), "--as-of", str(LAST)]) == EXIT_PERMANENT
    assert "orders_late.csv came later" in capfd.readouterr().out


def test_a_lost_night_whose_facts_have_changed_is_left_and_the_others_are_made(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lost, intact = (FIRST + timedelta(days) for days in (7, 14))
    vintage = vintages(Lake(copy), lost)[0]
    for night in (vintage, vintages(Lake(copy), LAST)[0]):
        night.files(Lake(copy))["forecasts"].unlink()
    before = stored(copy)
    deliver_late(copy)
    assert backfill(copy, last=LAST + timedelta(7)) == EXIT_PERMANENT
    told = capfd.readouterr().out
    assert "1 nights made" in told
    assert "2 left as they are" in told
    assert f"backfill --home {copy} --from {lost} --to {lost} --force` makes it anew" in told
    assert vintages(Lake(copy), lost) == [vintage]
    assert {name: stored(copy)[name] for name in before} == before
    assert backfill(copy, "--force", first=lost, last=lost) == 0
    assert vintages(Lake(copy), lost)[0].state(Lake(copy)) == "stands"
    assert vintages(Lake(copy), intact)[0].state(Lake(copy)) == "stands"


def test_a_damaged_ledger_file_is_named_and_made_again(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = stored(copy)
    file = next(path for path in sorted(Lake(copy).folder("demand_changes").rglob("*.parquet")))
    whole = file.read_bytes()
    file.write_bytes(whole + b"x")
    sizes = copy / ".cache" / "ledger_sizes.json"
    noted = sizes.read_bytes()
    sizes.unlink()
    for command in (["verify"], ["backfill", "--from", str(FIRST), "--to", str(FIRST), "--force"]):
        assert main([*command, "--home", str(copy)]) == EXIT_PERMANENT
        message = capfd.readouterr()
        assert f"{file}: is damaged" in message.out + message.err
        assert "Traceback" not in message.err
    sizes.write_bytes(noted)
    assert backfill(copy, last=FIRST) == 0
    assert "lake/demand_changes are not what was written; it is cleaned again" in capfd.readouterr().err
    assert file.read_bytes() == whole
    file.write_bytes(whole + b"x")
    sizes.unlink()
    file.unlink()
    assert backfill(copy, "--force", last=FIRST) == 0
    assert file.read_bytes() == whole
    assert stored(copy) == before


def test_one_night_is_drawn_without_a_warning_in_a_file_whose_name_has_no_space(
    copy: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    assert backfill(copy, last=FIRST) == 0
    assert not [warning for warning in recwarn if "legend" in str(warning.message)]
    assert f"report/seasons/{FIRST}_to_{FIRST}.png" in capfd.readouterr().out


def test_a_corrected_delivery_changes_the_truth_from_the_night_it_became_known_and_no_vintage(copy: Path) -> None:
    before, after = stored(copy), LAST + timedelta(7)
    some = next(path for path in sorted((copy / "orders").glob("orders_2022-09*.csv")))
    head, *lines = csv.reader(some.read_text(encoding="utf-8").splitlines())
    place = {name: head.index(name) for name in ("order_no", "qty")}
    corrected = []
    for line in lines:
        if line[place["order_no"]].startswith("SO") and len(line) == len(head) and line[place["qty"]].isdigit():
            line[place["qty"]] = str(10 * int(line[place["qty"]]))
            corrected.append(line)
    assert len(corrected) > 100
    with (copy / "orders" / "orders_corrected.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *corrected])

    # delivered then: a correction is known from its delivery on, whatever it says of itself
    settings = load_settings(copy)
    ingest(Lake(copy, settings.compute), settings, delivered_at=datetime(2022, 10, 5, 9, tzinfo=UTC))

    assert backfill(copy, last=after) == 0
    assert {name: stored(copy)[name] for name in before} == before
    asked = "SELECT sum(actual) FROM accuracy_as_known($1::DATE) WHERE as_of = $2::DATE AND lead_days = '001-007'"
    con = connect(copy)
    then, now = (con.execute(asked, [night, FIRST]).fetchall()[0][0] for night in (LAST, after))
    wape = [
        con.execute(
            "SELECT wape FROM accuracy_as_known($1::DATE) WHERE as_of = $2::DATE AND lead_days = '001-007'",
            [night, FIRST],
        ).fetchall()[0][0]
        for night in (LAST, after)
    ]
    con.close()
    assert now > 3 * then
    assert wape[0] != wape[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "2022-10-02", "--to", "2022-09-04"], "before --from"),
        (["--from", "2021-01-01", "--to", "2021-02-01"], "the first possible night is"),
        (["--from", "2024-06-01", "--to", "2024-07-01"], "orders end on"),
        (["--from", "2099-01-01", "--to", "2099-02-01"], "not over"),
        (["--from", "1999-01-01", "--to", "1999-02-01"], "nights begin with"),
        (["--season", "autumn-2023"], "did you mean 'autumn-2022'?\n"),
        (["--season", "xyz"], "which has autumn-2022; add under `seasons:` a line such as `xyz: 2010-09-01 to"),
        (["--season", "autumn-2022", "--from", "2022-09-04"], "leave out --from"),
        (["--from", "2022-09-04"], "--to"),
        (["--from", "2022-09-04", "--to", "2022-09-11", "--every", "week"], "write 1d, 7d or 4w"),
    ],
    ids=["backwards", "before the orders", "after the orders", "future", "too long ago", "typo in a season", "unknown season",
         "season and dates", "half a range", "no step"],
)  # fmt: skip
def test_impossible_ranges_are_named_and_change_nothing(
    season_home: Path, arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stored(season_home)
    assert main(["backfill", "--home", str(season_home), *arguments]) == EXIT_PERMANENT
    message = capfd.readouterr()
    assert told in message.err + message.out
    assert "Traceback" not in message.err
    assert stored(season_home) == before


def test_possible_nights_of_a_range_are_made_and_the_others_named(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert backfill(copy, first=date(2023, 2, 19), last=date(2023, 3, 5)) == 0
    told = capfd.readouterr().out
    assert "skipped: orders end on 2023-02-24" in told
    assert vintages(Lake(copy))[-1].as_of == date(2023, 2, 19)


def test_a_backfill_does_not_meet_a_running_night(season_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pipeline.cli import main; "
        f"sys.exit(main(['backfill', '--home', {str(season_home)!r}, '--from', '2022-09-04', '--to', '2022-09-11']))"
    )
    with home_lock(season_home):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == EXIT_TRANSIENT
    assert "another run is using this home" in result.stderr
