"""The rules of the house: import direction, rooms, sizes, safe formats only."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
STAGES = (
    "ingestion",
    "validation",
    "cleaning",
    "enrichment",
    "training",
    "backtesting",
    "forecasting",
    "publishing",
)
GROUND = {"settings", "model_settings", "closed_yaml", "tables", "lake", "as_of", "errors", "models"}
ABOVE_STAGES = {"orchestration", "cli", "doctor", "examples", "migrations"}
"""Rooms that use stages: `orchestration` and the command line see everything, `examples` makes homes."""

SOURCES = sorted(
    path for room in ("pipeline", "assets", "resources", "tests") for path in (CHECKOUT / room).rglob("*.py")
)


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_earlier_stages_and_the_shared_ground(stage: str) -> None:
    allowed = GROUND | set(STAGES[: STAGES.index(stage) + 1]) | {"tracking"}
    for path in (CHECKOUT / "pipeline" / stage).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("pipeline.")}
        assert rooms <= allowed, f"{path}: imports {sorted(rooms - allowed)}"


def test_shared_ground_and_models_import_no_stage() -> None:
    ground = [CHECKOUT / "pipeline" / f"{name}.py" for name in ("settings", "closed_yaml", "lake", "as_of", "errors")]
    ground += [path for room in ("tables", "models") for path in (CHECKOUT / "pipeline" / room).rglob("*.py")]
    for path in ground:
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("pipeline.")}
        assert rooms <= GROUND, f"{path}: imports {sorted(rooms - GROUND)}"


def test_only_orchestration_imports_assets_and_only_assets_and_it_import_resources() -> None:
    for path in (CHECKOUT / "pipeline").rglob("*.py"):
        tops = {name.split(".")[0] for name in imports_of(path)}
        if path.is_relative_to(CHECKOUT / "pipeline" / "orchestration"):
            continue
        assert not tops & {"assets", "resources", "dagster"}, f"{path}: imports {sorted(tops)}"
    for path in (CHECKOUT / "resources").rglob("*.py"):
        assert "assets" not in {name.split(".")[0] for name in imports_of(path)}, path


def test_every_stage_has_its_room_three_times() -> None:
    for stage in STAGES:
        assert (CHECKOUT / "pipeline" / stage / "__init__.py").is_file()
        assert (CHECKOUT / "assets" / f"{stage}.py").is_file()
        assert (CHECKOUT / "tests" / stage).is_dir()


def test_no_file_is_two_rooms() -> None:
    long = {
        str(path.relative_to(CHECKOUT)): lines
        for path in SOURCES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_nothing_unpickles() -> None:
    pattern = re.compile(
        r"\bpickle\.(load|dump)s?\(|\bimport pickle\b|torch\.load\(|joblib\.(load|dump)|allow_pickle=True"
    )
    for path in SOURCES:
        if path == Path(__file__):
            continue
        assert not pattern.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("room", ["assets", "resources"])
def test_dagster_modules_keep_their_annotations(room: str) -> None:
    for path in (CHECKOUT / room).rglob("*.py"):
        assert "__future__" not in imports_of(path), path
