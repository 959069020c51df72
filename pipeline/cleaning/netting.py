"""Netting: which order each cancellation or return cancels.

A cancellation takes units from the most recent earlier order lines of its group (the customer and item) that have
units left, never more than were ordered and never older than its window; what finds no order waits, and is not
subtracted. The lines come in the order in which they became known, so every result is what was known at that moment:

- an order that comes to be known late is offered to the cancellations that waited for it;
- a corrected line first gives back what was netted on its old version. Cancellations of a corrected order return to
  the new version as far as its units go; the rest look for another order, or wait.

Plain arrays and no SQL here; only groups that hold a cancellation come this way (`netting_lines.sql`).
"""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NettingLines:
    """Order and cancellation lines; those known before come first, then the new ones as they became known.

    Attributes:
        group: lines of one group may cancel each other.
        units: ordered (positive) or cancelled (negative); 0 for a line that a correction took out.
        ordered_at: time of the order or of the cancellation, in microseconds.
        known_on: local day on which the line became known, in days.
        window: how long after an order the cancellation may come, in microseconds.
        replaces: row of the version that a corrected line replaces, else −1.
        new: the line is new; the others only hold what is left of them.
    """

    group: Ints
    units: Ints
    ordered_at: Ints
    known_on: Ints
    window: Ints
    replaces: Ints
    new: NDArray[np.bool_]


@dataclass(frozen=True)
class Matches:
    """Units of an order taken by a cancellation.

    Attributes:
        cancellation: row of the cancellation.
        ordered: row of the order line, −1 for one that is older than the rows given.
        units: units netted; negative when an earlier netting is taken back.
        lines: −1 when the order's last unit went, +1 when a wholly cancelled order has units again, else 0.
        known_on: local day on which the netting became known, in days.
    """

    cancellation: Ints
    ordered: Ints
    units: Ints
    lines: Ints
    known_on: Ints


def net(lines: NettingLines, before: Matches) -> Matches:
    """Net the new lines.

    Args:
        lines: the lines of all groups concerned.
        before: what was netted before among them (`lines` is not read).

    Returns:
        What the new lines change, in the order in which it became known within each group.
    """
    ledger = _Ledger(lines)
    for cancellation, ordered, units, known_on in zip(
        before.cancellation.tolist(),
        before.ordered.tolist(),
        before.units.tolist(),
        before.known_on.tolist(),
        strict=True,
    ):
        ledger.recall(cancellation, ordered, units, known_on)
    groups: dict[int, _Group] = {}
    for row in np.flatnonzero(~lines.new).tolist():
        ledger.group_of(groups, row).enter(row)
    for row in np.flatnonzero(lines.new).tolist():
        ledger.now = ledger.known_on[row]
        group, old = ledger.group_of(groups, row), ledger.replaces[row]
        if old < 0:
            group.add(row)
            continue
        freed = ledger.group_of(groups, old).remove(old)
        if group is ledger.group_of(groups, old):
            group.add(row, freed)
        else:
            ledger.group_of(groups, old).settle()
            group.add(row)
        group.settle()
    return ledger.matches()


class _Ledger:
    """Units left of every line, and every change to them."""

    def __init__(self, lines: NettingLines) -> None:
        self.group = lines.group.tolist()
        self.ordered_at = lines.ordered_at.tolist()
        self.known_on = lines.known_on.tolist()
        self.window = lines.window.tolist()
        self.replaces = lines.replaces.tolist()
        self.units = lines.units.tolist()
        self.left = np.abs(lines.units).tolist()
        self.taken: dict[int, dict[int, tuple[int, int]]] = {}
        self.given: dict[int, set[int]] = {}
        self.now = 0
        self._changes: list[tuple[int, int, int, int, int]] = []

    def group_of(self, groups: dict[int, "_Group"], row: int) -> "_Group":
        number = self.group[row]
        group = groups.get(number)
        if group is None:
            group = groups[number] = _Group(self)
        return group

    def recall(self, cancellation: int, ordered: int, units: int, known_on: int) -> None:
        """Restore what was netted before."""
        self.left[cancellation] -= units
        if ordered >= 0:
            self.left[ordered] -= units
            self.taken.setdefault(ordered, {})[cancellation] = (units, known_on)
            self.given.setdefault(cancellation, set()).add(ordered)

    def book(self, cancellation: int, ordered: int, units: int) -> None:
        """A cancellation takes units of an order."""
        self.left[cancellation] -= units
        self.left[ordered] -= units
        known_on = max(self.now, self.known_on[cancellation], self.known_on[ordered])
        of_order = self.taken.setdefault(ordered, {})
        earlier = of_order.get(cancellation, (0, known_on))
        of_order[cancellation] = (earlier[0] + units, max(earlier[1], known_on))
        self.given.setdefault(cancellation, set()).add(ordered)
        self._changes.append((cancellation, ordered, units, 0 if self.left[ordered] else -1, known_on))

    def take_back(self, cancellation: int, ordered: int) -> int:
        """Undo what a cancellation took of an order; returns the units."""
        units, known_on = self.taken[ordered].pop(cancellation)
        self.given[cancellation].discard(ordered)
        self._changes.append((cancellation, ordered, -units, 0 if self.left[ordered] else 1, max(self.now, known_on)))
        self.left[cancellation] += units
        self.left[ordered] += units
        return units

    def matches(self) -> Matches:
        table = np.array(self._changes, dtype=np.int64).reshape(-1, 5)
        return Matches(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4])


class _Group:
    """The open order lines and the waiting cancellations of one group, each sorted by time."""

    def __init__(self, ledger: _Ledger) -> None:
        self.ledger = ledger
        self.open: list[tuple[int, int]] = []
        self.waiting: list[tuple[int, int]] = []

    def enter(self, row: int) -> None:
        """Take a line in as it stands."""
        if self.ledger.left[row] > 0:
            insort(self.open if self.ledger.units[row] > 0 else self.waiting, (self.ledger.ordered_at[row], row))

    def add(self, row: int, freed: list[tuple[int, int]] | None = None) -> None:
        """A line becomes known; `freed` are cancellations, with units, that it has the first claim on."""
        ledger = self.ledger
        if ledger.units[row] < 0:
            self._find_orders(row)
            if ledger.left[row]:
                insort(self.waiting, (ledger.ordered_at[row], row))
            return
        if ledger.units[row] > 0:
            for cancellation, units in freed or ():
                if self._may_cancel(cancellation, row):
                    self._give(cancellation, row, units)
            late = bisect_left(self.waiting, (ledger.ordered_at[row], -1))
            for _, cancellation in self.waiting[late:]:
                if not ledger.left[row]:
                    break
                if self._may_cancel(cancellation, row):
                    self._give(cancellation, row, ledger.left[cancellation])
            self._forget_settled()
            if ledger.left[row]:
                insort(self.open, (ledger.ordered_at[row], row))

    def remove(self, row: int) -> list[tuple[int, int]]:
        """A line is replaced: take back all that was netted on it. Returns the cancellations that lost units."""
        ledger = self.ledger
        place = (ledger.ordered_at[row], row)
        freed: list[tuple[int, int]] = []
        if ledger.units[row] > 0:
            # by time and not by when they were netted: a later delivery does not know that any more
            for cancellation in sorted(ledger.taken.get(row, ()), key=lambda c: (ledger.ordered_at[c], c)):
                if not ledger.left[cancellation]:
                    insort(self.waiting, (ledger.ordered_at[cancellation], cancellation))
                freed.append((cancellation, ledger.take_back(cancellation, row)))
            self.open = [entry for entry in self.open if entry != place]
        elif ledger.units[row] < 0:
            for ordered in sorted(ledger.given.get(row, ())):
                if not ledger.left[ordered]:
                    insort(self.open, (ledger.ordered_at[ordered], ordered))
                ledger.take_back(row, ordered)
            self.waiting = [entry for entry in self.waiting if entry != place]
        ledger.left[row] = 0
        return freed

    def settle(self) -> None:
        """Offer the open orders to every waiting cancellation, the earliest first."""
        for _, cancellation in self.waiting:
            self._find_orders(cancellation)
        self._forget_settled()

    def _find_orders(self, cancellation: int) -> None:
        """Take units from the most recent earlier orders."""
        ledger = self.ledger
        oldest = ledger.ordered_at[cancellation] - ledger.window[cancellation]
        place = bisect_right(self.open, (ledger.ordered_at[cancellation], len(ledger.left))) - 1
        while place >= 0 and ledger.left[cancellation] and self.open[place][0] >= oldest:
            ordered = self.open[place][1]
            self._give(cancellation, ordered, ledger.left[cancellation])
            if not ledger.left[ordered]:
                del self.open[place]
            place -= 1

    def _may_cancel(self, cancellation: int, ordered: int) -> bool:
        age = int(self.ledger.ordered_at[cancellation]) - int(self.ledger.ordered_at[ordered])
        return 0 <= age <= int(self.ledger.window[cancellation])

    def _give(self, cancellation: int, ordered: int, units: int) -> None:
        units = min(units, self.ledger.left[cancellation], self.ledger.left[ordered])
        if units:
            self.ledger.book(cancellation, ordered, units)

    def _forget_settled(self) -> None:
        if self.waiting:
            self.waiting = [entry for entry in self.waiting if self.ledger.left[entry[1]]]
