"""What a night's training was, in the tags of its registered version: enough to write its rows after a kill; and roll-backs.

A version is registered with all its tags at once, and the rows in the lake come after it. A run that is killed in between
leaves a version without rows; the next run writes them from these tags instead of training again, for version numbers are
part of the forecasts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from pipeline.lake import Lake
from pipeline.training.verdict import ROLLBACK, Verdict

_TAGS = ("as_of", "data_snapshot", "settings_hash", "kind", "parent", "reason", "device")


@dataclass(frozen=True)
class TrainingRecord:
    """One training.

    Attributes:
        as_of: night whose knowledge it was trained on.
        data_snapshot: hash of that knowledge.
        settings_hash: hash of the settings that shaped it.
        kind: full or update.
        parent: version that an update started from; empty for a new network.
        reason: why the night trained.
        device: where it was trained.
        seconds: seconds of training.
        champion: version that it was set against; empty when there was none.
        verdict: what the gate said.
    """

    as_of: date
    data_snapshot: str
    settings_hash: str
    kind: str
    parent: str
    reason: str
    device: str
    seconds: float
    champion: str
    verdict: Verdict

    def tags(self) -> dict[str, str]:
        """All of it, as tags."""
        plain = {name: str(getattr(self, name)) for name in _TAGS}
        return plain | {
            "trained_seconds": repr(self.seconds),
            "set_against": self.champion,
            "verdict": json.dumps(self.verdict.to_json()),
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "TrainingRecord | None":
        """Undo `tags`; None for a version that was registered by other means."""
        if not {*_TAGS, "trained_seconds", "set_against", "verdict"} <= set(tags):
            return None
        return cls(
            **{name: tags[name] for name in _TAGS if name != "as_of"},
            as_of=date.fromisoformat(tags["as_of"]),
            seconds=float(tags["trained_seconds"]),
            champion=tags["set_against"],
            verdict=Verdict.from_json(json.loads(tags["verdict"])),
        )

    def write(self, lake: Lake, model_version: str, *, run_id: str, made_at: datetime) -> None:
        """Write the rows of `champion_decisions`, `champion_evidence` and `model_versions`; the last says that all is done.

        Args:
            lake: the home's lake.
            model_version: the registered version.
            run_id: MLflow run that made it.
            made_at: when it was registered, UTC.
        """
        compared: dict[str, Any] = vars(self.verdict.comparison) if self.verdict.comparison else {}
        set_against = {"challenger": model_version, "champion": self.champion}
        decision = {
            **set_against,
            "promoted": self.verdict.promoted,
            "rule": self.verdict.rule,
            "reason": self.verdict.reason,
            "origins": len(self.verdict.origins),
            "made_at": made_at,
        } | {name: compared.get(name) for name in _COMPARED}
        version = {
            "model_version": model_version,
            "data_snapshot": self.data_snapshot,
            "run_id": run_id,
            "trained_seconds": self.seconds,
            "device": self.device,
            "settings_hash": self.settings_hash,
            "kind": self.kind,
            "parent": self.parent,
            "reason": self.reason,
            "made_at": made_at,
        }
        evidence = [set_against | vars(origin) for origin in self.verdict.origins]
        part = model_version.replace("/", "-")
        with lake.connect() as con:
            for table, rows in (
                ("champion_decisions", [decision]),
                ("champion_evidence", evidence),
                ("model_versions", [version]),
            ):
                if rows:
                    lake.write(con, table, {"as_of": self.as_of}, pa.Table.from_pylist(rows), part=part)


@dataclass(frozen=True)
class Rollback:
    """A person put an earlier version back.

    Attributes:
        as_of: night from which on it serves.
        version: version that serves from then on.
        champion: version that was champion of that night until then.
        reason: why, in words.
    """

    as_of: date
    version: str
    champion: str
    reason: str

    def write(self, lake: Lake, *, made_at: datetime) -> None:
        """Write its row of `champion_decisions`.

        Args:
            lake: the home's lake.
            made_at: when it was decided, UTC.
        """
        decision = {
            "challenger": self.version,
            "champion": self.champion,
            "promoted": True,
            "rule": ROLLBACK,
            "reason": self.reason,
            "origins": 0,
            "made_at": made_at,
        } | dict.fromkeys(_COMPARED)
        part = f"rollback-{self.version.replace('/', '-')}-{made_at:%Y%m%dT%H%M%S}"
        with lake.connect() as con:
            lake.write(con, "champion_decisions", {"as_of": self.as_of}, pa.Table.from_pylist([decision]), part=part)


_COMPARED = (
    "first_day", "last_day", "series", "challenger_wql", "champion_wql", "change_low", "change_high", "challenger_bias",
    "champion_bias", "forgetting",
)  # fmt: skip
