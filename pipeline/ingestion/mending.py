"""Lines that a CSV reader would stumble over, isolated one by one, so that one bad line costs one line.

A stray quotation mark makes a CSV reader swallow the lines after it up to the next mark: a whole day's orders may end up
inside one field. This pass looks at every line once, decides which of them cannot begin a record, and rewrites the file:
bad lines become a marked line that the reader rejects alone, blank lines an empty record, line ends one kind. It costs a
few seconds per million lines and runs only on files that need it.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.ingestion.mapping import CsvOptions
from pipeline.ingestion.staging import UnreadableFileError

MARK = "\x1f"
"""Stands before and after a line that was set aside; the letter after the first one says why (`REASONS`)."""

REASONS = {"q": "a quotation mark out of place", "u": "not valid UTF-8"}
_LONGEST_RECORD = 200  # lines; a longer quoted text is a stray quotation mark


def mend(source: Path, target: Path, options: CsvOptions, columns: int) -> None:
    """Rewrite a UTF-8 CSV with every bad line isolated.

    Args:
        source: the file as delivered, decompressed and in UTF-8 as far as it is valid.
        target: file to write.
        options: how it is written.
        columns: number of columns of its header.

    Raises:
        UnreadableFileError: so many lines are no UTF-8 that the file is in another encoding.
    """
    mender = _Mender(options, columns)
    with source.open("rb") as file, target.open("wb") as out:
        for line in mender.lines(file):
            out.write(line + b"\n")
    mender.check_encoding()


class _Mender:
    def __init__(self, options: CsvOptions, columns: int) -> None:
        self._options = options
        self._columns = columns
        self._quote = options.quote.encode() if options.quote else None
        self._blank = (options.delimiter * (columns - 1)).encode() or b'""'
        self._count = 0
        self._foreign = 0
        self._not_utf8 = 0
        self._first_not_utf8 = 0

    def lines(self, file: BinaryIO) -> Iterator[bytes]:
        """The lines of the file, mended; those of one record stay together."""
        ahead: list[bytes] = []
        blank = 0
        while True:
            raw = ahead.pop(0) if ahead else file.readline()
            if not raw:
                return
            line = self._checked(raw)
            if not line:
                # kept back: blank lines at the end of a file are no lines
                blank += 1
                continue
            for _ in range(blank):
                yield self._blank
            blank = 0
            if self._quote and line.count(self._quote) % 2:
                yield from self._record(line, file, ahead)
            elif self._quote and self._quote in line and not self._reads(line):
                yield self._set_aside("q", line)
            else:
                yield line

    def _record(self, line: bytes, file: BinaryIO, ahead: list[bytes]) -> Iterator[bytes]:
        """A record that spans lines, or its first line set aside when it is none; `ahead` gets what was read too far."""
        assert self._quote is not None  # noqa: S101  # told by the caller
        record = [line]
        taken = 0
        while taken < _LONGEST_RECORD:
            if taken == len(ahead):
                more = file.readline()
                if not more:
                    break
                ahead.append(more)
            following = ahead[taken].rstrip(b"\r\n")
            taken += 1
            record.append(following)
            if following.count(self._quote) % 2:
                if self._is_record(b"\n".join(record)):
                    del ahead[:taken]
                    for part in record[1:]:
                        self._checked(part)
                    yield b"\n".join(record)
                    return
                break
        yield self._set_aside("q", line)

    def _is_record(self, text: bytes) -> bool:
        rows = self._reads(text)
        return len(rows) == 1 and len(rows[0]) == self._columns

    def _reads(self, text: bytes) -> list[list[str]]:
        """The records in a text; none where its quotation marks are not as they should be."""
        try:
            lines = io.StringIO(text.decode("utf-8"), newline="")
            return list(
                csv.reader(lines, delimiter=self._options.delimiter, quotechar=self._options.quote, strict=True)
            )
        except (csv.Error, UnicodeDecodeError):
            return []

    def _checked(self, raw: bytes) -> bytes:
        """A line without its end, and set aside when it is no UTF-8."""
        line = raw.rstrip(b"\r\n")
        self._count += 1
        if line.isascii():
            return line
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            self._not_utf8 += 1
            self._first_not_utf8 = self._first_not_utf8 or self._count
            return self._set_aside("u", line)
        self._foreign += 1
        return line

    def _set_aside(self, reason: str, line: bytes) -> bytes:
        text = line.decode("utf-8", errors="replace")
        if self._options.quote:
            text = text.replace(self._options.quote, "\N{RIGHT DOUBLE QUOTATION MARK}")
        # more columns than the header: the reader rejects this line and no other (empty ones it would pass over)
        return (MARK + reason + text + MARK + (self._options.delimiter + MARK) * self._columns).encode("utf-8")

    def check_encoding(self) -> None:
        """A broken line among good ones is a broken line; a file of them is in another encoding."""
        if self._not_utf8 > self._foreign and 100 * self._not_utf8 >= self._count:
            raise UnreadableFileError(
                f"line {self._first_not_utf8:,}: not utf-8 text, as on {self._not_utf8:,} of {self._count:,} lines; "
                "name the true encoding in the mapping's csv: {encoding: …} (utf-16, gb18030, latin-1)"
            )
