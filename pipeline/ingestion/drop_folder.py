"""Hashes of the files in the drop folders, remembered: a night reads what is new, not what has lain there for years.

A file is taken for the one that was hashed while its size and the times of its last change of content (mtime) and of
anything about it (ctime, which no tool sets) are the same.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.ingestion.staging import file_hash
from pipeline.ingestion.standing import cache_folder
from pipeline.lake import replace_file


@dataclass
class DropFolderHashes:
    """Hashes by path of the file.

    Attributes:
        home: folder of the home.
        known: path → [size, mtime, ctime, hash], as of the last run.
        seen: the same, of this run.
    """

    home: Path
    known: dict[str, list[Any]] = field(default_factory=dict)
    seen: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def remembered(cls, home: Path) -> "DropFolderHashes":
        """What the last run knew; nothing where that cannot be read."""
        try:
            known = json.loads(_file(home).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        return cls(home, known if isinstance(known, dict) else {})

    def of(self, path: Path) -> str:
        """SHA-256 of a file's bytes, first 32 hex digits.

        Raises:
            OSError: it cannot be read.
        """
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self.known.get(str(path))
        key = str(known[3]) if isinstance(known, list) and known[:3] == stamp and len(known) == 4 else file_hash(path)
        self.seen[str(path)] = [*stamp, key]
        return key

    def keep(self) -> None:
        """Remember what was seen, for the next run; for the end of a run that took everything in."""
        if self.seen == self.known:
            return
        target = _file(self.home)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(".new")
        new.write_text(json.dumps(self.seen), encoding="utf-8")
        replace_file(new, target)


def _file(home: Path) -> Path:
    return cache_folder(home) / "drop_folders.json"
