"""The generated shop's order lines: demand drawn as units, cut into lines and orders, with all that happens to orders.

Everything is drawn for all days at once. What is recorded here is what the shop's own system knows to be true: sales,
cancellations, returns, fees, write-offs. What goes wrong on the way into files is made in `shop_files.py`.

Customers whose line is cancelled or returned order under an id of their own, so that the order that a cancellation
belongs to is never in doubt: the truth would otherwise depend on how ties are broken.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.examples.shop_catalogue import VARIANTS, Catalogue, Ints
from pipeline.examples.shop_drivers import Drivers

TIMEZONE = "Asia/Shanghai"
CURRENCY = "CNY"
FOREIGN, FOREIGN_RATE = "HKD", 0.92
"""Some orders are paid in Hong Kong dollars; yuan for one of them."""

DAY = 86_400
NOT_AN_ITEM = -1
FEE_ITEMS = (("POST", "Postage 运费", 8.0), ("FEE01", "Platform fee 平台服务费", 3.5))
ADJUSTMENT_ITEM = ("ADJ", "Adjust bad debt 坏账调整")
WRITE_OFF_TEXTS = ("damages", "?", "破损", "lost in warehouse 盘亏", "wrongly coded", "过期报废", "found mouldy", "")


@dataclass(frozen=True)
class Lines:
    """Order lines as the shop's system has them, by order time. N lines.

    Attributes:
        order: (N,) order number; SO sale, CX cancellation, RT return, AJ adjustment, WO write-off, GS free sample.
        line_no: (N,) position in the order, from 1.
        item: (N,) item index, or NOT_AN_ITEM for fees and adjustments.
        code: (N,) item id as written.
        text: (N,) text where the line has one of its own (fees, write-offs, adjustments); else the item's in `variant`.
        variant: (N,) index into VARIANTS of how the item's text is written.
        location: (N,) index of the location.
        time: (N,) seconds since the first day's midnight, local.
        quantity: (N,) units, negative on cancellations, returns and write-offs.
        price: (N,) price of one unit in `currency`.
        currency: (N,) ISO 4217 code.
        customer: (N,) customer id, or empty.
        country: (N,) country of the customer.
        channel: (N,) sales channel.
        kind: (N,) kind of line, as cleaning should find it.
        recorded: (N,) day index on which the line was delivered; days after its own for late ones.
        corrected: (N,) quantity after the corrected re-delivery; the same as `quantity` when never corrected.
        corrected_on: (N,) day index of that re-delivery; -1 for none.
    """

    order: NDArray[np.str_]
    line_no: Ints
    item: Ints
    code: NDArray[np.str_]
    text: NDArray[np.str_]
    variant: Ints
    location: Ints
    time: Ints
    quantity: Ints
    price: NDArray[np.float64]
    currency: NDArray[np.str_]
    customer: NDArray[np.str_]
    country: NDArray[np.str_]
    channel: NDArray[np.str_]
    kind: NDArray[np.str_]
    recorded: Ints
    corrected: Ints
    corrected_on: Ints

    def __len__(self) -> int:
        return len(self.order)

    @property
    def day(self) -> Ints:
        """(N,) day index of each line."""
        return np.asarray(self.time // DAY)

    def take(self, index: NDArray[Any]) -> "Lines":
        """Some of the lines, in the order of `index`."""
        return Lines(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Ledger:
    """Facts about demand: on day `known`, `units` more (or less) were known to be ordered on day `day`, and why."""

    item: Ints
    location: Ints
    day: Ints
    known: Ints
    units: Ints
    reason: NDArray[np.str_]


@dataclass(frozen=True)
class _Happenings:
    """What happens to sale lines. Each is an array over sale lines unless said otherwise.

    Attributes:
        reversed_units: units cancelled or returned; 0 for none.
        reversed_at: time of the cancellation or return.
        is_return: a return, not a cancellation.
    """

    reversed_units: Ints
    reversed_at: Ints
    is_return: NDArray[np.bool_]


def make_lines(
    rng: np.random.Generator, catalogue: Catalogue, drivers: Drivers, dirt: dict[str, Any]
) -> tuple[Lines, Ledger]:
    """Draw the order lines of a shop, and what became known of its demand by when."""
    days = drivers.mean.shape[1]
    sales = _sales(rng, catalogue, drivers, dirt)
    sales = _late(rng, sales, days, dirt["late_share"])
    happenings = _happenings(rng, sales, days, dirt)
    touched = happenings.reversed_units > 0
    sales = _own_customers(sales, touched)
    sales = _corrected(rng, sales, ~touched, days, dirt["corrected_lines"])
    reversals = _reversals(sales, happenings)
    others = [
        _fees(rng, sales, dirt["fee_share"]),
        _write_offs(rng, sales, dirt["write_off_share"]),
        _adjustments(rng, sales, dirt["adjustment_share"]),
        _free_samples(rng, sales, dirt["free_share"]),
    ]
    lines = _joined([sales, reversals, *others])
    lines = lines.take(np.lexsort((lines.line_no, lines.order, lines.time)))
    return lines, _ledger(sales, reversals, np.flatnonzero(touched))


def _sales(rng: np.random.Generator, catalogue: Catalogue, drivers: Drivers, dirt: dict[str, Any]) -> Lines:
    mean = drivers.mean[:, None, :] * drivers.location_share[:, :, None]
    k = drivers.dispersion[:, None, None]
    units = rng.negative_binomial(np.broadcast_to(k, mean.shape), k / (k + mean))
    # one row per unit, cut where the next unit belongs to another line
    cells = np.flatnonzero(units)
    counts = units.ravel()[cells]
    unit_cell = np.repeat(cells, counts)
    cut = rng.random(len(unit_cell)) < catalogue.split[unit_cell // (units.shape[1] * units.shape[2])]
    cut[np.cumsum(counts) - counts] = True
    starts = np.flatnonzero(cut)
    quantity = np.diff(np.append(starts, len(unit_cell)))
    item, location, day = np.unravel_index(unit_cell[starts], units.shape)
    if dirt["huge_order"]:
        open_days = np.flatnonzero(~drivers.closed)
        item, location = np.append(item, 0), np.append(location, 0)
        day, quantity = np.append(day, open_days[int(len(open_days) * 0.6)]), np.append(quantity, dirt["huge_order"])
    # baskets: lines of a day and location at random
    group = day * units.shape[1] + location
    shuffled = np.lexsort((rng.random(len(item)), group))
    sold = np.stack([item, location, day, quantity])[:, shuffled]
    return _into_orders(rng, sold, (catalogue, drivers), dirt)


def _into_orders(rng: np.random.Generator, sold: Ints, shop: tuple[Catalogue, Drivers], dirt: dict[str, Any]) -> Lines:
    """Sale lines from rows (item, location, day, quantity), by day and location: 2.2 to an order."""
    (item, location, day, quantity), (catalogue, drivers) = sold, shop
    first = rng.random(len(item)) < 1 / 2.2
    first |= (np.diff(day, prepend=-1) != 0) | (np.diff(location, prepend=-1) != 0)
    order = np.cumsum(first) - 1
    heads = np.flatnonzero(first)
    orders = len(heads)
    time = day[heads] * DAY + rng.integers(8 * 3600, 22 * 3600, orders)
    number = np.empty(orders, dtype=np.int64)
    number[np.argsort(time, kind="stable")] = np.arange(orders)
    pool = max(50, orders // 6)
    customer = np.char.mod("B%06d", (pool * rng.random(orders) ** 2).astype(np.int64))
    customer[rng.random(orders) < dirt["missing_customer_share"]] = ""
    country = rng.choice(["CN", "HK", "TW", "SG"], orders, p=[0.93, 0.03, 0.02, 0.02])
    foreign = rng.random(orders) < dirt["foreign_share"]
    country[foreign] = "HK"
    price = drivers.price[item, day]
    variant = np.where(rng.random(len(item)) < dirt["text_variant_share"], rng.integers(1, len(VARIANTS), len(item)), 0)
    return Lines(
        order=np.char.mod("SO%d", 10_000_000 + number)[order],
        line_no=np.arange(len(item)) - heads[order] + 1,
        item=item,
        code=catalogue.item_id[item],
        text=np.full(len(item), ""),
        variant=variant,
        location=location,
        time=time[order],
        quantity=quantity,
        price=np.where(foreign[order], np.round(price / FOREIGN_RATE, 2), price),
        currency=np.where(foreign, FOREIGN, CURRENCY)[order],
        customer=customer[order],
        country=country[order],
        channel=rng.choice(["app", "web", "mini-program"], orders, p=[0.6, 0.25, 0.15])[order],
        kind=np.full(len(item), "sale", dtype="<U15"),
        recorded=day.copy(),
        corrected=quantity.copy(),
        corrected_on=np.full(len(item), -1, dtype=np.int64),
    )


def _late(rng: np.random.Generator, sales: Lines, days: int, share: float) -> Lines:
    recorded = sales.day + rng.integers(3, 31, len(sales))
    late = (rng.random(len(sales)) < share) & (recorded < days) & (sales.quantity < 10_000)
    return _with(sales, recorded=np.where(late, recorded, sales.recorded))


def _happenings(rng: np.random.Generator, sales: Lines, days: int, dirt: dict[str, Any]) -> _Happenings:
    """Cancellations within minutes or two days, whole lines; returns after days, whole or in part."""
    chance = rng.random(len(sales))
    cancelled = chance < dirt["cancelled_share"]
    returned = (chance >= 1 - dirt["returned_share"]) & ~cancelled
    delay = np.where(
        rng.random(len(sales)) < 0.6, rng.integers(120, 3600, len(sales)), rng.integers(3600, 2 * DAY, len(sales))
    )
    delay = np.where(returned, rng.integers(3 * DAY, 21 * DAY, len(sales)), delay)
    units = np.where(returned, rng.integers(1, sales.quantity + 1), sales.quantity)
    huge = (sales.quantity == dirt["huge_order"]) & (sales.quantity >= 1) & (dirt["huge_order"] > 0)
    delay[huge], units[huge] = 12 * 60, sales.quantity[huge]
    at = sales.time + delay
    # what is delivered late is left alone: nothing is cancelled before it is known
    possible = (at < days * DAY) & (sales.recorded == sales.day)
    touched = (cancelled | returned | huge) & possible
    return _Happenings(np.where(touched, units, 0), at, returned & ~huge)


def _own_customers(sales: Lines, touched: NDArray[np.bool_]) -> Lines:
    in_touched_order = np.isin(sales.order, sales.order[touched])
    return _with(sales, customer=np.where(in_touched_order, _renumbered(sales.order, "U"), sales.customer))


def _corrected(rng: np.random.Generator, sales: Lines, plain: NDArray[np.bool_], days: int, lines: int) -> Lines:
    """Other quantities for lines of one day and the first location, re-delivered 35 days later."""
    if not lines or days < 60:
        return sales
    possible = plain & (sales.location == 0) & (sales.recorded == sales.day)
    by_day = np.bincount(sales.day[possible], minlength=days)[: days - 35]
    middle = int(len(by_day) * 0.6)
    day = middle - 15 + int(np.argmax(by_day[max(0, middle - 15) : middle + 15]))
    candidates = np.flatnonzero(possible & (sales.day == day))
    chosen = rng.permutation(candidates)[:lines]
    corrected, corrected_on = sales.corrected.copy(), sales.corrected_on.copy()
    corrected[chosen] += np.where(
        (corrected[chosen] > 1) & (rng.random(len(chosen)) < 0.5), -1, rng.integers(1, 6, len(chosen))
    )
    corrected_on[chosen] = day + 35
    return _with(sales, corrected=corrected, corrected_on=corrected_on)


def _reversals(sales: Lines, happenings: _Happenings) -> Lines:
    """Cancellation and return lines, in the order of their sale lines."""
    index = np.flatnonzero(happenings.reversed_units)
    made = sales.take(index)
    is_return = happenings.is_return[index]
    time = happenings.reversed_at[index]
    quantity = -happenings.reversed_units[index]
    return _with(
        made,
        order=np.where(is_return, _renumbered(made.order, "RT"), _renumbered(made.order, "CX")),
        variant=np.zeros(len(index), dtype=np.int64),
        time=time,
        quantity=quantity,
        kind=np.where(is_return, "return", "cancellation"),
        recorded=time // DAY,
        corrected=quantity,
        corrected_on=np.full(len(index), -1, dtype=np.int64),
    )


def _renumbered(order: NDArray[np.str_], prefix: str) -> NDArray[np.str_]:
    """Numbers of sale orders under another prefix; numpy's own replace refuses to work on no orders at all."""
    return np.char.replace(order, "SO", prefix) if len(order) else order


def _fees(rng: np.random.Generator, sales: Lines, share: float) -> Lines:
    _, heads, sizes = np.unique(sales.order, return_index=True, return_counts=True)
    chosen = rng.random(len(heads)) < share
    which = (rng.random(int(chosen.sum())) < 0.2).astype(np.int64)
    codes, texts, prices = (np.array(column) for column in zip(*FEE_ITEMS, strict=True))
    made = _aside(sales.take(heads[chosen]), kind="non_merchandise", text=texts[which])
    return _with(
        made,
        line_no=sizes[chosen] + 1,
        item=np.full(len(which), NOT_AN_ITEM),
        code=codes[which],
        price=prices[which],
    )


def _write_offs(rng: np.random.Generator, sales: Lines, share: float) -> Lines:
    index = np.flatnonzero(rng.random(len(sales)) < share)
    quantity = -rng.integers(1, 40, len(index))
    made = _aside(sales.take(index), kind="write_off", text=rng.choice(WRITE_OFF_TEXTS, len(index)))
    return _on_their_own(
        made, "WO", quantity=quantity, corrected=quantity, price=np.zeros(len(index)), customer=np.full(len(index), "")
    )


def _adjustments(rng: np.random.Generator, sales: Lines, share: float) -> Lines:
    index = np.flatnonzero(rng.random(len(sales)) < share)
    made = _aside(sales.take(index), kind="adjustment", text=np.full(len(index), ADJUSTMENT_ITEM[1]))
    return _on_their_own(
        made,
        "AJ",
        item=np.full(len(index), NOT_AN_ITEM),
        code=np.full(len(index), ADJUSTMENT_ITEM[0]),
        price=-np.round(rng.uniform(50, 9000, len(index)), 2),
        customer=np.full(len(index), ""),
    )


def _free_samples(rng: np.random.Generator, sales: Lines, share: float) -> Lines:
    index = np.flatnonzero(rng.random(len(sales)) < share)
    made = _aside(sales.take(index), kind="free", text=np.full(len(index), ""))
    return _on_their_own(made, "GS", price=np.zeros(len(index)))


def _aside(lines: Lines, *, kind: str, text: NDArray[np.str_]) -> Lines:
    """Lines beside sales: one unit, recorded on the day itself."""
    one = np.ones(len(lines), dtype=np.int64)
    return _with(
        lines,
        kind=np.full(len(lines), kind),
        text=text,
        variant=0 * one,
        quantity=one,
        corrected=one,
        corrected_on=-one,
        recorded=lines.day,
    )


def _on_their_own(lines: Lines, prefix: str, **changes: NDArray[Any]) -> Lines:
    """Lines that are an order each, numbered by themselves."""
    count = len(lines)
    order = np.char.mod(prefix + "%d", 10_000_000 + np.arange(count))
    return _with(lines, order=order, line_no=np.ones(count, dtype=np.int64), **changes)


def _ledger(sales: Lines, reversals: Lines, sold_as: Ints) -> Ledger:
    changed = np.flatnonzero(sales.corrected_on >= 0)
    parts = (
        (sales, sales.day, sales.recorded, sales.quantity, sales.kind),
        # a cancellation changes the day of the order that it cancels
        (reversals, sales.day[sold_as], reversals.recorded, reversals.quantity, reversals.kind),
        (
            sales.take(changed),
            sales.day[changed],
            sales.corrected_on[changed],
            (sales.corrected - sales.quantity)[changed],
            np.full(len(changed), "correction"),
        ),
    )
    columns = zip(*((p.item, p.location, day, known, units, why) for p, day, known, units, why in parts), strict=True)
    return Ledger(*(np.concatenate(column) for column in columns))


def _with(lines: Lines, **changes: NDArray[Any]) -> Lines:
    return Lines(**{field.name: changes.get(field.name, getattr(lines, field.name)) for field in fields(lines)})


def _joined(parts: list[Lines]) -> Lines:
    return Lines(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Lines)))
