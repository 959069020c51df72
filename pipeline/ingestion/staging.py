"""A delivered CSV made readable: decompressed, in UTF-8, its header known, its faults found before anything is written.

DuckDB reads plain UTF-8 straight from the drop folder. What it cannot read is rewritten in a stream to a scratch file:
gzip (a truncated one must be refused, not read as far as it goes), UTF-16, GB18030 and Latin-1 (DuckDB's extension for
them has to be downloaded), and files whose lines need mending (`mending.py`).
"""

import codecs
import csv
import difflib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.ingestion.mapping import CsvOptions, Encoding, FileMapping

_CHUNK = 4 << 20
_HEADER_BYTES = 1 << 20
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class UnreadableFileError(Exception):
    """A file that cannot be taken in; the message says where in it, why, and the way out."""


@dataclass(frozen=True)
class StagedCsv:
    """A CSV that DuckDB can read.

    Attributes:
        path: the file to read, in UTF-8.
        header: names of its columns.
        needs_mending: it has blank lines between others, or line ends of two kinds.
    """

    path: Path
    header: tuple[str, ...]
    needs_mending: bool


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, first 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def stage_csv(path: Path, options: CsvOptions, scratch: Path) -> StagedCsv:
    """Make a CSV readable, copying it to the scratch folder only where it has to be.

    Raises:
        UnreadableFileError: truncated gzip, wrong encoding, or nothing in it.
    """
    zipped = path.suffix.lower() == ".gz"
    faults = _Faults()
    if zipped or options.encoding != "utf-8":
        target = scratch / "staged.csv"
        with target.open("wb") as out:
            for chunk in _utf8(path, options.encoding, zipped=zipped):
                faults.look(chunk)
                out.write(chunk)
    else:
        target = path
        with path.open("rb") as file:
            for chunk in _chunks(file):
                faults.look(chunk)
    if faults.empty:
        raise UnreadableFileError("the file is empty; deliver it again, or take it out of the drop folder")
    return StagedCsv(target, read_header(target, options), faults.any)


def read_header(path: Path, options: CsvOptions) -> tuple[str, ...]:
    """Names of the columns, from the first record."""
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES).decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = io.StringIO(text, newline="")
    if options.quote:
        rows = csv.reader(lines, delimiter=options.delimiter, quotechar=options.quote)
    else:
        rows = csv.reader(lines, delimiter=options.delimiter, quoting=csv.QUOTE_NONE)
    try:
        return tuple(name.strip() for name in next(rows, []))
    except csv.Error as error:
        raise UnreadableFileError(f"line 1: the header cannot be read ({error})") from error


def check_columns(header: tuple[str, ...], mapping: FileMapping, wanted: tuple[str, ...], first_bytes: bytes) -> None:
    """Refuse a file that lacks a mapped column, and say what is likely wrong with it.

    Raises:
        UnreadableFileError: names each missing column and the nearest one there is.
    """
    missing = [name for name in dict.fromkeys(wanted) if name not in header]
    twice = [name for name in dict.fromkeys(wanted) if header.count(name) > 1]
    if not missing and not twice:
        return
    problems = []
    for name in missing:
        close = difflib.get_close_matches(name, header, n=1)
        problems.append(f"no column {name!r}" + (f" (the nearest is {close[0]!r})" if close else ""))
    problems += [f"the column {name!r} stands there twice" for name in twice]
    shown = ", ".join(header[:12]) + (", …" if len(header) > 12 else "")
    hint = "correct the file or the mapping's columns"
    guess = next((encoding for bom, encoding in _BOMS.items() if first_bytes.startswith(bom)), None)
    if guess is None and b"\0" in first_bytes[:64]:
        guess = "utf-16"
    if mapping.format == "csv" and guess and guess != mapping.csv.encoding:
        hint = f"the file looks like {guess}, the mapping says csv: {{encoding: {mapping.csv.encoding}}}"
    elif mapping.format == "csv" and len(header) == 1:
        other = next((mark for mark in ";\t|," if mark in header[0] and mark != mapping.csv.delimiter), None)
        if other:
            hint = f"its fields seem to be parted by {other!r}, the mapping says csv: {{delimiter: {mapping.csv.delimiter!r}}}"
    raise UnreadableFileError(f"line 1: {'; '.join(problems)}; its columns are: {shown}; {hint}")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file, from which its true encoding may show."""
    with path.open("rb") as file:
        return file.read(64)


def _chunks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _unzipped(path: Path) -> Iterator[bytes]:
    read = 0
    try:
        with gzip.open(path, "rb") as file:
            for chunk in _chunks(file):
                read += len(chunk)
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFileError(
            f"the gzip is truncated or damaged after {read:,} readable bytes ({error}); deliver it again"
        ) from error


def _utf8(path: Path, encoding: Encoding, *, zipped: bool) -> Iterator[bytes]:
    """The file's bytes in UTF-8; of a UTF-8 file they are passed on unchecked."""
    if zipped:
        yield from _transcoded(_unzipped(path), encoding)
        return
    with path.open("rb") as file:
        yield from _transcoded(_chunks(file), encoding)


def _transcoded(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    if encoding == "utf-8":
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    read = 0
    lines = 0
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            read += len(chunk)
            lines += text.count("\n")
            yield text.encode("utf-8")
        yield decoder.decode(b"", final=True).encode("utf-8")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        lines += bytes(getattr(error, "object", b""))[:start].count(b"\n")
        raise UnreadableFileError(
            f"line {lines + 1:,} (about byte {read + start:,}): not {encoding} text ({getattr(error, 'reason', error)}); "
            "correct the mapping's csv: {encoding: …} (utf-8, utf-16, gb18030, latin-1), or deliver the file again"
        ) from error


class _Faults:
    """Looks through the lines of a file, chunk by chunk, for what DuckDB's reader would stumble over."""

    def __init__(self) -> None:
        self._tail = b""
        self._ends: set[str] = set()
        self._blank_before = False
        self.any = False
        self.empty = True

    def look(self, chunk: bytes) -> None:
        if self.empty and chunk.strip(b" \t\r\n\0").removeprefix(codecs.BOM_UTF8):
            self.empty = False
        if not self.any:
            self.any = self._mixed_ends(chunk) or self._blank_lines(chunk)
            self._tail = (self._tail + chunk[-3:])[-3:]

    def _mixed_ends(self, chunk: bytes) -> bool:
        if b"\r" not in chunk and not self._tail.endswith(b"\r"):
            if b"\n" in chunk:
                self._ends.add("lf")
        else:
            crlf = chunk.count(b"\r\n") + (self._tail.endswith(b"\r") and chunk.startswith(b"\n"))
            if crlf:
                self._ends.add("crlf")
            if crlf < chunk.count(b"\n"):
                self._ends.add("lf")
        return len(self._ends) > 1

    def _blank_lines(self, chunk: bytes) -> bool:
        """Whether a blank line has something after it; those at the end of a file are no lines."""
        body = len(chunk.rstrip(b"\r\n"))
        if self._blank_before and body:
            return True
        seam = self._tail + chunk[:3]
        if b"\n\n" in seam or b"\n\r\n" in seam:
            self._blank_before = True
            if body:
                return True
        if b"\r" in chunk:
            blank = chunk.find(b"\n\r\n")
        else:
            # six times as fast as bytes.find for a text full of line ends
            octets = np.frombuffer(chunk, np.uint8)
            found = np.flatnonzero((octets[1:] == 10) & (octets[:-1] == 10))
            blank = int(found[0]) if found.size else -1
        if blank < 0:
            return False
        self._blank_before = True
        return blank < body
