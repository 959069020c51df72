"""The lake's partitions as they stand: what a published file was made from, and what has changed since.

Looking at names, sizes and times of files costs microseconds each, reading them milliseconds: a night lists all partitions
and reads the few that differ from what the published file remembers of them.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.lake import Lake
from pipeline.tables import TABLES

Fingerprints = Mapping[str, str]
"""Partition value → hash of the names, sizes and times of its files."""


@dataclass(frozen=True)
class Partition:
    """One partition of a table.

    Attributes:
        folder: its folder.
        names: names of its files, sorted.
        fingerprint: hash of the names, sizes and times of its files.
    """

    folder: str
    names: tuple[str, ...]
    fingerprint: str

    @property
    def files(self) -> list[Path]:
        """Its files, sorted."""
        return [Path(self.folder, name) for name in self.names]


def partitions(lake: Lake, table: str) -> dict[str, Partition]:
    """Partitions of a table with one partition column that have files: value → partition, values sorted."""
    (column,) = TABLES[table].partition
    if not lake.folder(table).is_dir():
        return {}
    found = {}
    for level in os.scandir(lake.folder(table)):
        name, _, value = level.name.partition("=")
        if name == column:
            files = sorted(_described(entry) for entry in os.scandir(level.path) if entry.name.endswith(".parquet"))
            if files:
                digest = hashlib.blake2b(repr(files).encode(), digest_size=8).hexdigest()
                found[unquote(value)] = Partition(level.path, tuple(file[0] for file in files), digest)
    return dict(sorted(found.items()))


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


def _described(entry: "os.DirEntry[str]") -> tuple[str, int, int]:
    status = entry.stat()
    return entry.name, status.st_size, status.st_mtime_ns
