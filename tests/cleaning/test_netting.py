"""Netting on plain arrays: which order each cancellation takes its units from."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.netting import Matches, NettingLines, net

DAY = 86_400_000_000
YEAR = 400 * DAY


@dataclass(frozen=True)
class Line:
    """A line on a day; by default it becomes known on that day."""

    units: int
    day: int
    known: int | None = None
    replaces: int = -1
    group: int = 0
    window: int = YEAR


def lines_of(lines: list[Line], new_from: int = 0) -> NettingLines:
    return NettingLines(
        group=np.array([line.group for line in lines], np.int64),
        units=np.array([line.units for line in lines], np.int64),
        ordered_at=np.array([line.day * DAY for line in lines], np.int64),
        known_on=np.array([line.day if line.known is None else line.known for line in lines], np.int64),
        window=np.array([line.window for line in lines], np.int64),
        replaces=np.array([line.replaces for line in lines], np.int64),
        new=np.arange(len(lines)) >= new_from,
    )


def nothing() -> Matches:
    none = np.array([], np.int64)
    return Matches(none, none, none, none, none)


def taken(lines: list[Line]) -> dict[tuple[int, int], int]:
    """Units by (cancellation, order) after all lines."""
    return _sums(net(lines_of(lines), nothing()))


def _sums(*parts: Matches) -> dict[tuple[int, int], int]:
    total: Counter[tuple[int, int]] = Counter()
    for part in parts:
        for cancellation, ordered, units in zip(part.cancellation, part.ordered, part.units, strict=True):
            total[int(cancellation), int(ordered)] += int(units)
    return {pair: units for pair, units in total.items() if units}


def test_a_cancellation_takes_the_most_recent_order_first() -> None:
    assert taken([Line(5, 1), Line(5, 2), Line(-6, 3)]) == {(2, 1): 5, (2, 0): 1}


def test_several_partial_returns_never_exceed_the_order() -> None:
    assert taken([Line(5, 1), Line(-2, 2), Line(-2, 3), Line(-2, 4)]) == {(1, 0): 2, (2, 0): 2, (3, 0): 1}


def test_a_later_order_is_not_cancelled() -> None:
    assert taken([Line(5, 1), Line(-3, 2), Line(5, 3)]) == {(1, 0): 3}


def test_another_group_is_not_touched() -> None:
    assert taken([Line(5, 1, group=1), Line(-5, 2, group=2)]) == {}


@pytest.mark.parametrize(("age", "found"), [(7, True), (8, False)], ids=["within the window", "too old"])
def test_the_window_ends_the_search(age: int, found: bool) -> None:
    assert bool(taken([Line(5, 1), Line(-5, 1 + age, window=7 * DAY)])) == found


def test_a_whole_cancellation_takes_the_line_away_and_a_partial_one_does_not() -> None:
    matches = net(lines_of([Line(5, 1), Line(-2, 2), Line(-3, 3)]), nothing())

    assert matches.lines.tolist() == [0, -1]


def test_an_order_known_late_meets_the_cancellation_that_waited() -> None:
    matches = net(lines_of([Line(-4, 5), Line(4, 2, known=9)]), nothing())

    assert _sums(matches) == {(0, 1): 4}
    assert matches.known_on.tolist() == [9]


def test_an_order_that_came_late_but_is_younger_meets_no_cancellation() -> None:
    assert taken([Line(-4, 5), Line(4, 6, known=9)]) == {}


def test_a_corrected_order_keeps_its_cancellation() -> None:
    assert taken([Line(10, 1), Line(-4, 2), Line(7, 1, known=3, replaces=0)]) == {(1, 2): 4}


def test_an_order_corrected_below_what_was_cancelled_gives_the_rest_to_another_order() -> None:
    lines = [Line(9, 0), Line(10, 1), Line(-8, 2), Line(3, 1, known=3, replaces=1)]

    assert taken(lines) == {(2, 3): 3, (2, 0): 5}


def test_an_order_corrected_below_what_was_cancelled_leaves_the_rest_waiting() -> None:
    lines = [Line(10, 1), Line(-8, 2), Line(3, 1, known=3, replaces=0), Line(20, 2, known=4)]

    assert taken(lines) == {(1, 2): 3, (1, 3): 5}


def test_a_corrected_cancellation_is_netted_anew() -> None:
    assert taken([Line(10, 1), Line(-8, 2), Line(-3, 2, known=3, replaces=1)]) == {(2, 0): 3}


def test_an_order_moved_to_another_customer_takes_no_cancellation_along() -> None:
    lines = [Line(10, 1, group=1), Line(-8, 2, group=1), Line(10, 1, known=3, replaces=0, group=2)]

    assert taken(lines) == {}


def test_an_order_that_is_no_sale_any_more_frees_its_cancellation() -> None:
    lines = [Line(6, 0), Line(5, 1), Line(-5, 2), Line(0, 1, known=3, replaces=1)]

    assert taken(lines) == {(2, 0): 5}


def test_what_was_taken_back_becomes_known_when_the_correction_does() -> None:
    matches = net(lines_of([Line(10, 1), Line(-4, 2), Line(2, 1, known=6, replaces=0)]), nothing())

    assert [(int(u), int(k)) for u, k in zip(matches.units, matches.known_on, strict=True)] == [(4, 2), (-4, 6), (2, 6)]


# --- properties -----------------------------------------------------------------------------------------------------


def in_known_order(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line.day if line.known is None else line.known, line.day, line.units < 0))


PLAIN = st.lists(
    st.builds(
        Line,
        units=st.integers(-6, 6).filter(bool),
        day=st.integers(0, 20),
        group=st.integers(0, 1),
        window=st.sampled_from([3 * DAY, YEAR]),
    ),
    max_size=25,
).map(in_known_order)


@st.composite
def with_corrections(draw: st.DrawFn) -> list[Line]:
    """Lines that come late, and corrections of some of them."""
    lines = [
        Line(units, day, day + late, group=group)
        for units, day, late, group in draw(
            st.lists(
                st.tuples(
                    st.integers(-6, 6).filter(bool),
                    st.integers(0, 20),
                    st.sampled_from([0, 0, 0, 9]),
                    st.integers(0, 1),
                ),
                min_size=1,
                max_size=15,
            )
        )
    ]
    lines = in_known_order(lines)
    last = max(line.known or 0 for line in lines)
    for _ in range(draw(st.integers(0, 6))):
        replaced = {line.replaces for line in lines}
        old = draw(st.sampled_from([n for n in range(len(lines)) if n not in replaced]))
        last += draw(st.integers(0, 2))
        same_sign = st.integers(0, 8) if lines[old].units >= 0 else st.integers(-8, 0)
        units = draw(st.one_of(same_sign, st.integers(-4, 4)))
        group = draw(st.sampled_from([lines[old].group, lines[old].group, 1 - lines[old].group]))
        day = draw(st.sampled_from([lines[old].day, lines[old].day, max(lines[old].day - 1, 0)]))
        lines.append(Line(units, day, last, old, group))
    return lines


def by_hand(lines: list[Line]) -> dict[tuple[int, int], int]:
    """The rule, unit by unit, for lines that come in the order in which they happened."""
    left = {number: line.units for number, line in enumerate(lines)}
    found: Counter[tuple[int, int]] = Counter()
    for number, line in enumerate(lines):
        for _ in range(-line.units):
            earlier = [
                (lines[o].day, o)
                for o in range(number)
                if lines[o].group == line.group
                and left[o] > 0
                and lines[o].units > 0
                and 0 <= (line.day - lines[o].day) * DAY <= line.window
            ]
            if earlier:
                ordered = max(earlier)[1]
                left[ordered] -= 1
                found[number, ordered] += 1
    return dict(found)


@given(PLAIN)
def test_netting_is_the_rule_unit_by_unit(lines: list[Line]) -> None:
    assert taken(lines) == by_hand(lines)


@given(with_corrections())
def test_nothing_is_cancelled_twice_nor_more_than_ordered_on_any_night(lines: list[Line]) -> None:
    matches = net(lines_of(lines), nothing())

    for night in range(45):
        known = matches.known_on <= night
        part = Matches(*(getattr(matches, f)[known] for f in ("cancellation", "ordered", "units", "lines", "known_on")))
        sums = _sums(part)
        assert all(units > 0 for units in sums.values())
        for number, line in enumerate(lines):
            given_up = sum(units for (cancellation, _), units in sums.items() if cancellation == number)
            lost = sum(units for (_, ordered), units in sums.items() if ordered == number)
            assert given_up <= max(-line.units, 0)
            assert lost <= max(line.units, 0)
            gone = int(part.lines[part.ordered == number].sum())
            assert gone == (-1 if lost and lost == line.units else 0)


@given(with_corrections())
def test_a_replaced_line_keeps_nothing(lines: list[Line]) -> None:
    replaced = {line.replaces for line in lines}

    assert not any(c in replaced or o in replaced for c, o in taken(lines))


@given(with_corrections())
def test_no_waiting_cancellation_is_left_beside_an_order_it_could_take(lines: list[Line]) -> None:
    sums = taken(lines)
    replaced = {line.replaces for line in lines}
    left = {n: abs(line.units) for n, line in enumerate(lines) if n not in replaced}
    for (cancellation, ordered), units in sums.items():
        left[cancellation] -= units
        left[ordered] -= units
    waiting = [n for n in left if lines[n].units < 0 and left[n]]
    open_orders = [n for n in left if lines[n].units > 0 and left[n]]

    assert not [
        (c, o)
        for c in waiting
        for o in open_orders
        if lines[c].group == lines[o].group and lines[o].day <= lines[c].day
    ]


@given(with_corrections(), st.data())
def test_cutting_the_lines_into_deliveries_changes_nothing(lines: list[Line], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(lines)))
    first = net(lines_of(lines[:cut]), nothing())
    sums = _sums(first)
    pairs = sorted(sums)
    known = dict.fromkeys(pairs, 0)
    for c, o, k in zip(first.cancellation.tolist(), first.ordered.tolist(), first.known_on.tolist(), strict=True):
        if (c, o) in known:
            known[c, o] = max(known[c, o], k)
    replaced = {line.replaces for line in lines[:cut]}
    # a line that an earlier delivery corrected does not come again
    state = [
        Line(0, line.day, line.known, -1, line.group) if n in replaced else line for n, line in enumerate(lines[:cut])
    ]
    before = Matches(
        np.array([c for c, _ in pairs], np.int64),
        np.array([o for _, o in pairs], np.int64),
        np.array([sums[pair] for pair in pairs], np.int64),
        np.zeros(len(pairs), np.int64),
        np.array([known[pair] for pair in pairs], np.int64),
    )
    second = net(lines_of(state + lines[cut:], new_from=cut), before)

    assert _sums(first, second) == taken(lines)
