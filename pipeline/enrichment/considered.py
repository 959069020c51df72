"""Which facts the encoding of texts has looked at, so that a night looks at the new ones only.

Kept in `.cache` of the home and good for nothing else: without it everything is looked at again, and the same texts are
encoded. What was encoded is remembered too: where vectors were deleted by hand, everything is looked at again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from pipeline.ingestion.standing import PartFile, by_part, cache_folder, fingerprint, standing
from pipeline.lake import Lake, replace_file

_LEDGERS: Final = ("item_sightings", "demand_changes")
_SUMS: Final = "item_sightings_until"


@dataclass(frozen=True)
class NewFacts:
    """What to look at.

    Attributes:
        anything: something is new.
        summed_until: up to this day the sums of the item ledger are read; None: the ledgers are read whole.
        selects: SQL that reads each table, cut to the days after it.
    """

    anything: bool
    summed_until: date | None
    selects: dict[str, str]


def new_facts(lake: Lake, model_id: str, rules: str) -> NewFacts:
    """What no encoding with this model, by these rules, has looked at.

    Args:
        lake: the home's lake.
        model_id: language model.
        rules: what tells the texts to encode; another text, and everything is looked at again.
    """
    files = {table: standing(lake, table) for table in _LEDGERS}
    kept = _kept(lake, model_id, rules)
    stamps = _stamps(files)
    vectors = _vectors(lake, model_id)
    whole = kept is None or any(vectors.get(batch) != stamp for batch, stamp in kept["vectors"].items())
    known: dict[str, dict[str, str]] = {} if whole or kept is None else kept["facts"]
    days = [
        date.fromisoformat(file.values[0])
        for table in _LEDGERS
        for file in files[table]
        if known.get(table, {}).get(file.part) != stamps[table][file.part]
    ]
    summed_until = None if whole else _summed_until(lake, min(days, default=None))
    selects = {table: lake.select(table, files=_after(files[table], summed_until)) for table in _LEDGERS}
    selects[_SUMS] = lake.select(_SUMS, files=[file.path for file in standing(lake, _SUMS)] if summed_until else [])
    return NewFacts(bool(days), summed_until, selects)


def keep(lake: Lake, model_id: str, rules: str) -> None:
    """Take note that all facts that stand were looked at, and of the vectors that stand."""
    kept = {
        "model_id": model_id,
        "rules": _hash(rules),
        "facts": _stamps({table: standing(lake, table) for table in _LEDGERS}),
        "vectors": _vectors(lake, model_id),
    }
    target = _file(lake)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    new.write_text(json.dumps(kept), encoding="utf-8")
    replace_file(new, target)


def _kept(lake: Lake, model_id: str, rules: str) -> dict[str, Any] | None:
    try:
        kept = json.loads(_file(lake).read_text(encoding="utf-8"))
        same = (kept["model_id"], kept["rules"]) == (model_id, _hash(rules))
        return {"facts": dict(kept["facts"]), "vectors": dict(kept["vectors"])} if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stamps(files: dict[str, list[PartFile]]) -> dict[str, dict[str, str]]:
    return {table: {part: fingerprint(ones) for part, ones in by_part(found).items()} for table, found in files.items()}


def _vectors(lake: Lake, model_id: str) -> dict[str, str]:
    found = standing(lake, "item_text_features")
    return {file.values[1]: fingerprint([file]) for file in found if file.values[0] == model_id}


def _summed_until(lake: Lake, first: date | None) -> date | None:
    """The last quarter that is summed up and was over before a day."""
    ends = (date.fromisoformat(file.values[0]) for file in standing(lake, _SUMS))
    return max((end for end in ends if first is not None and end < first), default=None)


def _after(files: Sequence[PartFile], day: date | None) -> list[Path]:
    return [file.path for file in files if day is None or date.fromisoformat(file.values[0]) > day]


def _hash(rules: str) -> str:
    return hashlib.sha256(rules.encode()).hexdigest()[:16]


def _file(lake: Lake) -> Path:
    return cache_folder(lake.home) / "texts.json"
