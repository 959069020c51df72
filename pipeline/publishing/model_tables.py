"""Model versions as tables for people: the list, and one version in full."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.publishing.text_table import text_table

Row = dict[str, Any]

_LINEAGE = ("model_version", "as_of", "kind", "trained_because", "trained_seconds", "device")
_DECISION = (
    *(
        "as_of",
        "rule",
        "challenger",
        "champion",
        "promoted",
        "challenger_wql",
        "champion_wql",
        "change_low",
        "change_high",
    ),
    *("challenger_bias", "champion_bias", "series"),
)
_EVIDENCE = (
    *("as_of", "challenger", "champion", "origin", "challenger_wql", "champion_wql"),
    *("challenger_bias", "champion_bias", "series"),
)


@dataclass(frozen=True)
class Described:
    """All that a home knows of one version.

    Attributes:
        version: its training.
        is_champion: nights to come forecast with it.
        lineage: versions from its network to itself, each an update of the one before.
        decisions: what was decided of it or against it, oldest first.
        evidence: scores per past origin of the challenges it was in.
        settings: what shaped it; empty where an older Almanac trained it.
    """

    version: Row
    is_champion: bool
    lineage: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    evidence: list[Row] = field(default_factory=list)
    settings: Row = field(default_factory=dict)


def print_models(versions: Sequence[Row]) -> None:
    """Print the list of versions."""
    _print(versions, tuple(versions[0]))


def print_model(one: Described) -> None:
    """Print all of one version."""
    version = one.version
    role = ", champion" if one.is_champion else ""
    print(
        f"{version['model_version']}{role}: {version['kind']}, trained as of {version['as_of']} ({version['trained_because']})"
    )
    wql = "" if version["wql"] is None else f", WQL {version['wql']:.3f} at past origins"
    print(f"{version['trained_seconds']:,.0f} s on {version['device']}{wql}; MLflow run {version['run_id']}\n")
    print("Lineage: from its network to itself\n")
    _print(one.lineage, _LINEAGE)
    print("Decisions\n")
    _print(one.decisions, _DECISION)
    for decision in one.decisions:
        print(f"{decision['as_of']} {decision['challenger']}: {decision['reason']}")
    if one.evidence:
        print("\nRecipes at past origins\n")
        _print(one.evidence, _EVIDENCE)
    print("\nSettings that shaped it\n")
    print(
        json.dumps(one.settings, ensure_ascii=False, indent=1)
        if one.settings
        else "none kept: an older Almanac trained it"
    )


def _print(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    print(text_table(columns, [[row[name] for name in columns] for row in rows]) + "\n")
