"""What an event of the calendar is: a name, a kind, and one occurrence of it from a first to a last day."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

Kind = Literal["holiday", "workday", "lunar", "solar_term", "festival", "own"]
DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Occurrence:
    """One occurrence of an event.

    Attributes:
        event: stable snake_case name, the same every year.
        starts_on: first day.
        ends_on: last day, included.
        kind: what kind of event.
        name: name in words.
        announced_on: day from which the occurrence was known; None when always.
    """

    event: str
    starts_on: date
    ends_on: date
    kind: Kind
    name: str
    announced_on: date | None = None


def on_day(event: str, day: date, kind: Kind, name: str | None = None) -> Occurrence:
    """An occurrence of a single day that was always known."""
    return Occurrence(event, day, day, kind, name or event.replace("_", " ").capitalize())


def slug(name: str) -> str:
    """A snake_case name for the words of a holiday or of the shop's own event; CJK is kept."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() if name.isascii() is False else name
    words = plain if plain.strip() else name
    return re.sub(r"[^0-9a-z\u3400-\u9fff]+", "_", words.lower().replace("'", "")).strip("_")


def merged(occurrences: Iterable[Occurrence]) -> list[Occurrence]:
    """One occurrence per event and first day, the first one given keeping its kind; the longest wins."""
    kept: dict[tuple[str, date], Occurrence] = {}
    for occurrence in occurrences:
        key = (occurrence.event, occurrence.starts_on)
        before = kept.setdefault(key, occurrence)
        if occurrence.ends_on > before.ends_on and occurrence.announced_on == before.announced_on:
            kept[key] = replace(before, ends_on=occurrence.ends_on)
    return sorted(kept.values(), key=lambda o: (o.event, o.starts_on))
