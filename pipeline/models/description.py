"""The one JSON file that says what a stored forecaster is."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

DESCRIPTION_FILE = "forecaster.json"


def save_description(folder: Path, content: dict[str, Any]) -> None:
    """Write the file; `kind` says which forecaster it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_description(folder: Path, *kinds: str) -> dict[str, Any]:
    """Read the file of `save_description`.

    Raises:
        ModelError: it is missing, unreadable or describes another kind of forecaster.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the forecaster again") from error
    if not isinstance(content, dict) or content.get("kind") not in kinds:
        raise ModelError(f"{path}: describes no {' or '.join(kinds)}; train the forecaster again")
    return content
