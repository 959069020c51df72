"""Which version is champion of which night: promotions and roll-backs, in the order in which they count.

A champion serves from its night on, until another takes over. A promotion counts from the night whose knowledge the version
was trained on, a roll-back from the night that a person gave; of those of one night the later decided counts. So a
roll-back changes the choice of no night before its own, and a night that is made again finds what it found.

What belongs here: the order, and how it is read from MLflow's entries. What does not: the store itself (`tracking.py`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline.errors import ModelError

_KEY = re.compile(r"rollback/(\d{4}-\d{2}-\d{2})/(\d+)")


@dataclass(frozen=True, order=True)
class Enthroned:
    """A version became champion. Ordered as they count.

    Attributes:
        as_of: night from which on it is.
        decided_after: number of the newest version when that was decided: the version's own, of a promotion.
        by_hand: a person rolled back to it.
        number: number of the version.
    """

    as_of: date
    decided_after: int
    by_hand: bool
    number: int

    @property
    def tag(self) -> tuple[str, str]:
        """Key and value by which a roll-back is kept with the registered model."""
        return f"rollback/{self.as_of.isoformat()}/{self.decided_after}", str(self.number)


def promotions(versions: Iterable[Any]) -> list[Enthroned]:
    """Promotions of MLflow's entries of versions that were promoted."""
    numbers = [(date.fromisoformat(one.tags["as_of"]), int(one.version)) for one in versions]
    return [Enthroned(as_of, number, False, number) for as_of, number in numbers]


def roll_backs(model: Any, versions: Iterable[Any]) -> list[Enthroned]:
    """Roll-backs that MLflow's entry of a registered model tells of; those to versions that were deleted do not count."""
    numbers = {str(one.version) for one in versions}
    found = [(_KEY.fullmatch(key), value) for key, value in (model.tags if model else {}).items()]
    return [
        Enthroned(date.fromisoformat(key[1]), int(key[2]), True, int(value))
        for key, value in found
        if key and value in numbers
    ]


def champion_of(all_: Iterable[Enthroned], night: date | None = None) -> Enthroned | None:
    """What made the champion of a night, or of all nights to come; None before the first."""
    return max((one for one in all_ if night is None or one.as_of <= night), default=None)


def before(all_: Iterable[Enthroned], present: Enthroned) -> Enthroned | None:
    """The champion that served before the present one was first promoted; None when that was the first.

    Not what came just before: after a roll-back that is the version that a person has had enough of.
    """
    found = sorted(all_)
    first = next((one for one in found if one.number == present.number and not one.by_hand), present)
    earlier = [one for one in found if one < first and one.number != present.number]
    return earlier[-1] if earlier else None


def refuse_later(model_version: str, trained_as_of: date, night: date) -> None:
    """Refuse a version that a night could not know.

    Raises:
        ModelError: it was trained on what became known after the night.
    """
    if trained_as_of > night:
        raise ModelError(
            f"{model_version} was trained on the night of {trained_as_of} and knows what the night of {night} could not: "
            f"choose an older version, or --as-of {trained_as_of} or later"
        )
