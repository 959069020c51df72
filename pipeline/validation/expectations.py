"""What each table must look like: its suite, declared as data.

A suite looks at a small frame (`frames/<table>.sql`, made by DuckDB: one row per file, source, model or night), never at
the table itself, so that memory stays bounded on any number of lines. ERROR stops what is downstream; WARN tells somebody.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.settings import Settings

Severity = Literal["WARN", "ERROR"]


@dataclass(frozen=True)
class Expected:
    """One expectation of Great Expectations.

    Attributes:
        expectation: its class name in `great_expectations.expectations`.
        meaning: what it says of the table, in words.
        severity: ERROR or WARN.
        arguments: its arguments.
    """

    expectation: str
    meaning: str
    severity: Severity
    arguments: dict[str, Any] = field(default_factory=dict)


def _none(column: str, meaning: str, severity: Severity = "ERROR") -> Expected:
    """A count of faults that must be 0 in every row."""
    return Expected(
        "ExpectColumnValuesToBeBetween", meaning, severity, {"column": column, "min_value": 0, "max_value": 0}
    )


def _between(
    column: str, meaning: str, severity: Severity, low: float | None = None, high: float | None = None
) -> Expected:
    return Expected(
        "ExpectColumnValuesToBeBetween", meaning, severity, {"column": column, "min_value": low, "max_value": high}
    )


def _some(meaning: str, severity: Severity = "ERROR") -> Expected:
    return Expected("ExpectTableRowCountToBeBetween", meaning, severity, {"min_value": 1})


def _equal(left: str, right: str, meaning: str) -> Expected:
    return Expected("ExpectColumnPairValuesToBeEqual", meaning, "ERROR", {"column_A": left, "column_B": right})


_QUANTILES = (
    _none("crossing", "no quantile lies above the next one"),
    _some("the night has forecasts"),
)

SUITES: dict[str, Callable[[Settings], tuple[Expected, ...]]] = {
    "raw_files": lambda _: (
        _some("something was delivered"),
        Expected("ExpectColumnValuesToBeUnique", "a file is taken in once", "ERROR", {"column": "file_hash"}),
        _none("lines_lost", "every line of every order file is in the lake"),
        _between("lines", "a delivery holds lines", "WARN", low=1),
    ),
    "raw_order_lines": lambda settings: (
        _none("numbers_out_of_step", "lines are numbered without gap or repeat"),
        _none("impossible_versions", "versions and line numbers count from 1"),
        _between(
            "unreadable_share",
            "few lines cannot be read",
            "WARN",
            high=settings.validation.max_quarantined_share,
        ),
        _between("share_without_text", "most lines, or none, say what the item is", "WARN", high=1.0),
    ),
    "quarantined_order_lines": lambda settings: (
        _between(
            "share_waiting",
            "the share of a new file (of 100 lines or more) in quarantine stays below validation.max_quarantined_share; look at "
            "quarantined_order_lines, correct the mapping and deliver the file again, or raise the limit in almanac.yaml",
            "ERROR",
            high=settings.validation.max_quarantined_share,
        ),
        _between(
            "share", "few lines of any file are in quarantine", "WARN", high=settings.validation.max_quarantined_share
        ),
        _equal("quarantined", "stored", "every quarantined line is kept"),
        _none("without_reason", "every quarantined line has a reason"),
    ),
    "data_quality": lambda _: (
        _equal("lines", "accounted_for", "lines = accepted + quarantined + exact repeats"),
        _between("accepted", "a delivery holds lines that count", "WARN", low=1),
    ),
    "order_lines": lambda _: (
        _some("there are order lines"),
        Expected(
            "ExpectColumnValuesToBeInSet",
            "every line is of a known kind",
            "ERROR",
            {
                "column": "kind",
                "value_set": [
                    "sale",
                    "cancellation",
                    "return",
                    "adjustment",
                    "write_off",
                    "non_merchandise",
                    "free",
                ],
            },
        ),
        _none("repeated_keys", "a version of a line stands there once"),
        _none("incomplete", "lines have order, item, quantity and price"),
        _none("sales_of_nothing", "a sale sells something"),
        _none("known_before_it_happened", "nothing is known before it happens"),
    ),
    "demand_changes": lambda _: (
        _some("there is demand"),
        _none("incomplete", "changes have item, day and units"),
        _none("known_before_it_happened", "nothing is known before it happens"),
        _none("item_days_below_zero", "no item has a day with less than no demand", "WARN"),
    ),
    "item_sightings": lambda _: (
        _none("without_item", "sightings have an item"),
        _between("share_with_text", "most items have a text", "WARN", low=0.5),
    ),
    "announced_items": lambda _: (
        _none("impossible_prices", "a price at launch is above 0"),
        _none("of_nothing", "an announcement says when or for how much"),
        _none(
            "days_far_away",
            "items go on sale at most 2 years after, and 20 before, the day that it is said on; a day far away is mostly a typo "
            "or stands for none",
            "WARN",
        ),
    ),
    "calendar_daily": lambda _: (
        _some("there is a calendar"),
        _none("days_missing_or_twice", "every day stands there once"),
        _none("wrong_weekdays", "weekdays are right"),
        _between("holidays_a_year", "a plausible number of public holidays a year", "WARN", low=3, high=60),
    ),
    "calendar_occurrences": lambda _: (
        _none("ends_before_it_starts", "events end after they start"),
        _none("repeated", "an event starts once on a day"),
    ),
    "promotions": lambda _: (
        _none("ends_before_it_starts", "promotions end after they start"),
        _none("impossible_shares", "a promotion reaches a share of the shop, 0 to 1"),
        _between("share_announced_too_late", "few promotions are announced after their end", "WARN", high=0.1),
    ),
    "reviews": lambda _: (
        _none("impossible_ratings", "ratings are from 1 to 5"),
        _none("known_too_early", "nothing is known of a review before it is written"),
    ),
    "item_text_features": lambda _: (
        _between("dimensions", "vectors of one model have one length", "ERROR", low=1, high=1),
        _between("farthest_from_unit_length", "vectors have unit length", "ERROR", high=0.001),
        _none("repeated_texts", "a text is encoded once per model", "WARN"),
    ),
    "model_versions": lambda _: (
        Expected("ExpectColumnValuesToBeUnique", "a version is registered once", "ERROR", {"column": "model_version"}),
        Expected("ExpectColumnValuesToNotBeNull", "a version names its data", "ERROR", {"column": "data_snapshot"}),
    ),
    "backtest_scores": lambda _: (_none("impossible_wql", "WQL is finite and not negative"),),
    "forecasts": lambda _: (
        *_QUANTILES,
        _none("rows_missing_or_twice", "every series has every day of the horizon once"),
        _none("wrong_days", "the target date is the night plus the horizon"),
        _none("incomplete", "forecasts have mean and quantiles"),
        _none("not_finite", "forecasts are finite"),
        _none("below_zero", "forecasts are not negative"),
        _none("fractions_of_units", "quantiles are whole units"),
    ),
    "forecast_totals": lambda _: (
        *_QUANTILES,
        _none("repeated_keys", "a total stands there once"),
        _none("impossible", "totals are finite and not negative"),
    ),
}
"""Suites by table, given the settings."""
