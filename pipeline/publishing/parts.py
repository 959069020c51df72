"""The lake's partitions as they stand: what a published file was made from, and what has changed since.

Looking at names, sizes and times of files costs microseconds each, reading them milliseconds: a night lists all partitions
and reads the few that differ from what the published file remembers of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.ingestion.standing import PartFile, fingerprint, standing
from pipeline.lake import Lake

Fingerprints = Mapping[str, str]
"""Partition value → fingerprint of its files."""


@dataclass(frozen=True)
class Partition:
    """One partition of a table.

    Attributes:
        files: its files, sorted by name.
        fingerprint: hash of their names, sizes and times.
    """

    files: tuple[Path, ...]
    fingerprint: str


def partitions(lake: Lake, table: str) -> dict[str, Partition]:
    """Partitions of a table with one partition column that have files: value → partition, values sorted."""
    found: dict[str, list[PartFile]] = {}
    for file in standing(lake, table):
        (value,) = file.values
        found.setdefault(value, []).append(file)
    return {value: Partition(tuple(file.path for file in files), fingerprint(files)) for value, files in found.items()}


def files_of(found: Mapping[str, Partition], values: Iterable[str]) -> list[Path]:
    """Files of some partitions, in the order of the values."""
    return [file for value in values for file in found[value].files]


def fingerprints(found: Mapping[str, Partition]) -> dict[str, str]:
    """Fingerprints of partitions."""
    return {value: partition.fingerprint for value, partition in found.items()}


def changed(standing: Fingerprints, recorded: Fingerprints) -> tuple[list[str], list[str]]:
    """Partitions to remove from a published file and to add to it; one that changed is both. Values sorted."""
    removed = [value for value in recorded if standing.get(value) != recorded[value]]
    added = [value for value in standing if recorded.get(value) != standing[value]]
    return sorted(removed), sorted(added)
