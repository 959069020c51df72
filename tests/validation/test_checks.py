"""The checks of a run, through the ingest job: what is new is checked, and the Data Docs are built once."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pipeline.orchestration.definitions import build_defs

pytestmark = pytest.mark.slow


@pytest.fixture
def home(small_home: Path, tmp_path: Path) -> Path:
    """A home of which two months are delivered and the others are not."""
    copy = tmp_path / "home"
    shutil.copytree(small_home, copy)
    (copy / "later").mkdir()
    for file in sorted((copy / "orders").glob("orders_*"))[4:]:
        file.rename(copy / "later" / file.name)
    return copy


def ingest(home: Path) -> dg.ExecuteInProcessResult:
    job = build_defs(home).resolve_job_def("ingest")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)


def looked_at(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    return {
        check.asset_key.to_user_string(): int(str(check.metadata["looked_at"].value))
        for check in result.get_asset_check_evaluations()
    }


def test_a_run_checks_what_is_new_and_builds_the_docs_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assets import validation

    built: list[Path] = []
    build = validation.build_data_docs
    monkeypatch.setattr(validation, "build_data_docs", lambda folder: built.append(folder) or build(folder))

    first = ingest(home)
    assert first.success
    files = len(list((home / "orders").glob("*")))
    assert looked_at(first)["raw_files"] == files
    assert built == [home]
    index = (home / "report" / "data_docs" / "index.html").read_text(encoding="utf-8")
    assert all(table in index for table in ("raw_files", "data_quality", "order_lines", "calendar_daily"))

    assert set(looked_at(ingest(home)).values()) == {0}
    assert built == [home]

    new = sorted((home / "later").iterdir())[0]
    new.rename(home / "orders" / new.name)
    third = looked_at(ingest(home))
    assert {third[table] for table in ("raw_files", "raw_order_lines", "data_quality", "order_lines")} == {1}
    assert third["calendar_daily"] == 0
    assert built == [home, home]


def test_an_error_shows_in_the_docs_at_once(home: Path) -> None:
    good = sorted((home / "orders").glob("orders_*.csv"))[0]
    head, *lines = good.read_text(encoding="utf-8").splitlines()
    place = head.split(",").index("qty")
    broken = [
        ",".join("many" if i == place else cell for i, cell in enumerate(line.split(","))) for line in lines[:150]
    ]
    (home / "orders" / "orders_broken.csv").write_text("\n".join([head, *broken, *lines[150:200]]), encoding="utf-8")
    for _ in range(2):
        result = ingest(home)
        assert not result.success
        failed = [
            check.asset_key.to_user_string() for check in result.get_asset_check_evaluations() if not check.passed
        ]
        assert "quarantined_order_lines" in failed
        pages = (home / "report" / "data_docs").glob("validations/quarantined_order_lines/**/*.html")
        assert any(">Failed<" in "".join(page.read_text(encoding="utf-8").split()) for page in pages)
        assert not (home / "lake" / "order_lines").exists()


def test_a_run_with_nothing_new_does_without_great_expectations(home: Path) -> None:
    assert ingest(home).success
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import dagster as dg
from pipeline.orchestration.definitions import build_defs
job = build_defs(Path({str(home)!r})).resolve_job_def("ingest")
with dg.DagsterInstance.ephemeral() as instance:
    assert job.execute_in_process(instance=instance).success
assert "great_expectations" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
