"""The rules that an order line must meet to count, each declared once.

What a real shop delivers and nobody can use: unreadable values, missing ids, nothing ordered, impossible times and prices,
money that cannot be converted. What belongs to cleaning passes: cancellations, returns, write-offs at price 0, free lines,
fees. The first rule that a line breaks is its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.ingestion.mapping import SourceMapping, line_kind_sql, sql_text
from pipeline.settings import ShopSettings

_MONEY_ONLY = ("adjustment", "non_merchandise")


@dataclass(frozen=True)
class Rule:
    """A rule: which lines break it, and what is said of them.

    Attributes:
        name: measure `quarantined:<name>` of data_quality.
        column: order-line column at fault.
        breaks: SQL condition over raw_order_lines; NULL counts as no.
        reason: SQL text.
    """

    name: str
    column: str
    breaks: str
    reason: str


def line_rules(shop: ShopSettings, mapping: SourceMapping | None) -> tuple[Rule, ...]:
    """The rules for the lines of one source, in order.

    Args:
        shop: its currency and exchange rates.
        mapping: the source's mapping, which tells fees and adjustments (they may be negative); None when it is gone.
    """
    currencies = ", ".join(sql_text(code) for code in shop.rates)
    kind = line_kind_sql(mapping.orders) if mapping is not None and mapping.orders is not None else "'sale'"
    money_only = ", ".join(sql_text(name) for name in _MONEY_ONLY)
    # a CASE, so that the patterns of the kinds run on the few lines with a negative price only
    negative = f"CASE WHEN unit_price < 0 THEN {kind} NOT IN ({money_only}) ELSE false END"
    return (
        Rule("unreadable", "", "problem IS NOT NULL", "problem"),
        _missing("order_id"),
        _missing("item_id"),
        _missing("quantity"),
        Rule("zero_quantity", "quantity", "quantity = 0", "'nothing ordered: quantity 0'"),
        Rule(
            "absurd_quantity",
            "quantity",
            "abs(quantity) > 2147483647",
            "'quantity ' || quantity || ': no shop sells that many'",
        ),
        _missing("unit_price"),
        Rule(
            "negative_price",
            "unit_price",
            negative,
            "'price ' || unit_price || ' below zero on a line that is no adjustment or fee'",
        ),
        _missing("currency"),
        Rule(
            "unknown_currency",
            "currency",
            f"currency NOT IN ({currencies})",
            f"'no exchange rate for ' || currency || ' into {shop.currency}: add one under shop: exchange_rates'",
        ),
        _missing("ordered_at"),
        Rule(
            "time_before_1990",
            "ordered_at",
            "ordered_at < TIMESTAMP '1990-01-01'",
            "'ordered at ' || ordered_at || ' UTC: before 1990'",
        ),
        Rule(
            "time_after_delivery",
            "ordered_at",
            # an hour for clocks that disagree
            "ordered_at > getvariable('delivered_at') + INTERVAL 1 HOUR",
            "'ordered at ' || ordered_at || ' UTC: after its delivery at ' || getvariable('delivered_at') || ' UTC'",
        ),
    )


def broken_rule_sql(rules: Sequence[Rule]) -> str:
    """A CASE over raw_order_lines: the place of the first rule that a line breaks; NULL for a good line."""
    return "CASE " + " ".join(f"WHEN {rule.breaks} THEN {place}" for place, rule in enumerate(rules)) + " END"


def _missing(column: str) -> Rule:
    return Rule(f"missing_{column}", column, f"{column} IS NULL", "'nothing there'")
