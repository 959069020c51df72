"""Rows as a plain text table: widths by what a terminal shows, numbers to the right, nothing read as markup."""

import math
import shutil
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.cells import cell_len, set_cell_size

_WIDEST = 44
_GAP = "  "


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int | None = None) -> str:
    """The rows under their column names.

    Args:
        columns: names.
        rows: values.
        width: cells to fit into, by leaving out columns from the middle; default: the terminal's, none in a pipe.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    cells = [[shown(value) for value in row] for row in rows]
    right = [any(_is_number(row[n]) for row in rows) for n in range(len(columns))]
    widths = [
        min(max([cell_len(name), *(cell_len(row[n]) for row in cells)]), max(_WIDEST, cell_len(name)))
        for n, name in enumerate(columns)
    ]
    kept = _fitting(widths, width)

    def line(values: Sequence[str]) -> str:
        return _GAP.join("…" if n is None else _fit(values[n], widths[n], right=right[n]) for n in kept).rstrip()

    rule = ["─" * width_of for width_of in widths]
    return "\n".join([line(columns), line(rule), *(line(row) for row in cells)])


def shown(value: Any) -> str:
    """A value for people: four digits or so of a number, nothing for null."""
    if isinstance(value, (float, Decimal)):
        number = float(value)
        if math.isnan(number):
            return ""
        return f"{number:.3f}" if abs(number) < 1 else f"{number:,.2f}".rstrip("0").rstrip(".")
    return "" if value is None else " ".join(str(value).split())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _fit(text: str, width: int, *, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _fitting(widths: Sequence[int], width: int | None) -> list[int | None]:
    """Columns to show, None standing for those left out in the middle."""
    if width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        return list(range(len(widths)))
    room = width - 1
    head: list[int | None] = []
    tail: list[int | None] = []
    # the first columns name the row: two of them for each one from the end
    for n in sorted(range(len(widths)), key=lambda n: min(n, 2 * (len(widths) - 1 - n))):
        room -= widths[n] + len(_GAP)
        if room < 0 and head:
            break
        (head if n <= 2 * (len(widths) - 1 - n) else tail).append(n)
    return [*head, None, *reversed(tail)]
